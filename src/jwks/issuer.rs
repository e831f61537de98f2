//! The keys of one issuer: which are in force, and when to ask for them again.
//!
//! No loop runs in the background. Every lookup compares the time with [`IssuerKeys::due`]; the one that finds it
//! passed starts a fetch, which lives in its own task and holds this state weakly.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fetch::{Fetch, FetchError, FetchJwks};
use super::health::{Health, IssuerState, IssuerStatus};
use super::key::Key;
use super::observe::{self, Change};
use super::set::KeySet;
use super::source::Settings;
use crate::algorithm::Algorithm;
use crate::clock::Clock;
use crate::flight::{self, Flight};

/// The keys of one issuer.
pub(crate) struct IssuerKeys {
    issuer: Arc<str>,
    settings: Settings,
    clock: Clock,
    /// `None` for keys that were given, not fetched.
    fetch: Option<Arc<dyn Fetch>>,
    current: ArcSwapOption<Snapshot>,
    /// Monotonic nanoseconds from which a lookup starts a fetch; [`NEVER`] while one is under way.
    due: AtomicU64,
    flight: Flight<Result<(), FetchError>>,
    health: Mutex<Health>,
    /// Kids that a refetch was spent on, by their hash, so that no token decides how much memory is kept.
    asked: moka::sync::Cache<u64, Asked>,
    hasher: RandomState,
    seats: Arc<Semaphore>,
    distrusted: Mutex<HashSet<Box<str>>>,
}

struct Snapshot {
    keys: KeySet,
    /// Counts the successful refreshes.
    generation: u64,
    fetched_at: Duration,
    fresh_until: Duration,
    serves_until: Duration,
}

#[derive(Clone, Copy)]
struct Asked {
    at: Duration,
    /// The snapshot that answers. An older one means that the fetch failed, a newer one that it may be asked again.
    answered_by: u64,
}

/// What a lookup finds.
#[derive(Debug)]
pub(crate) enum Found {
    /// The one key that may verify the token.
    Key(Arc<Key>),
    /// Keys are being fetched: look up again after this, with [`Patience::Waited`].
    Wait(Waiter),
    /// The issuer has no such key.
    Unknown,
    /// It cannot be told, for now.
    Unavailable { retry_after: Duration },
}

/// Whether the caller is willing to wait for a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    MayWait,
    /// It has waited already: the answer is final.
    Waited,
}

/// Ends when the fetch under way ends, well or badly. Dropping it cancels nothing.
#[derive(Debug)]
pub(crate) struct Waiter {
    flight: flight::Waiter<Result<(), FetchError>>,
    _seat: OwnedSemaphorePermit,
}

/// Counts as a failure when it is dropped before the fetch has answered.
struct Landing {
    keys: Weak<IssuerKeys>,
    landed: bool,
}

/// Whether a fetch must be due to be started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Due,
    Now,
}

const NEVER: u64 = u64::MAX;
const MAX_WAITERS: usize = 1024;
const MAX_ASKED: u64 = 1024;

// === impl IssuerKeys ===

impl IssuerKeys {
    /// Keys that are fetched, from the first lookup on.
    pub(super) fn fetched(
        issuer: Arc<str>,
        settings: Settings,
        clock: Clock,
        fetch: Arc<dyn Fetch>,
    ) -> Self {
        Self {
            issuer,
            settings,
            clock,
            fetch: Some(fetch),
            current: ArcSwapOption::empty(),
            due: AtomicU64::new(0),
            flight: Flight::new(),
            health: Mutex::new(Health::default()),
            asked: moka::sync::Cache::new(MAX_ASKED),
            hasher: RandomState::new(),
            seats: Arc::new(Semaphore::new(MAX_WAITERS)),
            distrusted: Mutex::new(HashSet::new()),
        }
    }

