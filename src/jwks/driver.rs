//! Runs the fetches of one issuer's [`KeyState`], and waits for them.
//!
//! Every lookup compares the time with `due`. The first lookup after it starts the fetch, in a task
//! on the tokio runtime of that lookup. The runtime must be running and have time enabled: without
//! a runtime nothing is fetched, and a fetch that panics or loses its runtime counts as failed.

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

use super::current::{CurrentKeys, Snapshot};
use super::fetch::{BoxFuture, Failure, Fetch, FetchError, FetchJwks};
use super::key::Key;
use super::lookup::{Lookup, LookupMode};
use super::set::KeySet;
use super::state::{FetchKind, KeyState, Wait};
use super::status::IssuerStatus;
use crate::algorithm::Algorithm;
use crate::clock::{Clock, Reading};
use crate::duration::nanos;
use crate::observe::{self, IssuerLabel};
use crate::sync::lock;

/// The keys of one issuer, or of all tenants together.
pub(crate) struct IssuerKeys {
    issuer: Arc<str>,
    /// The pattern of a tenant's issuer.
    pattern: Option<Arc<str>>,
    pub(super) clock: Clock,
    /// `None` for keys that are never fetched.
    pub(super) fetch: Option<Arc<dyn Fetch>>,
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
    pub(super) fn new(
        issuer: Arc<str>,
        clock: Clock,
        state: KeyState,
        fetch: Option<Arc<dyn Fetch>>,
    ) -> Self {
        let waiters = Arc::new(Semaphore::new(MAX_WAITERS));
        let (_, result) = watch::channel(None);
        let keys = Self {
            issuer,
            pattern: None,
            clock,
            fetch,
            current: CurrentKeys::empty(),
            due: AtomicU64::new(0),
            driven: Mutex::new(Driven { state, result }),
            cold_waiters: Arc::clone(&waiters),
            waiters,
        };
        keys.update(|_| {});
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
    #[inline]
    pub(crate) fn is_still_valid(
        self: &Arc<Self>,
        key: &Weak<Key>,
        seen: &AtomicU64,
        reading: Reading,
    ) -> bool {
        let now = self.clock.monotonic_at(reading);
        self.fetch_if_due(now);
        self.current.is_still_valid(key, now, seen)
    }

    /// Whether the keys can be used now. Starts a fetch if one is due.
    pub(super) fn is_ready(self: &Arc<Self>) -> bool {
        let now = self.clock.monotonic();
        self.fetch_if_due(now);
        self.valid(now).is_some()
    }

    /// Starts a fetch, or joins the one under way. `None` for keys that are never fetched.
    pub(super) fn warm(self: &Arc<Self>) -> Result<Option<FetchResult>, FetchError> {
        if self.fetch.is_none() {
            return Ok(None);
        }
        let result = self.fetch_now(KeyState::warm);
        result.map(Some).ok_or(FetchError::NoRuntime)
    }

    /// The snapshot, if it can be used now.
    pub(super) fn valid(&self, now: Duration) -> Option<Arc<Snapshot>> {
        let current = self.current.load();
        current.as_ref().filter(|s| now < s.valid_until).cloned()
    }

    pub(super) fn status(&self) -> IssuerStatus {
        let now = self.clock.monotonic();
        let status = self.update(|state| state.status(&self.issuer, now));
        if let (Some(age), Some(_)) = (status.age, &self.fetch) {
            observe::jwks_age(self.label(), age);
        }
        status
    }

    /// Changes the state and publishes it.
    pub(super) fn update<R>(&self, change: impl FnOnce(&mut KeyState) -> R) -> R {
        self.locked(change).0
    }

    /// Changes the state, and copies what is read without the lock.
    fn locked<R>(&self, change: impl FnOnce(&mut KeyState) -> R) -> (R, MutexGuard<'_, Driven>) {
        let mut driven = lock(&self.driven);
        let result = change(&mut driven.state);
        self.due.store(nanos(driven.state.due()), Ordering::Release);
        if let Some(snapshot) = driven.state.snapshot() {
            let is_published = |current: &Arc<_>| Arc::ptr_eq(current, snapshot);
            if !self.current.load().as_ref().is_some_and(is_published) {
                self.current.put(Arc::clone(snapshot));
            }
        }
        (result, driven)
    }

    fn fetch_if_due(self: &Arc<Self>, now: Duration) {
        if nanos(now) >= self.due.load(Ordering::Acquire) {
            self.fetch_now(|state| state.tick(now));
        }
    }

    /// Starts the fetch that `decide` asks for. Returns the result of that, or of the one under
    /// way; `None` without a runtime.
    #[cold]
    fn fetch_now(
        self: &Arc<Self>,
        decide: impl FnOnce(&mut KeyState) -> Option<FetchKind>,
    ) -> Option<FetchResult> {
        let runtime = Handle::try_current().ok()?;
        let (decision, driven) = self.locked(decide);
        Some(match decision {
            Some(kind) => self.start(driven, &runtime, kind),
            None => driven.result.clone(),
        })
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
        let permit = match (mode, &self.fetch) {
            (LookupMode::MayWait, Some(_)) => Arc::clone(waiters).try_acquire_owned().ok(),
            _ => None,
        };
        let mode = match permit {
            Some(_) => LookupMode::MayWait,
            None => LookupMode::Final,
        };
        let found = self.look_up(kid, algorithm, mode, now);
        found.map_wait(|(mut result, refetches)| {
            let (keys, kid) = (Arc::clone(self), kid.map(Box::<str>::from));
            Waiter(Box::pin(async move {
                let _permit = permit;
                let brought_keys = result.wait_for(Option::is_some).await;
                let brought_keys = brought_keys.is_ok_and(|r| matches!(*r, Some(Ok(()))));
                if !(refetches && brought_keys) {
                    return;
                }
                let now = keys.clock.monotonic();
                let again = keys.look_up(kid.as_deref(), algorithm, LookupMode::MayWait, now);
                if let Lookup::Wait((mut result, _)) = again {
                    let _ = result.wait_for(Option::is_some).await;
                }
            }))
        })
    }

    /// Looks up a missing key. Returns the fetch to wait for, and whether to look up once more
    /// after it.
    fn look_up(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
        mode: LookupMode,
        now: Duration,
    ) -> Lookup<(FetchResult, bool)> {
        let runtime = Handle::try_current();
        let mode = match runtime {
            Ok(_) => mode,
            Err(_) => LookupMode::Final,
        };
        let (found, driven) = self.locked(|state| state.lookup(kid, algorithm, mode, now));
        found.map_wait(|wait| match (wait, runtime) {
            (Wait::Start(kind), Ok(runtime)) => (self.start(driven, &runtime, kind), false),
            (wait, _) => (driven.result.clone(), wait == Wait::JoinThenRefetch),
        })
    }

    /// Spawns a fetch. The lock is released before: a runtime that shuts down drops the task at
    /// once.
    fn start(
        self: &Arc<Self>,
        mut driven: MutexGuard<'_, Driven>,
        runtime: &Handle,
        kind: FetchKind,
    ) -> FetchResult {
        let (sender, result) = watch::channel(None);
        driven.result = result.clone();
        let (settings, is_tenant) = (*driven.state.settings(), self.pattern.is_some());
        drop(driven);
        let task = FetchTask {
            keys: Arc::downgrade(self),
            result: sender,
        };
        let request = FetchJwks::new(Arc::clone(&self.issuer), settings.timeout)
            .whole(kind == FetchKind::Whole);
        if let Some(fetch) = self.fetch.clone() {
            runtime.spawn(async move {
                let answer = timeout(settings.deadline(), fetch.fetch(request)).await;
                task.end(match answer {
                    Ok(Ok(keys)) if keys.bytes() > settings.max_set_bytes => {
                        Err(FetchError::TooLarge.into())
                    }
                    Ok(answer) => answer,
                    Err(_) => Err(FetchError::TimedOut.into()),
                });
                if !is_tenant {
                    task.report_age().await;
                }
            });
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
                let change = self.update(|state| state.fetched(keys, now, random));
                let status = self.status();
                observe::jwks_refreshed(self.label(), status.keys, status.skipped.len(), change);
            }
            Err(failure) => {
                self.update(|state| state.failed(&failure.error, now, random));
                observe::jwks_failed(self.label(), failure.report(), self.status().age);
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
    fn end(&self, answer: Result<KeySet, Failure>) {
        if let Some(keys) = self.keys.upgrade() {
            keys.complete(answer.as_ref());
        }
        let result = answer.map(drop).map_err(|failure| failure.error);
        self.result.send_replace(Some(result));
    }

    /// Updates the age gauge until the next fetch starts or the keys are dropped. Both close the
    /// channel.
    async fn report_age(&self) {
        #[cfg(feature = "metrics")]
        while timeout(AGE_INTERVAL, self.result.closed()).await.is_err() {
            if let Some(keys) = self.keys.upgrade() {
                keys.status();
            }
        }
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
