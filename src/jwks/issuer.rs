//! The keys of one issuer: which are in force, and when to ask for them again.
//!
//! Here is the side that tokens see; [`refresh`](super::refresh) is the side that the issuer sees.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::fetch::{Fetch, FetchError};
use super::health::{Health, IssuerState, IssuerStatus};
use super::in_force::{InForce, Snapshot};
use super::key::Key;
use super::ledger::Ledger;
use super::refresh::When;
use super::set::KeySet;
use super::source::Settings;
use super::waiter::{Arrival, Flown, Waiter};
use crate::algorithm::Algorithm;
use crate::clock::{Clock, Reading};
use crate::flight::Flight;
use crate::observe::{self, IssuerLabel};

/// The keys of one issuer.
pub(crate) struct IssuerKeys {
    pub(super) issuer: Arc<str>,
    /// The pattern that a tenant's issuer is of.
    pattern: Option<Arc<str>>,
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    /// `None` for keys that were given, not fetched.
    pub(super) fetch: Option<Arc<dyn Fetch>>,
    pub(super) current: InForce,
    /// Monotonic nanoseconds from which a lookup starts a fetch; while one is under way, when it is overdue.
    pub(super) due: AtomicU64,
    pub(super) flight: Flight<Result<(), FetchError>>,
    pub(super) health: Mutex<Health>,
    hasher: RandomState,
    seats: Arc<Semaphore>,
    /// Those of whoever waits for the first set.
    cold_seats: Arc<Semaphore>,
    /// Never locked while `health` is: the other way round it is.
    pub(super) ledger: Mutex<Ledger>,
}

/// The result of looking up a key.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// The only key that may verify the token.
    Key(Arc<Key>),
    /// Keys are being fetched. Await this, then look up again with [`LookupMode::Final`].
    Wait(Waiter),
    /// The issuer has no such key.
    UnknownKey,
    /// The keys could not be fetched.
    Unavailable { retry_after: Duration },
    /// The issuer has no such tenant.
    UnknownTenant,
    /// Too many tenants of which no token was verified are known already.
    AtCapacity { retry_after: Duration },
    /// The cache has no keys for this issuer.
    NotConfigured,
}

/// Whether a lookup may wait for a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupMode {
    /// Starts a fetch if the key is missing.
    MayWait,
    /// Never returns [`Lookup::Wait`]: the caller has waited already.
    Final,
}

/// A fetch that may bring an unknown kid.
enum Asked {
    /// It began before.
    Joined(Flown),
    Started(Flown),
}

pub(super) const MAX_WAITERS: usize = 1024;

// === impl IssuerKeys ===

impl IssuerKeys {
    /// Keys that are fetched, from the first lookup on.
    pub(super) fn fetched(
        issuer: Arc<str>,
        settings: Settings,
        clock: Clock,
        fetch: Arc<dyn Fetch>,
    ) -> Self {
        let seats = Arc::new(Semaphore::new(MAX_WAITERS));
        Self {
            issuer,
            pattern: None,
            settings,
            clock,
            fetch: Some(fetch),
            current: InForce::nothing(),
            due: AtomicU64::new(0),
            flight: Flight::new(),
            health: Mutex::new(Health::default()),
            hasher: RandomState::new(),
            cold_seats: Arc::clone(&seats),
            seats,
            ledger: Mutex::default(),
        }
    }

    /// The same, of one tenant among many, who have one number of seats together until they have keys.
    pub(super) fn of_tenant(self, pattern: Arc<str>, cold_seats: Arc<Semaphore>) -> Self {
        Self {
            pattern: Some(pattern),
            cold_seats,
            ..self
        }
    }

    /// Keys that were given, and are in force for ever.
    pub(super) fn fixed(issuer: Arc<str>, settings: Settings, clock: Clock, keys: KeySet) -> Self {
        let snapshot = Snapshot {
            keys,
            generation: 0,
            fetched_at: clock.monotonic(),
            age_then: Duration::ZERO,
            fresh_until: Duration::MAX,
            serves_until: Duration::MAX,
        };
        Self {
            issuer,
            pattern: None,
            settings,
            clock,
            fetch: None,
            current: InForce::new(snapshot),
            due: AtomicU64::new(u64::MAX),
            flight: Flight::new(),
            health: Mutex::new(Health::default()),
            hasher: RandomState::new(),
            seats: Arc::new(Semaphore::new(0)),
            cold_seats: Arc::new(Semaphore::new(0)),
            ledger: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.issuer
    }

    pub(super) fn whose(&self) -> IssuerLabel<'_> {
        match &self.pattern {
            Some(pattern) => IssuerLabel::Tenant { pattern },
            None => IssuerLabel::Issuer(&self.issuer),
        }
    }

    /// Whether there ever was a set.
    pub(super) fn is_cold(&self) -> bool {
        self.current.load().is_none()
    }

    /// Whether a key was purged, which must not be forgotten.
    pub(super) fn distrusts_any(&self) -> bool {
        !lock(&self.ledger).distrust.is_empty()
    }

    /// The key for a token with this `kid` and `alg`.
    pub(crate) fn find(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
        mode: LookupMode,
    ) -> Lookup {
        let now = self.clock.monotonic();
        self.refresh_if_due(now);
        let current = self.current.load();
        let Some(snapshot) = current.as_ref().filter(|s| now < s.serves_until) else {
            return self.find_cold(kid, algorithm, mode, now);
        };
        if let Some(key) = snapshot.keys.find(kid, algorithm) {
            return Lookup::Key(Arc::clone(key));
        }
        match kid {
            Some(kid) if !snapshot.keys.knows(kid) => {
                self.find_unknown(kid, snapshot.generation, mode, now)
            }
            // No fetch would change it: the key is known and does not allow the algorithm, or the token names none.
            _ => Lookup::UnknownKey,
        }
    }