    /// Keys that were given, and are in force for ever.
    pub(super) fn fixed(issuer: Arc<str>, settings: Settings, clock: Clock, keys: KeySet) -> Self {
        let snapshot = Snapshot {
            keys,
            generation: 0,
            fetched_at: clock.monotonic(),
            fresh_until: Duration::MAX,
            serves_until: Duration::MAX,
        };
        Self {
            issuer,
            settings,
            clock,
            fetch: None,
            current: ArcSwapOption::from_pointee(snapshot),
            due: AtomicU64::new(NEVER),
            flight: Flight::new(),
            health: Mutex::new(Health::default()),
            asked: moka::sync::Cache::new(0),
            hasher: RandomState::new(),
            seats: Arc::new(Semaphore::new(0)),
            distrusted: Mutex::new(HashSet::new()),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.issuer
    }

    /// The key for a token with this `kid` and `alg`.
    pub(crate) fn find(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
        patience: Patience,
    ) -> Found {
        let now = self.clock.monotonic();
        self.refresh_if_due(now);
        let current = self.current.load();
        let Some(snapshot) = current.as_ref().filter(|s| now < s.serves_until) else {
            return self.find_cold(kid, algorithm, patience, now);
        };
        if let Some(key) = snapshot.keys.find(kid, algorithm) {
            return Found::Key(Arc::clone(key));
        }
        match kid {
            Some(kid) if !snapshot.keys.knows(kid) => {
                self.find_unknown(kid, snapshot.generation, patience, now)
            }
            // No fetch would change it: the key is known and does not allow the algorithm, or the token names none.
            _ => Found::Unknown,
        }
    }

    /// Whether this very key is still in force. What was verified with a key that is not has to be verified again.
    pub(crate) fn holds(self: &Arc<Self>, key: &Arc<Key>) -> bool {
        let now = self.clock.monotonic();
        self.refresh_if_due(now);
        let current = self.current.load();
        current
            .as_ref()
            .is_some_and(|snapshot| now < snapshot.serves_until && snapshot.keys.holds(key))
    }

    /// Fetches now, whatever the backoff says.
    pub(super) fn warm(self: &Arc<Self>) -> Result<Warming, FetchError> {
        if self.fetch.is_none() {
            return Ok(Warming(None));
        }
        let flight = self.start(When::Now).ok_or(FetchError::NoRuntime)?;
        Ok(Warming(Some(flight)))
    }

    /// Drops a key at once and for good.
    pub(super) fn purge(&self, kid: &str) -> bool {
        // Held while the snapshot is replaced, or a refresh that ends now could bring the key back.
        let mut distrusted = lock(&self.distrusted);
        distrusted.insert(kid.into());
        let current = self.current.load_full();
        let Some(snapshot) = current.filter(|snapshot| snapshot.keys.knows(kid)) else {
            return false;
        };
        self.current.store(Some(Arc::new(Snapshot {
            keys: snapshot.keys.succeed(Some(&snapshot.keys), &distrusted),
            ..*snapshot
        })));
        true
    }

    pub(super) fn status(&self) -> IssuerStatus {
        let now = self.clock.monotonic();
        let current = self.current.load();
        let snapshot = current.as_deref();
        let age = snapshot.map(|snapshot| now.saturating_sub(snapshot.fetched_at));
        let state = match snapshot {
            None => IssuerState::Cold,
            Some(_) if self.fetch.is_none() => IssuerState::Fixed,
            Some(snapshot) if now < snapshot.fresh_until => IssuerState::Fresh,
            Some(snapshot) if now < snapshot.serves_until => IssuerState::Stale,
            Some(_) => IssuerState::Expired,
        };
        if let Some(age) = age.filter(|_| self.fetch.is_some()) {
            observe::age(&self.issuer, age);
        }
        IssuerStatus {
            issuer: self.issuer.as_ref().into(),
            state,
            keys: snapshot.map_or(0, |snapshot| snapshot.keys.len()),
            age,
            last_error: lock(&self.health).last_error(),
        }
    }

    fn find_cold(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
        patience: Patience,
        now: Duration,
    ) -> Found {
        if patience == Patience::Waited {
            return self.unavailable(now);
        }
        match self.flight.join() {
            Some(flight) => self.wait(flight).unwrap_or_else(|| self.unavailable(now)),
            // The backoff runs, or the fetch ended just now.
            None => self.find(kid, algorithm, Patience::Waited),
        }
    }

    fn find_unknown(
        self: &Arc<Self>,
        kid: &str,
        generation: u64,
        patience: Patience,
        now: Duration,
    ) -> Found {
        if patience == Patience::MayWait {
            observe::unknown_kid(&self.issuer);
            let flight = self.ask_for(kid, generation, now);
            if let Some(wait) = flight.and_then(|flight| self.wait(flight)) {
                return wait;
            }
        }
        if lock(&self.health).is_failing() {
            return self.unavailable(now);
        }
        Found::Unknown
    }

    /// Joins the fetch under way, or spends a refetch on this kid.
    fn ask_for(
        self: &Arc<Self>,
        kid: &str,
        generation: u64,
        now: Duration,
    ) -> Option<flight::Waiter<Result<(), FetchError>>> {
        self.fetch.as_ref()?;
        let cooldown = self.settings.cooldown;
        let hash = self.hasher.hash_one(kid);
        let asked = self.asked.get(&hash).is_some_and(|asked| {
            asked.answered_by == generation && now.saturating_sub(asked.at) < cooldown
        });
        if asked || lock(&self.distrusted).contains(kid) {
            return None;
        }
        if let Some(flight) = self.flight.join() {
            return Some(flight);
        }
        if !lock(&self.health).may_ask(now, cooldown) {
            return None;
        }
        let answered_by = generation.wrapping_add(1);
        self.asked.insert(
            hash,
            Asked {
                at: now,
                answered_by,
            },
        );
        self.start(When::Now)
    }

    fn wait(&self, flight: flight::Waiter<Result<(), FetchError>>) -> Option<Found> {
        let seat = Arc::clone(&self.seats).try_acquire_owned().ok()?;
        Some(Found::Wait(Waiter {
            flight,
            _seat: seat,
        }))
    }

    fn unavailable(&self, now: Duration) -> Found {
        const A_MOMENT: Duration = Duration::from_secs(1);
        let due = self.due.load(Ordering::Acquire);
        let until_due = match due {
            NEVER => A_MOMENT,
            due => Duration::from_nanos(due).saturating_sub(now),
        };
        Found::Unavailable {
            retry_after: until_due.max(A_MOMENT),
        }
    }

    fn refresh_if_due(self: &Arc<Self>, now: Duration) {
        if nanos(now) >= self.due.load(Ordering::Acquire) {
            self.start(When::Due);
        }
    }

    /// Joins the fetch under way, or starts one; `None` without a runtime.
    #[cold]
    fn start(self: &Arc<Self>, when: When) -> Option<flight::Waiter<Result<(), FetchError>>> {
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
        let previous = self.current.load_full();
        let before = previous.as_ref().map(|snapshot| &snapshot.keys);
        let distrusted = lock(&self.distrusted);
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

impl fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerKeys")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER)
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

// === impl Waiter ===

impl Future for Waiter {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        ready!(Pin::new(&mut self.flight).poll(cx));
        Poll::Ready(())
    }
}

/// The end of a fetch that [`IssuerKeys::warm`] asked for; nothing for fixed keys.
pub(super) struct Warming(Option<flight::Waiter<Result<(), FetchError>>>);

impl Warming {
    pub(super) async fn done(self) -> Result<(), FetchError> {
        match self.0 {
            Some(flight) => flight.await.unwrap_or(Err(FetchError::Abandoned)),
            None => Ok(()),
        }
    }
}
