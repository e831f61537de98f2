//! The leases of all callers that this process asked the server about.
//!
//! An entry may be evicted at any time: its permits are lost then, never gained. So the table is
//! bounded in a simple way, by two generations: when the young one is full the old one is dropped,
//! and an entry that is used again becomes young.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};

use super::script::Reply;
use crate::rate_limit::key::Key;
use crate::rate_limit::lease::{Lease, LeaseRequest, LeaseTerms};
use crate::rate_limit::policy::Policies;
use crate::rate_limit::store::{Check, Outcome, Source, Verdicts};
use crate::sharded::{IdentityBuildHasher, Sharded};
use crate::single_flight::SingleFlight;
use crate::sync::lock;

/// Leases, by caller.
pub(super) struct LeaseTable {
    shards: Sharded<Mutex<Generations>>,
    /// Entries per generation and shard.
    capacity: usize,
    percent: u8,
    random: RandomState,
}

#[derive(Default)]
struct Generations {
    young: Callers,
    old: Callers,
}

type Callers = HashMap<Id, CallerLeases, IdentityBuildHasher>;

/// A caller under a set of policies. Both are hashes under a secret, so clients cannot cause
/// collisions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(u128);

/// One caller's leases, one per policy.
pub(super) struct CallerLeases {
    leases: Box<[PolicyLease]>,
    /// The purchase in progress, if any.
    pub(super) purchase: SingleFlight<Purchase>,
}

struct PolicyLease {
    terms: LeaseTerms,
    lease: Lease,
}

/// Whether a caller had an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    Existing,
    New,
}

/// How a purchase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purchase {
    /// Everything was granted.
    Full,
    /// Less was granted, or nothing. Requests that find no permit are rejected instead of waiting
    /// for the next purchase.
    Partial,
    Failed,
}

const SHARDS: usize = 64;

// === impl LeaseTable ===

impl LeaseTable {
    pub(super) fn new(percent: u8, max_keys: NonZeroUsize) -> Self {
        let shards = (max_keys.get() / 64).clamp(1, SHARDS);
        Self {
            shards: Sharded::new(shards, Mutex::default),
            capacity: (max_keys.get() / shards / 2).max(1),
            percent,
            random: RandomState::new(),
        }
    }

    /// Calls `then` with the caller's entry, if it has one.
    pub(super) fn find<R>(&self, id: Id, then: impl FnOnce(&mut CallerLeases) -> R) -> Option<R> {
        self.shard(id).find(id, self.capacity).map(then)
    }

    /// Calls `then` with the caller's entry, which is made if there is none.
    pub(super) fn open<R>(
        &self,
        id: Id,
        policies: &Policies,
        then: impl FnOnce(&mut CallerLeases, Opened) -> R,
    ) -> R {
        let mut shard = self.shard(id);
        if let Some(caller) = shard.find(id, self.capacity) {
            return then(caller, Opened::Existing);
        }
        let caller = CallerLeases::new(policies, self.percent);
        then(shard.insert(id, caller, self.capacity), Opened::New)
    }

    /// Whether a request of this cost may be paid from leases.
    pub(super) fn leases(&self, policies: &Policies, cost: u32) -> bool {
        let mut terms = policies
            .iter()
            .map(|policy| LeaseTerms::new(policy.gcra, self.percent));
        self.percent > 0 && terms.all(|terms| terms.leases(cost))
    }

    /// A random number, different in each process.
    pub(super) fn jitter(&self, now: u64) -> u32 {
        (self.random.hash_one(now) >> 32) as u32
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let shards = self.shards.iter().map(|shard| lock(shard));
        shards
            .map(|shard| shard.young.len() + shard.old.len())
            .sum()
    }

    fn shard(&self, id: Id) -> MutexGuard<'_, Generations> {
        lock(self.shards.shard((id.0 >> 64) as u64))
    }
}

impl fmt::Debug for LeaseTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseTable").finish_non_exhaustive()
    }
}

// === impl Generations ===

impl Generations {
    fn find(&mut self, id: Id, capacity: usize) -> Option<&mut CallerLeases> {
        if let Some(caller) = self.old.remove(&id) {
            return Some(self.insert(id, caller, capacity));
        }
        self.young.get_mut(&id)
    }

