//! The keys of tenants, each in a set of its own, whose issuers are all of one pattern.
//!
//! Whoever sends a token names its tenant, so a name alone must cost little and push nobody out:
//!
//! 1. A tenant is *known* once a token of it was verified. Known tenants are found without a lock. When there are more than
//!    the ceiling, the one that was asked for longest ago goes.
//! 2. Every other name takes one of a few places for strangers and keeps it for a cooldown, whatever its fetch brings, or until it
//!    is known. So names that nobody has heard of cause no more first fetches than there are places, in any cooldown. While all
//!    are taken, no further name is asked for.
//! 3. A stranger's failed fetch is remembered in its place: it is not tried again before the place is free.
//!
//! A crowd of honest tenants, as after a restart, gets through as fast as tokens are verified, since that frees the place.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::fetch::FetchOfTenant;
use super::health::{IssuerState, IssuerStatus};
use super::in_force::nanos;
use super::issuer::{IssuerKeys, Lookup, MAX_WAITERS, lock};
use super::saved::{Saved, Unfit};
use super::source::Settings;
use crate::clock::Clock;
use crate::tenant::TenantPattern;

/// The keys of the tenants of one pattern.
pub(super) struct Tenants {
    name: Arc<str>,
    pub(super) pattern: TenantPattern,
    settings: Settings,
    clock: Clock,
    fetch: FetchOfTenant,
    /// A map that is replaced whole: a tenant becomes known once, and is looked up for every token.
    known: ArcSwap<HashMap<Arc<str>, Arc<Known>>>,
    /// Locked while `known` is replaced.
    strangers: Mutex<HashMap<Arc<str>, Stranger>>,
    cold_seats: Arc<Semaphore>,
}

struct Known {
    keys: Arc<IssuerKeys>,
    /// Monotonic nanoseconds, to within a second.
    used_at: AtomicU64,
}

#[derive(Clone)]
struct Stranger {
    keys: Arc<IssuerKeys>,
    since: Duration,
}

/// Places for tenants of whom no token was verified.
const STRANGERS: usize = 32;

const A_MOMENT: Duration = Duration::from_secs(1);

// === impl Tenants ===

