//! Runs the fetches of one issuer's [`KeyState`], and waits for them.
//!
//! Every lookup compares the time with `due`. The first lookup after it starts the fetch, in a task on
//! the tokio runtime of that lookup. The runtime must be running and have time enabled: without a
//! runtime nothing is fetched, and a fetch that panics or loses its runtime counts as failed.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::current::{CurrentKeys, nanos};
use super::fetch::{BoxFuture, Failure, Fetch, FetchError, FetchJwks};
use super::key::Key;
use super::saved::{NotRestored, SavedKeys};
use super::set::KeySet;
use super::settings::Settings;
use super::state::{FetchKind, KeyState, Lookup, LookupMode, Wait};
use super::status::IssuerStatus;
use crate::algorithm::Algorithm;
use crate::clock::{Clock, Reading};
use crate::observe::{self, IssuerLabel};
use crate::sync::lock;

/// The keys of one issuer, or of all tenants together.
pub(crate) struct IssuerKeys {
    issuer: Arc<str>,
    /// The pattern of a tenant's issuer.
    pattern: Option<Arc<str>>,
    settings: Settings,
    clock: Clock,
    /// `None` for keys that are never fetched.
    fetch: Option<Arc<dyn Fetch>>,
    /// A copy of the state's snapshot, readable without the lock.
    current: CurrentKeys,
    /// A copy of the state's `due` in monotonic nanoseconds.
    due: AtomicU64,
    driven: Mutex<Driven>,
    waiters: Arc<Semaphore>,
    /// Limits the waiters while there are no keys.
    cold_waiters: Arc<Semaphore>,
}

struct Driven {
    state: KeyState,
    /// The result of the last fetch that was started.
    result: FetchResult,
}

/// The result of one fetch, once it has ended.
pub(super) type FetchResult = watch::Receiver<Option<Result<(), FetchError>>>;

/// Ends when the fetch under way ends. Dropping it cancels nothing.
pub(crate) struct Waiter(BoxFuture<()>);

/// One fetch. If it is dropped before its end, it counts as failed.
struct FetchTask {
    keys: Weak<IssuerKeys>,
    result: watch::Sender<Option<Result<(), FetchError>>>,
}

pub(super) const MAX_WAITERS: usize = 1024;

/// How often the age of the keys is reported between fetches.
#[cfg(feature = "metrics")]
const AGE_INTERVAL: Duration = Duration::from_secs(15);

// === impl IssuerKeys ===

impl IssuerKeys {
    /// Keys that the first lookup fetches.
    pub(super) fn fetched(
        issuer: Arc<str>,
        settings: Settings,
        clock: Clock,
        fetch: Arc<dyn Fetch>,
    ) -> Self {
        Self::new(
            issuer,
            KeyState::new(settings),
            settings,
            clock,
            Some(fetch),
        )
    }

    /// Keys that are valid forever and never fetched.
    pub(super) fn fixed(issuer: Arc<str>, settings: Settings, clock: Clock, keys: KeySet) -> Self {
        let state = KeyState::fixed(settings, keys, clock.monotonic());
        Self::new(issuer, state, settings, clock, None)
    }

    fn new(
        issuer: Arc<str>,
        state: KeyState,
        settings: Settings,
        clock: Clock,
        fetch: Option<Arc<dyn Fetch>>,
    ) -> Self {
        let waiters = Arc::new(Semaphore::new(MAX_WAITERS));
        let (_, result) = watch::channel(None);
        let keys = Self {
            issuer,
            pattern: None,
            settings,
            clock,
            fetch,
            current: CurrentKeys::empty(),
            due: AtomicU64::new(0),
            driven: Mutex::new(Driven { state, result }),
            cold_waiters: Arc::clone(&waiters),
            waiters,
        };
        keys.publish(&lock(&keys.driven).state);
        keys
    }