    fn insert(&mut self, id: Id, caller: CallerLeases, capacity: usize) -> &mut CallerLeases {
        if self.young.len() >= capacity {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.entry(id).insert_entry(caller).into_mut()
    }
}

// === impl Id ===

impl Id {
    pub(super) fn new(key: Key, policies: &Policies) -> Self {
        let fingerprints = policies.iter().map(|policy| policy.fingerprint);
        let set = fingerprints.fold(0_u64, |set, print| set.rotate_left(7) ^ print);
        Self(u128::from_be_bytes(key.bytes()) ^ u128::from(set))
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

// === impl CallerLeases ===

impl CallerLeases {
    fn new(policies: &Policies, percent: u8) -> Self {
        let leases = policies.iter().map(|policy| PolicyLease {
            terms: LeaseTerms::new(policy.gcra, percent),
            lease: Lease::default(),
        });
        Self {
            leases: leases.collect(),
            purchase: SingleFlight::new(),
        }
    }

    /// Counts a request, admitted or not: the size of the next purchase follows from it.
    pub(super) fn record_demand(&mut self, now: u64, cost: u32) {
        for PolicyLease { terms, lease } in &mut self.leases {
            lease.record_demand(terms, now, cost);
        }
    }

    /// Pays for a request with permits of every policy, or of none.
    pub(super) fn spend(&mut self, check: &Check<'_>, now: u64) -> Option<Outcome> {
        let cost = check.cost.get();
        if !self.leases.iter_mut().all(|lease| lease.pays(now, cost)) {
            return None;
        }
        let spend = |PolicyLease { terms, lease }: &mut PolicyLease| {
            lease.spend(cost);
            lease.verdict(terms, now, None)
        };
        Some(Outcome {
            verdicts: self.leases.iter_mut().map(spend).collect(),
            source: Source::Leased,
        })
    }

    /// Refuses a request that the server would refuse too.
    pub(super) fn refuse(&mut self, check: &Check<'_>, now: u64) -> Option<Outcome> {
        let cost = check.cost.get();
        let refusal = |policy: &mut PolicyLease| match policy.pays(now, cost) {
            true => None,
            false => policy.lease.local_refusal(&policy.terms, now, cost),
        };
        if !self
            .leases
            .iter_mut()
            .any(|policy| refusal(policy).is_some())
        {
            return None;
        }
        let verdict = |policy: &mut PolicyLease| {
            let retry_after = refusal(policy);
            policy.lease.verdict(&policy.terms, now, retry_after)
        };
        let verdicts: Verdicts = self.leases.iter_mut().map(verdict).collect();
        let leased = self.leases.iter().all(|policy| policy.terms.leases(cost));
        let source = if leased {
            Source::Leased
        } else {
            Source::Exact
        };
        Some(Outcome { verdicts, source })
    }

    /// Refuses a request that a partial purchase left without permits.
    pub(super) fn reject(&mut self, check: &Check<'_>, now: u64) -> Outcome {
        let cost = check.cost.get();
        let verdict = |PolicyLease { terms, lease }: &mut PolicyLease| {
            let lacks = lease.permits(now) < cost;
            let wait = lacks.then(|| {
                let refused = lease.local_refusal(terms, now, cost);
                refused.unwrap_or_default().max(terms.backoff())
            });
            lease.verdict(terms, now, wait)
        };
        Outcome {
            verdicts: self.leases.iter_mut().map(verdict).collect(),
            source: Source::Leased,
        }
    }

    /// What to request from the server on behalf of a request.
    pub(super) fn requests(&mut self, now: u64, cost: u32) -> Box<[LeaseRequest]> {
        let request = |policy: &mut PolicyLease| match policy.lease.permits(now) >= cost {
            true => LeaseRequest::default(),
            false => policy.lease.request(&policy.terms, now, cost),
        };
        self.leases.iter_mut().map(request).collect()
    }

    /// What to request ahead of need, if a lease runs low and no purchase is in progress.
    pub(super) fn requests_ahead(&mut self, now: u64) -> Option<Box<[LeaseRequest]>> {
        let ahead =
            |PolicyLease { terms, lease }: &mut PolicyLease| lease.request_ahead(terms, now);
        let any = self.leases.iter_mut().any(|policy| ahead(policy).is_some());
        if !any || self.purchase.is_running() {
            return None;
        }
        let requests = self.leases.iter_mut().map(ahead);
        Some(requests.map(Option::unwrap_or_default).collect())
    }

    /// Applies the reply to requests that were sent at `sent`.
    pub(super) fn apply(
        &mut self,
        requests: &[LeaseRequest],
        reply: &Reply,
        sent: u64,
        now: u64,
        jitter: u32,
    ) -> Purchase {
        let mut purchase = Purchase::Full;
        let leases = self.leases.iter_mut().zip(requests).zip(&reply.answers);
        for ((PolicyLease { terms, lease }, request), answer) in leases {
            let gcra = *terms.gcra();
            if !reply.granted {
                purchase = Purchase::Partial;
                lease.set_debt(sent, answer.debt);
                if gcra.available(answer.debt) < gcra.price(request.min.max(request.floor)) {
                    lease.refused(terms, now, *request, jitter);
                }
                continue;
            }
            if answer.permits < request.desired {
                purchase = Purchase::Partial;
            }
            let debt = answer.debt.saturating_add(gcra.price(answer.permits));
            lease.set_debt(sent, debt);
            lease.granted(terms, sent, now, answer.permits);
        }
        purchase
    }

    /// Sets the debts that the server returned to a call that was sent at `sent`.
    pub(super) fn set_debts(&mut self, sent: u64, debts: impl Iterator<Item = u64>) {
        for (policy, debt) in self.leases.iter_mut().zip(debts) {
            policy.lease.set_debt(sent, debt);
        }
    }
}

// === impl PolicyLease ===

impl PolicyLease {
    fn pays(&mut self, now: u64, cost: u32) -> bool {
        self.terms.leases(cost) && self.lease.permits(now) >= cost
    }
}