impl Tenants {
    pub(super) fn new(
        name: Arc<str>,
        pattern: TenantPattern,
        settings: Settings,
        clock: Clock,
        fetch: FetchOfTenant,
    ) -> Self {
        Self {
            name,
            pattern,
            settings,
            clock,
            fetch,
            known: ArcSwap::default(),
            strangers: Mutex::default(),
            cold_seats: Arc::new(Semaphore::new(MAX_WAITERS)),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The keys of the tenant whose issuer this is.
    pub(super) fn find<R>(
        &self,
        issuer: &str,
        tenant: &str,
        then: impl FnOnce(&Arc<IssuerKeys>) -> R,
    ) -> Result<R, Lookup> {
        let now = self.clock.monotonic();
        if let Some(known) = self.known.load().get(tenant) {
            known.touch(now);
            return Ok(then(&known.keys));
        }
        self.find_stranger(issuer, tenant, now)
            .map(|keys| then(&keys))
    }

    #[cold]
    fn find_stranger(
        &self,
        issuer: &str,
        tenant: &str,
        now: Duration,
    ) -> Result<Arc<IssuerKeys>, Lookup> {
        let mut strangers = lock(&self.strangers);
        let left = |since| self.stay().saturating_sub(now.saturating_sub(since));
        strangers.retain(|_, stranger| !left(stranger.since).is_zero());
        if let Some(stranger) = strangers.get(tenant) {
            return stranger.standing(left(stranger.since));
        }
        if strangers.len() >= STRANGERS {
            let down =
                |s: &Stranger| matches!(s.standing(A_MOMENT), Err(Lookup::Unavailable { .. }));
            let first = strangers
                .values()
                .map(|stranger| left(stranger.since))
                .min();
            let retry_after = first.unwrap_or_default().max(A_MOMENT);
            // As for an unknown kid: while fetches fail, nobody can tell who there is.
            return match strangers.values().any(down) {
                true => Err(Lookup::Unavailable { retry_after }),
                false => Err(Lookup::AtCapacity { retry_after }),
            };
        }
        let Some(keys) = self.keys_of(issuer, tenant) else {
            return Err(Lookup::UnknownTenant);
        };
        let stranger = Stranger {
            keys: Arc::clone(&keys),
            since: now,
        };
        strangers.insert(tenant.into(), stranger);
        Ok(keys)
    }

    /// A token of this tenant was verified.
    pub(super) fn mark_verified(&self, tenant: &str) {
        if self.known.load().contains_key(tenant) {
            return;
        }
        let mut strangers = lock(&self.strangers);
        if let Some(stranger) = strangers.remove(tenant) {
            self.admit(tenant, stranger.keys);
        }
    }

    /// Drops a key of one tenant for good. Its set is kept from then on, or the purge would be forgotten with it.
    pub(super) fn purge(&self, issuer: &str, tenant: &str, kid: &str) -> bool {
        let mut strangers = lock(&self.strangers);
        let known = self
            .known
            .load()
            .get(tenant)
            .map(|known| Arc::clone(&known.keys));
        let stranger = || strangers.remove(tenant).map(|stranger| stranger.keys);
        let keys = known
            .or_else(stranger)
            .or_else(|| self.keys_of(issuer, tenant));
        keys.is_some_and(|keys| {
            let purged = keys.purge(kid);
            self.admit(tenant, keys);
            purged
        })
    }

    /// Makes a tenant known again whose keys were saved. None makes room for it.
    pub(super) fn restore(
        &self,
        tenant: &str,
        saved: &Saved,
        max_age: Duration,
    ) -> Result<usize, Unfit> {
        let strangers = lock(&self.strangers);
        let known = self.known.load();
        if known.contains_key(tenant) || strangers.contains_key(tenant) {
            return Err(Unfit::NotNeeded);
        }
        if known.len() >= self.settings.max_tenants.get() {
            return Err(Unfit::Full);
        }
        let keys = self.keys_of(&saved.issuer, tenant).ok_or(Unfit::Unknown)?;
        let count = keys.restore(saved, max_age)?;
        self.admit(tenant, keys);
        drop(strangers);
        Ok(count)
    }

    pub(super) fn status(&self) -> IssuerStatus {
        let known = self.known.load();
        let mut tenants: Vec<_> = known.values().map(|known| known.keys.status()).collect();
        tenants.sort_by(|a, b| a.issuer.cmp(&b.issuer));
        IssuerStatus {
            issuer: self.name.as_ref().into(),
            state: IssuerState::OnDemand,
            keys: tenants.iter().map(|tenant| tenant.keys).sum(),
            skipped: Vec::new(),
            age: None,
            last_error: None,
            tenants,
        }
    }

    /// Those of the tenants that are known.
    pub(super) fn known(&self) -> Vec<Arc<IssuerKeys>> {
        let known = self.known.load();
        known
            .values()
            .map(|known| Arc::clone(&known.keys))
            .collect()
    }

    /// Makes a tenant known. The caller holds the lock of the strangers.
    fn admit(&self, tenant: &str, keys: Arc<IssuerKeys>) {
        let now = self.clock.monotonic();
        let mut known = HashMap::clone(&self.known.load());
        let newcomer = Known {
            keys,
            used_at: AtomicU64::new(nanos(now)),
        };
        known.insert(tenant.into(), Arc::new(newcomer));
        while known.len() > self.settings.max_tenants.get() {
            let others = known.iter().filter(|(name, _)| ***name != *tenant);
            let others = others.filter(|(_, known)| !known.keys.distrusts_any());
            let oldest = others.min_by_key(|(_, known)| known.used_at.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|(name, _)| Arc::clone(name)) else {
                break;
            };
            known.remove(&oldest);
        }
        self.known.store(Arc::new(known));
    }

    fn keys_of(&self, issuer: &str, tenant: &str) -> Option<Arc<IssuerKeys>> {
        let issuer = Arc::from(issuer);
        let fetch = (self.fetch)(&issuer, tenant)?;
        let keys = IssuerKeys::fetched(issuer, self.settings, self.clock.clone(), fetch);
        let seats = Arc::clone(&self.cold_seats);
        Some(Arc::new(keys.of_tenant(Arc::clone(&self.name), seats)))
    }

    /// How long a stranger keeps its place: longer than its fetch can take.
    fn stay(&self) -> Duration {
        self.settings.cooldown.max(self.settings.patience())
    }
}

// === impl Known ===

impl Known {
    /// Written at most once a second, so that the requests of one tenant do not fight for its memory.
    fn touch(&self, now: Duration) {
        const SECOND: u64 = 1_000_000_000;
        let now = nanos(now);
        if now.saturating_sub(self.used_at.load(Ordering::Relaxed)) >= SECOND {
            self.used_at.store(now, Ordering::Relaxed);
        }
    }
}

// === impl Stranger ===

impl Stranger {
    fn standing(&self, left: Duration) -> Result<Arc<IssuerKeys>, Lookup> {
        if !self.keys.is_cold() {
            return Ok(Arc::clone(&self.keys));
        }
        let health = lock(&self.keys.health);
        match (health.is_failing(), health.is_absent()) {
            (false, _) => Ok(Arc::clone(&self.keys)),
            (true, true) => Err(Lookup::UnknownTenant),
            (true, false) => Err(Lookup::Unavailable {
                retry_after: left.max(A_MOMENT),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
