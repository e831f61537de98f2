//! The keys of tenants whose issuers share a pattern, one key set per tenant.
//!
//! Tenant names come from unverified tokens. So an unverified name must be cheap, and must not
//! evict another tenant:
//!
//! 1. A tenant is *verified* once one of its tokens was verified. Verified tenants are found
//!    without a lock. If there are more than `max_tenants`, or their keys take too much memory, the
//!    least used tenant is evicted.
//! 2. Every other name takes one of a few places for one cooldown, or until it is verified. So
//!    made-up names cause at most that number of fetches per cooldown. If all places are taken,
//!    other names are refused.
//! 3. A failed first fetch is kept in the place and not repeated before the place is free.
//! 4. Evicted tenants are remembered by a hash of their names. They have separate places, so that
//!    made-up names cannot keep them out. If those places are taken too, an evicted tenant is
//!    unavailable (503), never unknown (401).
//!
//! After a restart, many tenants return at once. They are admitted as fast as their tokens are
//! verified.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::driver::{IssuerKeys, MAX_WAITERS, Waiter};
use super::fetch::MakeFetch;
use super::lookup::Lookup;
use super::saved::{NotRestored, SavedKeys};
use super::settings::Settings;
use super::state::KeyState;
use super::status::{IssuerState, IssuerStatus};
use crate::clock::Clock;
use crate::sync::lock;
use crate::tenant::TenantPattern;

/// The keys of the tenants of one pattern.
pub(super) struct Tenants {
    name: Arc<str>,
    pub(super) pattern: TenantPattern,
    settings: Settings,
    clock: Clock,
    fetch: MakeFetch,
    /// Replaced as a whole: a tenant is verified once and looked up for every token.
    verified: ArcSwap<HashMap<Arc<str>, Arc<Verified>>>,
    /// Locked while `verified` is replaced.
    others: Mutex<Others>,
    cold_waiters: Arc<Semaphore>,
    hasher: RandomState,
}

struct Verified {
    keys: Arc<IssuerKeys>,
    /// The last second in which the tenant was used.
    used_at: AtomicU64,
    /// The number of seconds in which it was used, plus the weight of the last evicted tenant at
    /// that time, so that former use counts less than recent use.
    weight: AtomicU64,
}

#[derive(Default)]
struct Others {
    unverified: HashMap<Arc<str>, Unverified>,
    /// Hashes of the names of evicted tenants. When the first half is full, it replaces the second.
    evicted: [HashSet<u64>; 2],
    /// The weight of the last evicted tenant.
    evicted_weight: u64,
}

struct Unverified {
    keys: Arc<IssuerKeys>,
    since: Duration,
    /// Whether the tenant was verified before.
    is_returning: bool,
}

/// The places for tenants that were never verified, and for evicted ones.
const PLACES: usize = 32;

/// The least number of evicted tenants that are remembered.
const EVICTED: usize = 10_000;

/// The memory that the keys of each tenant may take on average.
const AVERAGE_BYTES: usize = 128 * 1024;

const A_MOMENT: Duration = Duration::from_secs(1);

// === impl Tenants ===

