//! Leases: permits that a node has bought from the shared store and spends by itself.
//!
//! 1. A node buys what it will need within one *life*, by what was asked of it in the last four.
//! 2. It spends them without asking anybody, the oldest first; what is left when their life ends is lost.
//! 3. It buys again, ahead of need, when a quarter is left. One purchase is under way at a time.
//! 4. Where the store refuses, the node refuses by itself for as long as the store could not but refuse again.
//!
//! Every request that is admitted spends a permit that the store has given away at most one life earlier. So all nodes
//! together admit, in any window, at most the quota's own bound and what comes back in one life: [`Terms::excess`], however
//! many nodes there are, and nothing in the long run. A life begins when the purchase is *sent*, so a node forgets its
//! permits no later than the store assumes.
//!
//! Where a lease would be a single permit, the store is asked for each request, and 4. is all that remains.

use std::collections::VecDeque;
use std::time::Duration;

use super::gcra::{Gcra, Left, Verdict};

/// How one quota is dealt out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    gcra: Gcra,
    /// The most permits of one purchase.
    cap: u32,
    /// How long they may be kept, in nanoseconds; 0 where nothing is leased.
    life: u64,
    /// The store gives none where it has fewer than this, so that what is exhausted is not bought by the crumb.
    least: u32,
    /// How long a node refuses by itself, at least.
    rest: u64,
}

/// What one node knows of one caller's quota, and what it holds of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    held: VecDeque<Held>,
    /// What was held after the last purchase.
    stock: u32,
    demand: Demand,
    refuses_until: u64,
    /// When all permits would be back at the store, for all that this node knows: never later than is true.
    arrival: u64,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    ends_at: u64,
    permits: u32,
}

/// How many permits were asked for lately: two counts in a row, of which the older fades.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    since: u64,
    now: u32,
    before: u32,
}

/// What is asked of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// Fewer than this are of no use.
    pub(crate) need: u32,
    pub(crate) want: u32,
    /// The store gives none where it has fewer than this.
    pub(crate) least: u32,
}

/// More purchases than this are merged, at the earlier end.
const MOST_HELD: usize = 4;

/// A longer life would save nothing where leases pay, and lose more permits where they do not.
const LONGEST_LIFE: u64 = 1_000_000_000;

const LONGEST_REST: u64 = 50_000_000;

/// Demand is what was asked for within so many lives: less would be noise, more would be slow.
const MEMORY: u64 = 4;

// === impl Terms ===

impl Terms {
    /// Leases of so many percent of the burst; 0 asks the store for each request.
    pub(crate) fn new(gcra: Gcra, percent: u8) -> Self {
        let share = u128::from(gcra.capacity()) * u128::from(percent.min(100)) / 100;
        let share = u64::try_from(share).unwrap_or(u64::MAX);
        let cap = u32::try_from(share / gcra.price(1)).unwrap_or(u32::MAX);
        if cap < 2 {
            let (cap, life, least, rest) = (1, 0, 0, 0);
            return Self {
                gcra,
                cap,
                life,
                least,
                rest,
            };
        }
        let life = share.min(LONGEST_LIFE);
        let rest = (life / 4).min(LONGEST_REST);
        let least = u32::try_from(rest / 2 / gcra.price(1)).unwrap_or(cap);
        Self {
            gcra,
            cap,
            life,
            least,
            rest,
        }
    }

    pub(crate) fn gcra(&self) -> &Gcra {
        &self.gcra
    }

    /// How long a node refuses by itself, at least.
    pub(crate) fn rest(&self) -> Duration {
        Duration::from_nanos(self.rest)
    }

    /// Whether a request of this cost may be paid from a lease.
    pub(crate) fn leases(&self, cost: u32) -> bool {
        self.life > 0 && cost <= self.cap
    }

    /// The most that all nodes together admit in any window beyond what one exact limiter would.
    pub(crate) fn excess(&self) -> u64 {
        self.life.div_ceil(self.gcra.price(1))
    }
}

// === impl Lease ===

impl Lease {
    /// Counts what is asked of this node, whether it is granted or not.
    pub(crate) fn note(&mut self, terms: &Terms, now: u64, cost: u32) {
        self.demand.turn(now, terms.life.saturating_mul(MEMORY));
        self.demand.now = self.demand.now.saturating_add(cost);
    }

    /// How many permits can be spent at this moment.
    pub(crate) fn permits(&mut self, now: u64) -> u32 {
        while self.held.front().is_some_and(|held| held.ends_at <= now) {
            self.held.pop_front();
        }
        let held = self.held.iter();
        held.fold(0, |sum, held| sum.saturating_add(held.permits))
    }

    /// Spends permits, the oldest first. [`permits`](Self::permits) has said that they are there.
    pub(crate) fn spend(&mut self, mut cost: u32) {
        while let Some(held) = self.held.front_mut() {
            if held.permits > cost {
                held.permits -= cost;
                return;
            }
            cost -= held.permits;
            self.held.pop_front();
        }
    }