    /// The keys of one tenant. Tenants without keys share one limit of waiters.
    pub(super) fn of_tenant(self, pattern: Arc<str>, cold_waiters: Arc<Semaphore>) -> Self {
        Self {
            pattern: Some(pattern),
            cold_waiters,
            ..self
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
        mode: LookupMode,
    ) -> Lookup<Waiter> {
        let now = self.clock.monotonic();
        self.fetch_if_due(now);
        let current = self.current.load();
        let valid = current.as_ref().filter(|s| now < s.valid_until);
        if let Some(key) = valid.and_then(|snapshot| snapshot.keys.find(kid, algorithm)) {
            return Lookup::Key(Arc::clone(key));
        }
        let is_unknown = |kid: &str| valid.is_some_and(|s| !s.keys.knows(kid));
        if mode == LookupMode::MayWait && kid.is_some_and(is_unknown) {
            observe::jwks_unknown_kid(self.label());
        }
        self.find_missing(kid, algorithm, mode, now)
    }

    /// Whether exactly this key is still valid. See [`CurrentKeys::is_still_valid`].
    pub(crate) fn is_still_valid(
        self: &Arc<Self>,
        key: &Arc<Key>,
        seen: &AtomicU64,
        reading: Reading,
    ) -> bool {
        let now = self.clock.monotonic_at(reading);
        self.fetch_if_due(now);
        self.current.is_still_valid(key, now, seen)
    }

    fn fetch_if_due(self: &Arc<Self>, now: Duration) {
        if nanos(now) >= self.due.load(Ordering::Acquire) {
            self.fetch_now(|state| state.tick(now));
        }
    }

    /// Starts a fetch, or joins the one under way. `None` for keys that are never fetched.
    pub(super) fn warm(self: &Arc<Self>) -> Result<Option<FetchResult>, FetchError> {
        match self.fetch {
            None => Ok(None),
            Some(_) => self
                .fetch_now(KeyState::warm)
                .map(Some)
                .ok_or(FetchError::NoRuntime),
        }
    }

    /// Removes a key at once and for good. Returns whether it was known.
    pub(super) fn purge(&self, kid: &str) -> bool {
        self.update(|state| state.purge(kid))
    }

    pub(super) fn status(&self) -> IssuerStatus {
        let now = self.clock.monotonic();
        let status = lock(&self.driven).state.status(&self.issuer, now);
        if self.fetch.is_some()
            && let Some(age) = status.age
        {
            observe::jwks_age(self.label(), age);
        }
        status
    }

    /// Whether the keys can be used now. Starts a fetch if one is due.
    pub(super) fn is_ready(self: &Arc<Self>) -> bool {
        let now = self.clock.monotonic();
        self.fetch_if_due(now);
        self.current
            .load()
            .as_ref()
            .is_some_and(|s| now < s.valid_until)
    }

    /// `None` if no fetched keys can be used.
    pub(super) fn save(&self) -> Option<SavedKeys> {
        let fetch = self.fetch.as_ref()?;
        let now = self.clock.monotonic();
        let current = self.current.load();
        let snapshot = current.as_ref().filter(|s| now < s.valid_until)?;
        let fetched_at = self.clock.unix_time().saturating_sub(snapshot.age(now));
        SavedKeys::new(&self.issuer, fetch.place(), &snapshot.keys, fetched_at)
    }

    /// Uses saved keys as stale keys. Returns their number.
    pub(super) fn restore(
        &self,
        saved: &SavedKeys,
        max_age: Duration,
    ) -> Result<usize, NotRestored> {
        let fetch = self.fetch.as_ref().ok_or(NotRestored::NotNeeded)?;
        if fetch.place() != saved.place {
            return Err(NotRestored::AnotherPlace);
        }
        let (keys, age) = saved.keys(self.clock.unix_time(), max_age)?;
        let (left, now) = (max_age.saturating_sub(age), self.clock.monotonic());
        self.update(|state| state.restore(&keys, age, left, now))
    }

    /// Whether a key was purged. The purge would be forgotten with these keys.
    pub(super) fn has_purged_keys(&self) -> bool {
        lock(&self.driven).state.has_purged_keys()
    }

    /// See [`KeyState::first_failure`].
    pub(super) fn first_failure(&self, retry_after: Duration) -> Option<Lookup<Waiter>> {
        lock(&self.driven).state.first_failure(retry_after)
    }

    /// The estimated memory of the current keys in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.current.load().as_ref().map_or(0, |s| s.keys.bytes())
    }

    #[cold]
    fn find_missing(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
        mode: LookupMode,
        now: Duration,
    ) -> Lookup<Waiter> {
        let waiters = match *self.current.load() {
            Some(_) => &self.waiters,
            None => &self.cold_waiters,
        };
        let permit = match (mode, Handle::try_current(), &self.fetch) {
            (LookupMode::MayWait, Ok(_), Some(_)) => Arc::clone(waiters).try_acquire_owned().ok(),
            _ => None,
        };
        let Some(permit) = permit else {
            let found = self.update(|state| state.lookup(kid, algorithm, LookupMode::Final, now));
            return found.map_wait(|_| Waiter(Box::pin(async {})));
        };
        self.look_up(kid, algorithm, now)
            .map_wait(|(mut result, refetches)| {
                let (keys, kid) = (Arc::clone(self), kid.map(Box::<str>::from));
                Waiter(Box::pin(async move {
                    let ended = result.wait_for(Option::is_some).await;
                    let brought_keys = ended.is_ok_and(|result| matches!(*result, Some(Ok(()))));
                    if refetches && brought_keys {
                        let now = keys.clock.monotonic();
                        if let Lookup::Wait((mut result, _)) =
                            keys.look_up(kid.as_deref(), algorithm, now)
                        {
                            let _ = result.wait_for(Option::is_some).await;
                        }
                    }
                    drop(permit);
                }))
            })
    }

