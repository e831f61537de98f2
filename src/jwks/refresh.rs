//! When the keys of an issuer are fetched, and what a fetch changes.
//!
//! No loop runs in the background. Every lookup compares the time with `due`; the one that finds it passed starts a
//! fetch, which lives in its own task and holds the state weakly.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::fetch::{FetchError, FetchJwks};
use super::issuer::{IssuerKeys, NEVER, Snapshot, lock, nanos};
use super::observe::{self, Change};
use super::set::KeySet;
use crate::flight;

/// The end of a fetch: the keys are in force by then.
pub(super) type Flown = flight::Waiter<Result<(), FetchError>>;

/// Whether a fetch must be due to be started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Due,
    Now,
}

/// Counts as a failure when it is dropped before the fetch has answered.
struct Landing {
    keys: Weak<IssuerKeys>,
    landed: bool,
}

/// The end of a fetch that [`IssuerKeys::warm`] asked for; nothing for fixed keys.
pub(super) struct Warming(Option<Flown>);

// === impl IssuerKeys ===

impl IssuerKeys {
    /// Fetches now, whatever the backoff says.
    pub(super) fn warm(self: &Arc<Self>) -> Result<Warming, FetchError> {
        if self.fetch.is_none() {
            return Ok(Warming(None));
        }
        let flight = self.start(When::Now).ok_or(FetchError::NoRuntime)?;
        Ok(Warming(Some(flight)))
    }

    pub(super) fn refresh_if_due(self: &Arc<Self>, now: Duration) {
        if nanos(now) >= self.due.load(Ordering::Acquire) {
            self.start(When::Due);
        }
    }

    /// Joins the fetch under way, or starts one; `None` without a runtime.
    #[cold]
    pub(super) fn start(self: &Arc<Self>, when: When) -> Option<Flown> {
        let fetch = Arc::clone(self.fetch.as_ref()?);
        self.flight.board(|| {
            // Whoever saw that it was due may come when another's fetch has just ended.
            let due = self.due.load(Ordering::Acquire);
            if when == When::Due && nanos(self.clock.monotonic()) < due {
                return None;
            }
            self.due.store(NEVER, Ordering::Release);
            let landing = Landing {
                keys: Arc::downgrade(self),
                landed: false,
            };
            let request = FetchJwks::new(Arc::clone(&self.issuer), self.settings.timeout);
            let deadline = self.settings.deadline();
            Some(async move {
                let answer = tokio::time::timeout(deadline, fetch.fetch(request)).await;
                landing.land(answer.unwrap_or(Err(FetchError::TimedOut)))
            })
        })
    }

    fn succeeded(&self, fetched: &KeySet) {
        let now = self.clock.monotonic();
        let ttl = self.settings.ttl(fetched.freshness());
        let distrusted = lock(&self.distrusted);
        let previous = self.current.load_full();
        let before = previous.as_ref().map(|snapshot| &snapshot.keys);
        let keys = fetched.succeed(before, &distrusted);
        let change = match before {
            Some(before) if keys.is_same(before) => Change::Same,
            _ => Change::Changed,
        };
        observe::refreshed(&self.issuer, keys.len(), keys.skipped().len(), change);
        let generation = previous
            .as_ref()
            .map_or(0, |s| s.generation)
            .wrapping_add(1);
        self.current.store(Some(Arc::new(Snapshot {
            keys,
            generation,
            fetched_at: now,
            fresh_until: now.saturating_add(ttl),
            serves_until: now
                .saturating_add(ttl)
                .saturating_add(self.settings.max_stale),
        })));
        drop(distrusted);
        lock(&self.health).succeed();
        // A little apart for every process, or a fleet that started together would ask together for ever.
        let ahead = ttl.mul_f64(0.75 * (0.9 + 0.2 * self.random()));
        self.due
            .store(nanos(now.saturating_add(ahead)), Ordering::Release);
    }

    fn failed(&self, error: &FetchError) {
        let now = self.clock.monotonic();
        let age = self
            .current
            .load()
            .as_ref()
            .map(|s| now.saturating_sub(s.fetched_at));
        observe::failed(&self.issuer, error, age);
        let backoff = lock(&self.health).fail(error, self.random());
        self.due
            .store(nanos(now.saturating_add(backoff)), Ordering::Release);
    }

    /// Evenly from 0 to 1, for jitter; nothing secret hangs on it.
    fn random(&self) -> f64 {
        f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
    }
}

// === impl Landing ===

impl Landing {
    fn land(mut self, answer: Result<KeySet, FetchError>) -> Result<(), FetchError> {
        self.landed = true;
        if let Some(keys) = self.keys.upgrade() {
            match &answer {
                Ok(fetched) => keys.succeeded(fetched),
                Err(error) => keys.failed(error),
            }
        }
        answer.map(|_| ())
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.landed
            && let Some(keys) = self.keys.upgrade()
        {
            keys.failed(&FetchError::Abandoned);
        }
    }
}

// === impl Warming ===

impl Warming {
    pub(super) async fn done(self) -> Result<(), FetchError> {
        match self.0 {
            Some(flight) => flight.await.unwrap_or(Err(FetchError::Abandoned)),
            None => Ok(()),
        }
    }
}
