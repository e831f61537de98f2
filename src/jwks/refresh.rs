//! When the keys of an issuer are fetched, and what a fetch changes.
//!
//! No loop runs in the background. Every lookup compares the time with `due`; the one that finds it passed starts a
//! fetch, which lives in its own task and holds the state weakly. One that is overdue, since nobody drives its runtime, is
//! given up and replaced by one on the runtime of the lookup that notices.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::fetch::{FetchError, FetchJwks};
use super::in_force::{Snapshot, nanos};
use super::issuer::{IssuerKeys, lock};
use super::ledger::Ledger;
use super::set::KeySet;
use super::waiter::{Arrival, Flown};
use crate::observe::{self, KeyChange};

/// Why a fetch is started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// If it is due.
    Due,
    /// Whether or not it is due.
    Now,
    /// The same, for a kid that the set at hand does not have: that it has not changed would be no answer.
    ForKid,
}

/// Counts as a failure when it is dropped before the fetch has answered.
struct Landing {
    keys: Weak<IssuerKeys>,
    number: u64,
    landed: bool,
}

/// The end of a fetch that [`IssuerKeys::warm`] asked for; nothing for fixed keys.
pub(super) struct Warming(Option<Arrival>);

// === impl IssuerKeys ===

impl IssuerKeys {
    /// Fetches now, whatever the backoff says.
    pub(super) fn warm(self: &Arc<Self>) -> Result<Warming, FetchError> {
        if self.fetch.is_none() {
            return Ok(Warming(None));
        }
        let flight = self.start(When::Now).ok_or(FetchError::NoRuntime)?;
        Ok(Warming(Some(Arrival::new(Arc::clone(self), flight))))
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
        let now = self.clock.monotonic();
        let overdue = lock(&self.ledger).overdue(now);
        if let Some(number) = overdue {
            self.give_up(number);
        }
        self.flight.board(|number| {
            // Whoever saw that it was due may come when another's fetch has just ended.
            if when == When::Due && nanos(now) < self.due.load(Ordering::Acquire) {
                return None;
            }
            let overdue_at = now.saturating_add(self.settings.patience());
            lock(&self.ledger).expect(number, overdue_at);
            self.due.store(nanos(overdue_at), Ordering::Release);
            let landing = Landing {
                keys: Arc::downgrade(self),
                number,
                landed: false,
            };
            let request = FetchJwks::new(Arc::clone(&self.issuer), self.settings.timeout);
            let request = request.whole(when == When::ForKid);
            let deadline = self.settings.deadline();
            Some(async move {
                let answer = tokio::time::timeout(deadline, fetch.fetch(request)).await;
                landing.land(answer.unwrap_or(Err(FetchError::TimedOut)))
            })
        })
    }

    /// Ends the wait for a fetch that is past its time. Nobody waits for a backoff: it was not the issuer who failed.
    pub(super) fn give_up(&self, number: u64) {
        let mut ledger = lock(&self.ledger);
        if !ledger.strike(number) {
            return;
        }
        self.count_failure(&FetchError::Abandoned);
        self.due.store(0, Ordering::Release);
        drop(ledger);
        self.flight.give_up(number);
    }

    /// Puts an answer in force, unless it was given up.
    fn land(&self, number: u64, answer: Result<&KeySet, &FetchError>) {
        let mut ledger = lock(&self.ledger);
        if !ledger.strike(number) {
            return;
        }
        match answer {
            Ok(fetched) => self.succeeded(fetched, &mut ledger),
            Err(error) => self.failed(error),
        }
    }

    fn succeeded(&self, fetched: &KeySet, ledger: &mut Ledger) {
        let now = self.clock.monotonic();
        let ttl = self.settings.ttl(fetched.fresh_for());
        let previous = self.current.load_full();
        let before = previous.as_ref().map(|snapshot| &snapshot.keys);
        let keys = fetched.succeed(before, &mut ledger.distrust);
        let change = match before {
            Some(before) if keys.is_same(before) => KeyChange::Same,
            _ => KeyChange::Changed,
        };
        observe::jwks_refreshed(self.whose(), keys.len(), keys.skipped().len(), change);
        let generation = previous
            .as_ref()
            .map_or(0, |s| s.generation)
            .wrapping_add(1);
        self.current.put(Snapshot {
            keys,
            generation,
            fetched_at: now,
            age_then: Duration::ZERO,
            fresh_until: now.saturating_add(ttl),
            serves_until: now
                .saturating_add(ttl)
                .saturating_add(self.settings.max_stale),
        });
        lock(&self.health).succeed();
        // A little apart for every process, or a fleet that started together would ask together for ever.
        let ahead = ttl.mul_f64(0.75 * (0.9 + 0.2 * self.random()));
        self.due
            .store(nanos(now.saturating_add(ahead)), Ordering::Release);
    }

    fn failed(&self, error: &FetchError) {
        let backoff = self.count_failure(error);
        let due = self.clock.monotonic().saturating_add(backoff);
        self.due.store(nanos(due), Ordering::Release);
    }

    /// Returns how long to wait before the next fetch.
    fn count_failure(&self, error: &FetchError) -> Duration {
        let now = self.clock.monotonic();
        let age = self.current.load().as_ref().map(|s| s.age(now));
        observe::jwks_failed(self.whose(), error.report(), age);
        lock(&self.health).fail(error, self.random())
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
            keys.land(self.number, answer.as_ref());
        }
        answer.map(|_| ())
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.landed
            && let Some(keys) = self.keys.upgrade()
        {
            keys.land(self.number, Err(&FetchError::Abandoned));
        }
    }
}

// === impl Warming ===

impl Warming {
    pub(super) async fn done(self) -> Result<(), FetchError> {
        match self.0 {
            Some(arrival) => arrival.await.unwrap_or(Err(FetchError::Abandoned)),
            None => Ok(()),
        }
    }
}