    /// Whether this very key is still in force. What was verified with a key that is not has to be verified again.
    ///
    /// `seen` is the caller's note, see [`InForce::holds`].
    pub(crate) fn is_still_valid(
        self: &Arc<Self>,
        key: &Arc<Key>,
        seen: &AtomicU64,
        reading: Reading,
    ) -> bool {
        let now = self.clock.monotonic_at(reading);
        self.refresh_if_due(now);
        self.current.holds(key, now, seen)
    }

    /// Drops a key at once and for good.
    pub(super) fn purge(&self, kid: &str) -> bool {
        // Held while the snapshot is replaced, or a refresh that ends now could bring the key back.
        let mut ledger = lock(&self.ledger);
        ledger.distrust.add(kid);
        let current = self.current.load_full();
        let Some(snapshot) = current.filter(|snapshot| snapshot.keys.names(kid)) else {
            return false;
        };
        let keys = &snapshot.keys;
        self.current.put(Snapshot {
            keys: keys.succeed(Some(keys), &mut ledger.distrust),
            ..*snapshot
        });
        true
    }

    pub(super) fn status(&self) -> IssuerStatus {
        let now = self.clock.monotonic();
        let current = self.current.load();
        let snapshot = current.as_deref();
        let age = snapshot.map(|snapshot| snapshot.age(now));
        let state = match snapshot {
            None => IssuerState::Cold,
            Some(_) if self.fetch.is_none() => IssuerState::Fixed,
            Some(snapshot) if now < snapshot.fresh_until => IssuerState::Fresh,
            Some(snapshot) if now < snapshot.serves_until => IssuerState::Stale,
            Some(_) => IssuerState::Expired,
        };
        if let Some(age) = age.filter(|_| self.fetch.is_some()) {
            observe::jwks_age(self.whose(), age);
        }
        IssuerStatus {
            issuer: self.issuer.as_ref().into(),
            state,
            keys: snapshot.map_or(0, |snapshot| snapshot.keys.len()),
            skipped: snapshot.map_or_else(Vec::new, |snapshot| snapshot.keys.skipped().to_vec()),
            age,
            last_error: lock(&self.health).last_error(),
            tenants: Vec::new(),
        }
    }

    fn find_cold(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
        mode: LookupMode,
        now: Duration,
    ) -> Lookup {
        if mode == LookupMode::Final {
            return self.unavailable(now);
        }
        match self.flight.join() {
            Some(flight) => self
                .wait(flight, None)
                .unwrap_or_else(|| self.unavailable(now)),
            // The backoff runs, or the fetch ended just now.
            None => self.find(kid, algorithm, LookupMode::Final),
        }
    }

    fn find_unknown(
        self: &Arc<Self>,
        kid: &str,
        generation: u64,
        mode: LookupMode,
        now: Duration,
    ) -> Lookup {
        // No fetch brings a purged key back.
        if lock(&self.ledger).distrust.names(kid) {
            return Lookup::UnknownKey;
        }
        if mode == LookupMode::MayWait {
            observe::jwks_unknown_kid(self.whose());
            let asked = self.ask_for(kid, generation, now);
            let wait = |asked| match asked {
                Asked::Joined(flight) => self.wait(flight, Some(kid)),
                Asked::Started(flight) => self.wait(flight, None),
            };
            if let Some(wait) = asked.and_then(wait) {
                return wait;
            }
        }
        if lock(&self.health).is_failing() {
            return self.unavailable(now);
        }
        Lookup::UnknownKey
    }

    /// Joins the fetch under way, or spends a refetch on this kid.
    fn ask_for(self: &Arc<Self>, kid: &str, generation: u64, now: Duration) -> Option<Asked> {
        self.fetch.as_ref()?;
        // Its hash, so that no token decides how much memory is kept.
        let kid_hash = self.hasher.hash_one(kid);
        let cooldown = self.settings.cooldown;
        if lock(&self.health).is_answered(kid_hash, generation, now, cooldown) {
            return None;
        }
        if let Some(flight) = self.flight.join() {
            return Some(Asked::Joined(flight));
        }
        if !lock(&self.health).may_ask(kid_hash, generation, now, cooldown) {
            return None;
        }
        self.start(When::ForKid).map(Asked::Started)
    }

    /// Asks once more for a kid that the fetch it waited for did not bring.
    pub(super) fn ask_again(self: &Arc<Self>, kid: &str) -> Option<Flown> {
        let snapshot = self.current.load_full()?;
        if snapshot.keys.knows(kid) {
            return None;
        }
        let asked = self.ask_for(kid, snapshot.generation, self.clock.monotonic())?;
        match asked {
            Asked::Joined(flight) | Asked::Started(flight) => Some(flight),
        }
    }

    fn wait(self: &Arc<Self>, flight: Flown, again: Option<&str>) -> Option<Lookup> {
        let seats = if self.is_cold() {
            &self.cold_seats
        } else {
            &self.seats
        };
        let seat = Arc::clone(seats).try_acquire_owned().ok()?;
        let arrival = Arrival::new(Arc::clone(self), flight);
        Some(Lookup::Wait(Waiter::new(arrival, again, seat)))
    }

    fn unavailable(&self, now: Duration) -> Lookup {
        const A_MOMENT: Duration = Duration::from_secs(1);
        let until_due = if lock(&self.ledger).expects_any() {
            A_MOMENT
        } else {
            Duration::from_nanos(self.due.load(Ordering::Acquire)).saturating_sub(now)
        };
        Lookup::Unavailable {
            retry_after: until_due.max(A_MOMENT),
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
