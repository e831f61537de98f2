//! Leases: permits that a node took from the shared store ahead of need, and spends without asking.
//!
//! 1. A node requests what it expects to need within one *TTL*, by the demand of the last four.
//! 2. It spends the oldest permits first. Permits that are left when their TTL ends are lost.
//! 3. It requests more, ahead of need, when a quarter is left. One request per caller is in
//!    progress at a time.
//! 4. After a refusal, the node refuses requests without a call until the store could grant again.
//!    After [`RECHECK`] it calls the store in any case, because an operator may have deleted or
//!    repaired the key.
//!
//! Every admitted request spends a permit that the store granted at most one TTL earlier. So all
//! nodes together admit, in any window, at most the bound of the quota plus what is refilled in one
//! TTL ([`LeaseTerms::excess`]), however many nodes there are. The TTL begins when the request is
//! *sent*, so a node drops its permits no later than the store assumes.
//!
//! If a lease would be a single permit, each request calls the store, and only step 4 applies.

use std::collections::VecDeque;
use std::time::Duration;

use super::gcra::{Gcra, Left, Verdict};

/// How one quota is leased.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseTerms {
    gcra: Gcra,
    /// The maximum number of permits in one lease request.
    max: u32,
    /// How long permits are kept, in nanoseconds; 0 if nothing is leased.
    ttl: u64,
    /// The store grants nothing if it has fewer permits than this, so that nodes do not compete for
    /// single permits of an exhausted quota.
    floor: u32,
    /// How long a node refuses by itself, at least.
    backoff: u64,
}

/// The permits that one node holds of one caller's quota, and its knowledge of the store's state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    batches: VecDeque<Batch>,
    /// Permits after the last grant.
    stock: u32,
    demand: Demand,
    /// When the node asks again after a refusal.
    refused_until: u64,
    /// The TAT at the store, as far as this node knows; never later than the real one.
    tat: u64,
    /// When the store was asked for it.
    checked_at: u64,
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    expires_at: u64,
    permits: u32,
}

/// Requested permits in two consecutive spans, of which the previous one fades.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    since: u64,
    current: u32,
    previous: u32,
}

/// What is requested from the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeaseRequest {
    /// Fewer permits are of no use.
    pub(crate) min: u32,
    pub(crate) desired: u32,
    /// The store grants nothing if it has fewer permits than this.
    pub(crate) floor: u32,
}

/// A refusal is checked with the store after this time, in nanoseconds, however long it is.
pub(crate) const RECHECK: u64 = 5_000_000_000;

/// Further batches are merged with the last one, and expire with it.
const MAX_BATCHES: usize = 4;

/// A longer TTL saves nothing for busy callers, and loses more permits of the others.
const MAX_TTL: u64 = 1_000_000_000;

const MAX_BACKOFF: u64 = 50_000_000;

/// Demand is measured over this many TTLs: fewer would be noise, more would be slow.
const DEMAND_TTLS: u64 = 4;

// === impl LeaseTerms ===

impl LeaseTerms {
    /// Leases of up to `percent` of the burst; 0 asks the store for each request.
    pub(crate) fn new(gcra: Gcra, percent: u8) -> Self {
        let share = u128::from(gcra.capacity()) * u128::from(percent.min(100)) / 100;
        let share = u64::try_from(share).unwrap_or(u64::MAX);
        let max = u32::try_from(share / gcra.price(1)).unwrap_or(u32::MAX);
        if max < 2 {
            let (max, ttl, floor, backoff) = (1, 0, 0, 0);
            return Self {
                gcra,
                max,
                ttl,
                floor,
                backoff,
            };
        }
        let ttl = share.min(MAX_TTL);
        let backoff = (ttl / 4).min(MAX_BACKOFF);
        let floor = u32::try_from(backoff / 2 / gcra.price(1)).unwrap_or(max);
        Self {
            gcra,
            max,
            ttl,
            floor,
            backoff,
        }
    }

    pub(crate) fn gcra(&self) -> &Gcra {
        &self.gcra
    }

    /// How long a node refuses by itself, at least.
    pub(crate) fn backoff(&self) -> Duration {
        Duration::from_nanos(self.backoff)
    }

    /// Whether a request of this cost may be paid from a lease.
    pub(crate) fn leases(&self, cost: u32) -> bool {
        self.ttl > 0 && cost <= self.max
    }

    /// The most that all nodes together admit in any window beyond the bound of the quota.
    pub(crate) fn excess(&self) -> u64 {
        self.ttl.div_ceil(self.gcra.price(1))
    }
}

// === impl Lease ===

impl Lease {
    /// Counts a request, admitted or not.
    pub(crate) fn record_demand(&mut self, terms: &LeaseTerms, now: u64, cost: u32) {
        let span = terms.ttl.saturating_mul(DEMAND_TTLS);
        self.demand.advance(now, span);
        self.demand.current = self.demand.current.saturating_add(cost);
    }

    /// How many permits can be spent now.
    pub(crate) fn permits(&mut self, now: u64) -> u32 {
        while self.batches.front().is_some_and(|b| b.expires_at <= now) {
            self.batches.pop_front();
        }
        let batches = self.batches.iter();
        batches.fold(0, |sum, batch| sum.saturating_add(batch.permits))
    }

    /// Spends permits, the oldest first. The caller checked that there are as many.
    pub(crate) fn spend(&mut self, mut cost: u32) {
        while let Some(batch) = self.batches.front_mut() {
            if batch.permits > cost {
                batch.permits -= cost;
                return;
            }
            cost -= batch.permits;
            self.batches.pop_front();
        }
    }

