//! What this process holds and knows of the callers that it has asked the store about.
//!
//! Everything here may be forgotten at any moment: permits are lost then, never won. So memory is bounded in the simplest
//! way: two generations, of which the older goes when the younger is full, and whoever is seen again is young.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};

use super::script::Reply;
use crate::flight::Flight;
use crate::rate_limit::key::Key;
use crate::rate_limit::lease::{Lease, Order, Terms};
use crate::rate_limit::policy::Policies;
use crate::rate_limit::store::{Check, Outcome, Source, Verdicts};
use crate::sharded::{IdentityBuildHasher, Sharded};
use crate::sync::lock;

/// Leases, by caller.
pub(super) struct Leases {
    shards: Sharded<Mutex<Shard>>,
    /// How many accounts a generation of a shard may have.
    room: usize,
    percent: u8,
    random: RandomState,
}

#[derive(Default)]
struct Shard {
    young: Accounts,
    old: Accounts,
}

type Accounts = HashMap<Id, Account, IdentityBuildHasher>;

/// A caller under a set of policies. Both are hashes under a secret, so nobody can make them collide.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(u128);

/// A caller's leases, one for each policy.
pub(super) struct Account {
    slots: Box<[Slot]>,
    pub(super) flight: Flight<Landing>,
}

struct Slot {
    terms: Terms,
    lease: Lease,
}

/// Whether an account was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    Before,
    Now,
}

/// How a purchase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Landing {
    /// All that was wanted.
    Full,
    /// Less, or nothing. Whoever still waits is refused: one who waited for the next purchase, and the next, would be
    /// let in late instead.
    Short,
    Failed,
}

const SHARDS: usize = 64;

// === impl Leases ===

impl Leases {
    pub(super) fn new(percent: u8, max_keys: NonZeroUsize) -> Self {
        let shards = (max_keys.get() / 64).clamp(1, SHARDS);
        Self {
            shards: Sharded::new(shards, Mutex::default),
            room: (max_keys.get() / shards / 2).max(1),
            percent,
            random: RandomState::new(),
        }
    }

    /// Calls `then` with the caller's account, if there is one.
    pub(super) fn find<R>(&self, id: Id, then: impl FnOnce(&mut Account) -> R) -> Option<R> {
        let room = self.room;
        self.shard(id).find(id, room).map(then)
    }

    /// Calls `then` with the caller's account, which is opened if there is none.
    pub(super) fn open<R>(
        &self,
        id: Id,
        policies: &Policies,
        then: impl FnOnce(&mut Account, Opened) -> R,
    ) -> Option<R> {
        let mut shard = self.shard(id);
        let opened = match shard.find(id, self.room) {
            Some(_) => Opened::Before,
            None => {
                shard.put(id, Account::new(policies, self.percent), self.room);
                Opened::Now
            }
        };
        shard
            .young
            .get_mut(&id)
            .map(|account| then(account, opened))
    }

    /// Whether a request of this cost may be paid from leases.
    pub(super) fn lease(&self, policies: &Policies, cost: u32) -> bool {
        let mut terms = policies
            .iter()
            .map(|policy| Terms::new(policy.gcra, self.percent));
        self.percent > 0 && terms.all(|terms| terms.leases(cost))
    }

    /// A number that no other node can foresee.
    pub(super) fn spread(&self, now: u64) -> u32 {
        (self.random.hash_one(now) >> 32) as u32
    }

    /// How many accounts there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let shards = self.shards.iter().map(|shard| shard.lock().unwrap());
        shards
            .map(|shard| shard.young.len() + shard.old.len())
            .sum()
    }

    fn shard(&self, id: Id) -> MutexGuard<'_, Shard> {
        lock(self.shards.shard((id.0 >> 64) as u64))
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").finish_non_exhaustive()
    }
}

// === impl Shard ===

impl Shard {
    fn find(&mut self, id: Id, room: usize) -> Option<&mut Account> {
        if let Some(account) = self.old.remove(&id) {
            self.put(id, account, room);
        }
        self.young.get_mut(&id)
    }

    fn put(&mut self, id: Id, account: Account, room: usize) {
        if self.young.len() >= room {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, account);
    }
}

// === impl Id ===