    /// How long this node refuses such a request by itself, if it does.
    pub(crate) fn refuses(&self, terms: &Terms, now: u64, cost: u32) -> Option<Duration> {
        let after = self.owed(now).saturating_add(terms.gcra.price(cost));
        let excess = after.saturating_sub(terms.gcra.capacity());
        let wait = excess.max(self.refuses_until.saturating_sub(now));
        (wait > 0).then(|| Duration::from_nanos(wait))
    }

    /// What to ask the store for on behalf of a request.
    pub(crate) fn order(&mut self, terms: &Terms, now: u64, cost: u32) -> Order {
        if !terms.leases(cost) {
            return Order::exactly(cost);
        }
        Order {
            need: cost,
            want: self.want(terms, now).max(cost),
            least: terms.least,
        }
    }

    /// What to ask the store for ahead of need, if it is time.
    pub(crate) fn order_ahead(&mut self, terms: &Terms, now: u64) -> Option<Order> {
        let permits = self.permits(now);
        let is_low = permits > 0 && permits <= self.stock / 4;
        if !is_low || self.refuses(terms, now, 1).is_some() {
            return None;
        }
        let want = self.want(terms, now).saturating_sub(permits);
        (want > 0).then_some(Order {
            need: 1,
            want,
            least: terms.least,
        })
    }

    /// Takes in what the store has granted to an order that was sent at `sent`.
    pub(crate) fn granted(&mut self, terms: &Terms, sent: u64, now: u64, permits: u32) {
        let ends_at = sent.saturating_add(terms.life);
        if permits == 0 || ends_at <= now {
            return;
        }
        let held = self.permits(now);
        let is_full = self.held.len() >= MOST_HELD;
        match self.held.back_mut() {
            Some(last) if is_full => last.permits = last.permits.saturating_add(permits),
            _ => self.held.push_back(Held { ends_at, permits }),
        }
        self.stock = held.saturating_add(permits);
        self.refuses_until = 0;
    }

    /// Takes in that the store has refused. `spread` is random: nodes that were refused together do not come back
    /// together.
    pub(crate) fn refused(&mut self, terms: &Terms, now: u64, order: Order, spread: u32) {
        if terms.life == 0 {
            // What is owed says it all.
            return;
        }
        let room = terms.gcra.room(self.owed(now));
        let wait = terms
            .gcra
            .price(order.need.max(order.least))
            .saturating_sub(room);
        let wait = wait.max(terms.rest);
        let extra = u64::try_from((u128::from(wait) * u128::from(spread)) >> 32);
        let wait = wait.saturating_add(extra.unwrap_or(u64::MAX));
        self.refuses_until = now.saturating_add(wait);
    }

    /// Takes in what the caller owed the store when it was asked, not before `sent`.
    pub(crate) fn owes(&mut self, sent: u64, owed: u64) {
        self.arrival = sent.saturating_add(owed);
    }

    /// What the caller has left, as far as this node knows: what it holds, and what the store had when it was last asked.
    pub(crate) fn left(&mut self, terms: &Terms, now: u64) -> Left {
        let held = terms.gcra.price(self.permits(now));
        terms.gcra.left(self.owed(now).saturating_sub(held))
    }

    pub(crate) fn verdict(
        &mut self,
        terms: &Terms,
        now: u64,
        retry_after: Option<Duration>,
    ) -> Verdict {
        let left = self.left(terms, now);
        Verdict { left, retry_after }
    }

    fn owed(&self, now: u64) -> u64 {
        self.arrival.saturating_sub(now)
    }

    /// What will be asked for within the next life: the mean of the last ones, less what it may well fall short of. What
    /// is bought in vain is lost to all nodes.
    fn want(&mut self, terms: &Terms, now: u64) -> u32 {
        let span = terms.life.saturating_mul(MEMORY);
        self.demand.turn(now, span);
        let demand = self.demand.within(now, span);
        let want = demand.saturating_add(2).saturating_sub(demand.isqrt()) / MEMORY as u32;
        want.clamp(1, terms.cap)
    }
}

// === impl Order ===

impl Order {
    /// So many permits, or none.
    pub(crate) const fn exactly(permits: u32) -> Self {
        Self {
            need: permits,
            want: permits,
            least: 0,
        }
    }
}

// === impl Demand ===

impl Demand {
    fn turn(&mut self, now: u64, span: u64) {
        let age = now.saturating_sub(self.since);
        if age < span {
            return;
        }
        let is_next = age - span < span;
        self.before = if is_next { self.now } else { 0 };
        self.since = if is_next { self.since + span } else { now };
        self.now = 0;
    }

    fn within(&self, now: u64, span: u64) -> u32 {
        let rest = span.saturating_sub(now.saturating_sub(self.since));
        let faded = u128::from(self.before) * u128::from(rest) / u128::from(span.max(1));
        self.now
            .saturating_add(u32::try_from(faded).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
#[path = "lease/tests.rs"] // for the bench too
mod tests;