    /// How long a request must wait, if this node refuses it without asking.
    pub(crate) fn local_refusal(
        &self,
        terms: &LeaseTerms,
        now: u64,
        cost: u32,
    ) -> Option<Duration> {
        if now.saturating_sub(self.checked_at) >= RECHECK {
            return None;
        }
        let after = self.debt(now).saturating_add(terms.gcra.price(cost));
        let excess = after.saturating_sub(terms.gcra.capacity());
        let wait = excess.max(self.refused_until.saturating_sub(now));
        (wait > 0).then(|| Duration::from_nanos(wait))
    }

    /// What to request from the store on behalf of a request.
    pub(crate) fn request(&mut self, terms: &LeaseTerms, now: u64, cost: u32) -> LeaseRequest {
        if !terms.leases(cost) {
            return LeaseRequest::exactly(cost);
        }
        LeaseRequest {
            min: cost,
            desired: self.expected_demand(terms, now).max(cost),
            floor: terms.floor,
        }
    }

    /// What to request ahead of need, if it is time.
    pub(crate) fn request_ahead(&mut self, terms: &LeaseTerms, now: u64) -> Option<LeaseRequest> {
        let permits = self.permits(now);
        let is_low = permits > 0 && permits <= self.stock / 4;
        if !is_low || self.local_refusal(terms, now, 1).is_some() {
            return None;
        }
        let desired = self.expected_demand(terms, now).saturating_sub(permits);
        (desired > 0).then_some(LeaseRequest {
            min: 1,
            desired,
            floor: terms.floor,
        })
    }

    /// Adds permits that the store granted to a request that was sent at `sent`.
    pub(crate) fn granted(&mut self, terms: &LeaseTerms, sent: u64, now: u64, permits: u32) {
        let expires_at = sent.saturating_add(terms.ttl);
        if permits == 0 || expires_at <= now {
            return;
        }
        let before = self.permits(now);
        let is_full = self.batches.len() >= MAX_BATCHES;
        match self.batches.back_mut() {
            Some(last) if is_full => last.permits = last.permits.saturating_add(permits),
            _ => self.batches.push_back(Batch {
                expires_at,
                permits,
            }),
        }
        self.stock = before.saturating_add(permits);
        self.refused_until = 0;
    }

    /// Stops requests for a while, after the store refused. `jitter` is random, so that nodes that
    /// were refused together do not ask again together.
    pub(crate) fn refused(
        &mut self,
        terms: &LeaseTerms,
        now: u64,
        request: LeaseRequest,
        jitter: u32,
    ) {
        if terms.ttl == 0 {
            // The wait follows from the debt.
            return;
        }
        let available = terms.gcra.available(self.debt(now));
        let price = terms.gcra.price(request.min.max(request.floor));
        let wait = price.saturating_sub(available).max(terms.backoff);
        let extra = u64::try_from((u128::from(wait) * u128::from(jitter)) >> 32);
        let wait = wait.saturating_add(extra.unwrap_or(u64::MAX));
        self.refused_until = now.saturating_add(wait);
    }

    /// Sets what the caller owed the store when it was asked, not before `sent`.
    pub(crate) fn set_debt(&mut self, sent: u64, debt: u64) {
        self.tat = sent.saturating_add(debt);
        self.checked_at = sent;
    }

    /// What the caller has left, as far as this node knows: its permits, and what the store had
    /// when it was last asked.
    pub(crate) fn left(&mut self, terms: &LeaseTerms, now: u64) -> Left {
        let held = terms.gcra.price(self.permits(now));
        terms.gcra.left(self.debt(now).saturating_sub(held))
    }

    pub(crate) fn verdict(
        &mut self,
        terms: &LeaseTerms,
        now: u64,
        retry_after: Option<Duration>,
    ) -> Verdict {
        let left = self.left(terms, now);
        Verdict { left, retry_after }
    }

    fn debt(&self, now: u64) -> u64 {
        self.tat.saturating_sub(now)
    }

    /// The demand of the next TTL: the mean of the last ones, less its likely deviation, because
    /// permits that are not used are lost to all nodes.
    fn expected_demand(&mut self, terms: &LeaseTerms, now: u64) -> u32 {
        let span = terms.ttl.saturating_mul(DEMAND_TTLS);
        self.demand.advance(now, span);
        let demand = self.demand.within(now, span);
        let low = demand.saturating_add(2).saturating_sub(demand.isqrt());
        (low / DEMAND_TTLS as u32).clamp(1, terms.max)
    }
}

// === impl LeaseRequest ===

impl LeaseRequest {
    /// This many permits, or none.
    pub(crate) const fn exactly(permits: u32) -> Self {
        Self {
            min: permits,
            desired: permits,
            floor: 0,
        }
    }
}

// === impl Demand ===

impl Demand {
    fn advance(&mut self, now: u64, span: u64) {
        let age = now.saturating_sub(self.since);
        if age < span {
            return;
        }
        let is_next = age - span < span;
        self.previous = if is_next { self.current } else { 0 };
        self.since = if is_next { self.since + span } else { now };
        self.current = 0;
    }

    fn within(&self, now: u64, span: u64) -> u32 {
        let rest = span.saturating_sub(now.saturating_sub(self.since));
        let faded = u128::from(self.previous) * u128::from(rest) / u128::from(span.max(1));
        let faded = u32::try_from(faded).unwrap_or(u32::MAX);
        self.current.saturating_add(faded)
    }
}

#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod tests;