impl Id {
    pub(super) fn new(key: Key, policies: &Policies) -> Self {
        let prints = policies.iter().map(|policy| policy.fingerprint);
        let set = prints.fold(0_u64, |set, print| set.rotate_left(7) ^ print);
        Self(u128::from_be_bytes(key.bytes()) ^ u128::from(set))
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

// === impl Account ===

impl Account {
    fn new(policies: &Policies, percent: u8) -> Self {
        let slots = policies.iter().map(|policy| Slot {
            terms: Terms::new(policy.gcra, percent),
            lease: Lease::default(),
        });
        Self {
            slots: slots.collect(),
            flight: Flight::new(),
        }
    }

    /// Counts the request, for what will be bought.
    pub(super) fn note(&mut self, now: u64, cost: u32) {
        for slot in &mut self.slots {
            slot.lease.note(&slot.terms, now, cost);
        }
    }

    /// Pays for a request with what is held of each policy, or of none.
    pub(super) fn spend(&mut self, check: &Check<'_>, now: u64) -> Option<Outcome> {
        let cost = check.cost.get();
        let mut slots = self.slots.iter_mut();
        if !slots.all(|slot| slot.terms.leases(cost) && slot.lease.permits(now) >= cost) {
            return None;
        }
        let spend = |slot: &mut Slot| {
            slot.lease.spend(cost);
            slot.lease.verdict(&slot.terms, now, None)
        };
        Some(Outcome {
            verdicts: self.slots.iter_mut().map(spend).collect(),
            source: Source::Leased,
        })
    }

    /// Refuses what the store could not but refuse.
    pub(super) fn refuse(&mut self, check: &Check<'_>, now: u64) -> Option<Outcome> {
        let cost = check.cost.get();
        let refuses = |slot: &mut Slot| {
            let pays = slot.terms.leases(cost) && slot.lease.permits(now) >= cost;
            (!pays)
                .then(|| slot.lease.refuses(&slot.terms, now, cost))
                .flatten()
        };
        if !self.slots.iter_mut().any(|slot| refuses(slot).is_some()) {
            return None;
        }
        let verdict = |slot: &mut Slot| {
            let retry_after = refuses(slot);
            slot.lease.verdict(&slot.terms, now, retry_after)
        };
        let verdicts: Verdicts = self.slots.iter_mut().map(verdict).collect();
        let leases = self.slots.iter().all(|slot| slot.terms.leases(cost));
        let source = if leases {
            Source::Leased
        } else {
            Source::Exact
        };
        Some(Outcome { verdicts, source })
    }

    /// Refuses whoever a purchase left with nothing.
    pub(super) fn turn_away(&mut self, check: &Check<'_>, now: u64) -> Outcome {
        let cost = check.cost.get();
        let verdict = |slot: &mut Slot| {
            let lacks = slot.lease.permits(now) < cost;
            let after = slot.lease.refuses(&slot.terms, now, cost);
            let after = lacks.then(|| after.unwrap_or_default().max(slot.terms.rest()));
            slot.lease.verdict(&slot.terms, now, after)
        };
        Outcome {
            verdicts: self.slots.iter_mut().map(verdict).collect(),
            source: Source::Leased,
        }
    }

    /// What to order for a request: of each policy that lacks something.
    pub(super) fn orders(&mut self, now: u64, cost: u32) -> Box<[Order]> {
        let order = |slot: &mut Slot| {
            if slot.lease.permits(now) >= cost {
                return Order::default();
            }
            slot.lease.order(&slot.terms, now, cost)
        };
        self.slots.iter_mut().map(order).collect()
    }

    /// What to order ahead of need, if it is time.
    pub(super) fn orders_ahead(&mut self, now: u64) -> Option<Box<[Order]>> {
        let mut slots = self.slots.iter_mut();
        if !slots.any(|slot| slot.is_low(now)) || self.flight.is_under_way() {
            return None;
        }
        let order = |slot: &mut Slot| slot.lease.order_ahead(&slot.terms, now).unwrap_or_default();
        Some(self.slots.iter_mut().map(order).collect())
    }

    /// Takes in what the store has said to orders that were sent at `sent`.
    pub(super) fn land(
        &mut self,
        orders: &[Order],
        reply: &Reply,
        sent: u64,
        now: u64,
        spread: u32,
    ) -> Landing {
        let mut landing = Landing::Full;
        for ((slot, order), answer) in self.slots.iter_mut().zip(orders).zip(&reply.answers) {
            let gcra = slot.terms.gcra();
            if reply.granted {
                slot.lease
                    .owes(sent, answer.owed.saturating_add(gcra.price(answer.permits)));
                slot.lease.granted(&slot.terms, sent, now, answer.permits);
                if answer.permits < order.want {
                    landing = Landing::Short;
                }
            } else {
                landing = Landing::Short;
                slot.lease.owes(sent, answer.owed);
                if gcra.room(answer.owed) < gcra.price(order.need.max(order.least)) {
                    slot.lease.refused(&slot.terms, now, *order, spread);
                }
            }
        }
        landing
    }

    /// Takes in what is owed, as the store has said about a request sent at `sent`.
    pub(super) fn owes(&mut self, sent: u64, owed: impl Iterator<Item = u64>) {
        for (slot, owed) in self.slots.iter_mut().zip(owed) {
            slot.lease.owes(sent, owed);
        }
    }
}

// === impl Slot ===

impl Slot {
    fn is_low(&mut self, now: u64) -> bool {
        self.lease.order_ahead(&self.terms, now).is_some()
    }
}