    /// Looks up a missing key. Returns the fetch to wait for, and whether to look up once more after it.
    fn look_up(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
        now: Duration,
    ) -> Lookup<(FetchResult, bool)> {
        let mut driven = lock(&self.driven);
        let found = driven
            .state
            .lookup(kid, algorithm, LookupMode::MayWait, now);
        self.publish(&driven.state);
        found.map_wait(|wait| match wait {
            Wait::Join => (driven.result.clone(), false),
            Wait::JoinThenRefetch => (driven.result.clone(), true),
            Wait::Start(kind) => (self.start(driven, kind), false),
        })
    }

    /// Starts the fetch that `decide` asks for. Returns the result of that, or of the one under way;
    /// `None` without a runtime.
    #[cold]
    fn fetch_now(
        self: &Arc<Self>,
        decide: impl FnOnce(&mut KeyState) -> Option<FetchKind>,
    ) -> Option<FetchResult> {
        Handle::try_current().ok()?;
        let mut driven = lock(&self.driven);
        let decision = decide(&mut driven.state);
        self.publish(&driven.state);
        Some(match decision {
            Some(kind) => self.start(driven, kind),
            None => driven.result.clone(),
        })
    }

    /// Spawns a fetch. The lock is released before: a runtime that shuts down drops the task at once.
    fn start(self: &Arc<Self>, mut driven: MutexGuard<'_, Driven>, kind: FetchKind) -> FetchResult {
        let (sender, result) = watch::channel(None);
        driven.result = result.clone();
        drop(driven);
        let task = FetchTask {
            keys: Arc::downgrade(self),
            result: sender,
        };
        if let (Some(fetch), Ok(runtime)) = (&self.fetch, Handle::try_current()) {
            let request = FetchJwks::new(Arc::clone(&self.issuer), self.settings.timeout)
                .whole(kind == FetchKind::Whole);
            runtime.spawn(task.run(Arc::clone(fetch), request, self.settings));
        }
        result
    }

    /// Applies the result of a fetch.
    fn complete(&self, result: Result<&KeySet, &Failure>) {
        // Uniform in 0..=1. Jitter needs no secret.
        let random = f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX);
        let now = self.clock.monotonic();
        match result {
            Ok(keys) => {
                let (change, status) = self.update(|state| {
                    (
                        state.fetched(keys, now, random),
                        state.status(&self.issuer, now),
                    )
                });
                observe::jwks_refreshed(self.label(), status.keys, status.skipped.len(), change);
            }
            Err(failure) => {
                let age = self.update(|state| {
                    state.failed(&failure.error, now, random);
                    state.snapshot().map(|snapshot| snapshot.age(now))
                });
                observe::jwks_failed(self.label(), failure.report(), age);
            }
        }
    }

    /// Changes the state and publishes it.
    fn update<R>(&self, change: impl FnOnce(&mut KeyState) -> R) -> R {
        let mut driven = lock(&self.driven);
        let result = change(&mut driven.state);
        self.publish(&driven.state);
        result
    }

    /// Copies what is read without the lock. The caller holds the lock.
    fn publish(&self, state: &KeyState) {
        self.due.store(nanos(state.due()), Ordering::Release);
        if let Some(snapshot) = state.snapshot() {
            let is_published = |current: &Arc<_>| Arc::ptr_eq(current, snapshot);
            if !self.current.load().as_ref().is_some_and(is_published) {
                self.current.put(Arc::clone(snapshot));
            }
        }
    }

    fn label(&self) -> IssuerLabel<'_> {
        match &self.pattern {
            Some(pattern) => IssuerLabel::Tenant { pattern },
            None => IssuerLabel::Issuer(&self.issuer),
        }
    }
}

impl fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerKeys")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

// === impl FetchTask ===

impl FetchTask {
    async fn run(self, fetch: Arc<dyn Fetch>, request: FetchJwks, settings: Settings) {
        let answer = timeout(settings.deadline(), fetch.fetch(request)).await;
        self.end(match answer {
            Ok(Ok(keys)) if keys.bytes() > settings.max_set_bytes => {
                Err(FetchError::TooLarge.into())
            }
            Ok(answer) => answer,
            Err(_) => Err(FetchError::TimedOut.into()),
        });
        // The gauge grows until the next fetch starts or the keys are dropped: both close the channel.
        #[cfg(feature = "metrics")]
        while timeout(AGE_INTERVAL, self.result.closed()).await.is_err() {
            if let Some(keys) = self.keys.upgrade().filter(|keys| keys.pattern.is_none()) {
                keys.status();
            }
        }
    }

    fn end(&self, answer: Result<KeySet, Failure>) {
        if let Some(keys) = self.keys.upgrade() {
            keys.complete(answer.as_ref());
        }
        let result = answer.map(drop).map_err(|failure| failure.error);
        self.result.send_replace(Some(result));
    }
}

impl Drop for FetchTask {
    fn drop(&mut self) {
        if self.result.borrow().is_none() {
            self.end(Err(FetchError::Abandoned.into()));
        }
    }
}

// === impl Waiter ===

impl Future for Waiter {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiter")
    }
}