impl Tenants {
    pub(super) fn new(
        name: Arc<str>,
        pattern: TenantPattern,
        settings: Settings,
        clock: Clock,
        fetch: MakeFetch,
    ) -> Self {
        /// More than any honest issuer publishes.
        const MAX_SET_BYTES: usize = 1024 * 1024;
        Self {
            name,
            pattern,
            settings: Settings {
                max_set_bytes: MAX_SET_BYTES,
                ..settings
            },
            clock,
            fetch,
            verified: ArcSwap::default(),
            others: Mutex::default(),
            cold_waiters: Arc::new(Semaphore::new(MAX_WAITERS)),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Calls `then` with the keys of this tenant.
    pub(super) fn find<R>(
        &self,
        issuer: &str,
        tenant: &str,
        then: impl FnOnce(&Arc<IssuerKeys>) -> R,
    ) -> Result<R, Lookup<Waiter>> {
        let now = self.clock.monotonic();
        if let Some(verified) = self.verified.load().get(tenant) {
            verified.touch(now);
            return Ok(then(&verified.keys));
        }
        let keys = self.find_unverified(issuer, tenant, now)?;
        Ok(then(&keys))
    }

    #[cold]
    fn find_unverified(
        &self,
        issuer: &str,
        tenant: &str,
        now: Duration,
    ) -> Result<Arc<IssuerKeys>, Lookup<Waiter>> {
        let mut others = lock(&self.others);
        let left = |since| self.stay().saturating_sub(now.saturating_sub(since));
        others
            .unverified
            .retain(|_, unverified| !left(unverified.since).is_zero());
        if let Some(own) = others.unverified.get(tenant) {
            let failure = own.failure(left(own.since));
            return failure.map_or_else(|| Ok(Arc::clone(&own.keys)), Err);
        }
        let is_returning = others.was_evicted(self.hasher.hash_one(tenant));
        let rivals = || {
            others
                .unverified
                .values()
                .filter(|u| u.is_returning == is_returning)
        };
        if rivals().count() >= PLACES {
            let is_down = |rival: &Unverified| {
                matches!(rival.failure(A_MOMENT), Some(Lookup::Unavailable { .. }))
            };
            let retry_after = rivals().map(|rival| left(rival.since)).min();
            let retry_after = retry_after.unwrap_or_default().max(A_MOMENT);
            // As for an unknown kid: while fetches fail, it is not known which tenants exist.
            return Err(match is_returning || rivals().any(is_down) {
                true => Lookup::Unavailable { retry_after },
                false => Lookup::AtCapacity { retry_after },
            });
        }
        let keys = self.keys_of(issuer, tenant).ok_or(Lookup::UnknownTenant)?;
        let unverified = Unverified {
            keys: Arc::clone(&keys),
            since: now,
            is_returning,
        };
        others.unverified.insert(tenant.into(), unverified);
        Ok(keys)
    }

    /// Records that a token of this tenant was verified.
    pub(super) fn mark_verified(&self, tenant: &str) {
        if self.verified.load().contains_key(tenant) {
            return;
        }
        let mut others = lock(&self.others);
        if let Some(unverified) = others.unverified.remove(tenant) {
            self.insert(tenant, unverified.keys, &mut others);
        }
    }

    /// Removes a key of one tenant for good. The tenant is kept from then on, or the purge would be
    /// forgotten with it.
    pub(super) fn purge(&self, issuer: &str, tenant: &str, kid: &str) -> bool {
        let mut others = lock(&self.others);
        let verified = self.verified.load();
        let keys = match verified.get(tenant) {
            Some(verified) => Some(Arc::clone(&verified.keys)),
            None => match others.unverified.remove(tenant) {
                Some(unverified) => Some(unverified.keys),
                None => self.keys_of(issuer, tenant),
            },
        };
        keys.is_some_and(|keys| {
            let purged = keys.update(|state| state.purge(kid));
            self.insert(tenant, keys, &mut others);
            purged
        })
    }

    /// Restores a tenant whose keys were saved. Evicts no other tenant for it.
    pub(super) fn restore(
        &self,
        tenant: &str,
        saved: &SavedKeys,
        max_age: Duration,
    ) -> Result<usize, NotRestored> {
        let mut others = lock(&self.others);
        let verified = self.verified.load();
        if verified.contains_key(tenant) || others.unverified.contains_key(tenant) {
            return Err(NotRestored::NotNeeded);
        }
        if verified.len() >= self.settings.max_tenants.get() {
            return Err(NotRestored::TooManyTenants);
        }
        let keys = self.keys_of(&saved.issuer, tenant);
        let keys = keys.ok_or(NotRestored::UnknownIssuer)?;
        let count = saved.restore(&keys, max_age)?;
        self.insert(tenant, keys, &mut others);
        Ok(count)
    }

    pub(super) fn status(&self) -> IssuerStatus {
        let mut tenants: Vec<_> = self.verified().iter().map(|keys| keys.status()).collect();
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

    pub(super) fn verified(&self) -> Vec<Arc<IssuerKeys>> {
        let verified = self.verified.load();
        verified.values().map(|own| Arc::clone(&own.keys)).collect()
    }

    /// Adds a verified tenant and evicts the least used ones if there are too many.
    fn insert(&self, tenant: &str, keys: Arc<IssuerKeys>, others: &mut Others) {
        let now = self.clock.monotonic();
        let max_tenants = self.settings.max_tenants.get();
        let mut verified = HashMap::clone(&self.verified.load());
        let newcomer = Verified {
            keys,
            used_at: AtomicU64::new(now.as_secs()),
            weight: AtomicU64::new(others.evicted_weight + 1),
        };
        verified.insert(tenant.into(), Arc::new(newcomer));
        let max_bytes = max_tenants.saturating_mul(AVERAGE_BYTES);
        let mut bytes: usize = verified.values().map(|own| own.bytes()).sum();
        while verified.len() > max_tenants || bytes > max_bytes {
            let others_than_newcomer = verified.iter().filter(|(name, _)| ***name != *tenant);
            let evictable = others_than_newcomer
                .filter(|(_, own)| !own.keys.update(|state| state.has_purged_keys()));
            let least_used = evictable.min_by_key(|(_, own)| own.order());
            let Some(name) = least_used.map(|(name, _)| Arc::clone(name)) else {
                break;
            };
            if let Some(evicted) = verified.remove(&name) {
                bytes = bytes.saturating_sub(evicted.bytes());
                others.evicted_weight = evicted.order().0;
            }
            others.remember_evicted(self.hasher.hash_one(&*name));
        }
        self.verified.store(Arc::new(verified));
    }

    fn keys_of(&self, issuer: &str, tenant: &str) -> Option<Arc<IssuerKeys>> {
        let issuer = Arc::from(issuer);
        let fetch = (self.fetch)(&issuer, tenant)?;
        let state = KeyState::new(self.settings);
        let keys = IssuerKeys::new(issuer, self.clock.clone(), state, Some(fetch));
        let waiters = Arc::clone(&self.cold_waiters);
        Some(Arc::new(keys.of_tenant(Arc::clone(&self.name), waiters)))
    }

    /// Returns how long an unverified tenant keeps its place, which is longer than its fetch can
    /// take.
    fn stay(&self) -> Duration {
        let longest_fetch = self.settings.deadline().saturating_add(A_MOMENT);
        self.settings.cooldown.max(longest_fetch)
    }
}

// === impl Verified ===

impl Verified {
    /// Writes at most once per second, so that the requests of one tenant do not contend for it.
    fn touch(&self, now: Duration) {
        if self.used_at.load(Ordering::Relaxed) < now.as_secs() {
            self.used_at.store(now.as_secs(), Ordering::Relaxed);
            self.weight.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn bytes(&self) -> usize {
        self.keys.update(|state| state.bytes())
    }

    /// The order of eviction: the least used tenant has the smallest value.
    fn order(&self) -> (u64, u64) {
        let weight = self.weight.load(Ordering::Relaxed);
        (weight, self.used_at.load(Ordering::Relaxed))
    }
}

// === impl Unverified ===

impl Unverified {
    /// Why there are no keys: `None` if there are, or if no fetch has failed.
    fn failure(&self, left: Duration) -> Option<Lookup<Waiter>> {
        let retry_after = left.max(A_MOMENT);
        self.keys.update(|state| state.first_failure(retry_after))
    }
}

// === impl Others ===

impl Others {
    fn remember_evicted(&mut self, name_hash: u64) {
        let [first, second] = &mut self.evicted;
        if first.len() >= EVICTED {
            *second = std::mem::take(first);
        }
        first.insert(name_hash);
    }

    fn was_evicted(&self, name_hash: u64) -> bool {
        self.evicted.iter().any(|half| half.contains(&name_hash))
    }
}

#[cfg(test)]
mod tests;
