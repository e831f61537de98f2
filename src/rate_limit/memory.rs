//! The states of callers in memory: a bounded table without a cleanup task, which never forgets a
//! debt.
//!
//! 1. A state is in one of the 64 slots of its group, which follows from a hash under a secret.
//! 2. A newcomer takes a slot without debt: such a state equals one that was never seen.
//! 3. If all 64 states have debts, the table doubles, up to its maximum.
//! 4. At the maximum the newcomer replaces the state with the least debt, and the group keeps the
//!    largest debt that was replaced, its *floor*. A caller that is not found in the group is
//!    assumed to have that debt. So the table never assumes less debt than there is, and no caller
//!    gets more than its quota by being replaced. In return, newcomers have a smaller first burst
//!    while the table is full, and are refused if more arrive than the slots can admit at their
//!    rate.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};

use super::gcra::{Gcra, Step, Verdict};
use super::key::Key;
use super::policy::Policy;
use super::store::{Check, Outcome, Purpose, Source, Verdicts};
use crate::sharded::{Sharded, scale};
use crate::sync::lock;

/// States of callers, by key.
pub(crate) struct Memory {
    shards: Sharded<Mutex<Table>>,
}

struct Table {
    slots: Vec<Slot>,
    /// For each group and class, the latest TAT that was replaced. Empty until the first one is.
    floors: Vec<[u64; CLASSES]>,
    groups: usize,
    /// Slots per group.
    reach: usize,
    /// The maximum number of groups.
    ceiling: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    name: Name,
    /// 0 in a slot that was never used.
    tat: u64,
}

/// A caller under one policy: a keyed hash, whose lowest bits are the class.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Name(u64);

/// Where a state is, or may be put, and its TAT as far as it is known.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    tat: u64,
    slot: SlotState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SlotState {
    /// The slot holds this state.
    Found,
    /// The slot holds no debt.
    Vacant,
    /// The slot holds another state, with a debt.
    Taken,
}

/// Slots per group. Most states are within three slots of their home, and a search ends at a slot
/// that was never used; this number only decides how full the table gets: three quarters.
const REACH: usize = 64;

const SHARDS: usize = 64;

/// Quotas of similar length share a class, so that debts of a day are not assumed for quotas of a
/// second.
const CLASSES: usize = 8;

// === impl Memory ===

impl Memory {
    /// 17 MB when full.
    pub(crate) const DEFAULT_KEYS: NonZeroUsize = match NonZeroUsize::new(1_000_000) {
        Some(keys) => keys,
        None => NonZeroUsize::MIN,
    };

    /// An empty table, which grows with the number of keys.
    pub(crate) fn new(max_keys: NonZeroUsize) -> Self {
        let reach = max_keys.get().min(REACH);
        let groups = max_keys.get() / reach;
        let shards = (groups / 8).clamp(1, SHARDS);
        let table = Table {
            slots: Vec::new(),
            floors: Vec::new(),
            groups: 0,
            reach,
            ceiling: groups / shards,
        };
        Self {
            shards: Sharded::new(shards, || Mutex::new(table.empty(0))),
        }
    }

    /// Decides about one request. If it is admitted, and not only peeked at, keeps the new states.
    pub(crate) fn decide(&self, check: &Check<'_>) -> Outcome {
        let mut table = self.table(check.key);
        let verdicts = match check.policies.only() {
            Some(policy) => Verdicts::One(table.one(policy, check)),
            None => Verdicts::Several(table.several(check)),
        };
        Outcome {
            verdicts,
            source: Source::Local,
        }
    }

    /// Charges permits that were used already.
    pub(crate) fn charge(&self, check: &Check<'_>) {
        let mut table = self.table(check.key);
        for policy in check.policies.iter() {
            let name = Name::new(check.key, policy);
            let place = table.place(name, &policy.gcra, check.now);
            let before = place.map_or(0, |place| place.tat);
            let tat = policy.gcra.charge(before, check.now, check.cost);
            table.put(Slot { name, tat }, place, &policy.gcra, check.now);
        }
    }

    fn table(&self, key: Key) -> MutexGuard<'_, Table> {
        lock(self.shards.shard(key.shard()))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

// === impl Table ===

impl Table {
    fn one(&mut self, policy: &Policy, check: &Check<'_>) -> Verdict {
        let name = Name::new(check.key, policy);
        let place = self.place(name, &policy.gcra, check.now);
        let before = place.map_or(0, |place| place.tat);
        if check.purpose == Purpose::Peek {
            return policy.gcra.peek(before, check.now, check.cost);
        }
        let Step { tat, verdict } = policy.gcra.decide(before, check.now, check.cost);
        // A refusal changes nothing, so a refused newcomer takes no slot.
        if verdict.retry_after.is_none() {
            self.put(Slot { name, tat }, place, &policy.gcra, check.now);
        }
        verdict
    }

    /// All or nothing, under one lock.
    fn several(&mut self, check: &Check<'_>) -> Box<[Verdict]> {
        let policies = || check.policies.iter();
        let before: Box<[u64]> = policies()
            .map(|policy| self.tat(Name::new(check.key, policy), &policy.gcra, check.now))
            .collect();
        let looks: Box<[Verdict]> = policies()
            .zip(&before)
            .map(|(policy, before)| policy.gcra.peek(*before, check.now, check.cost))
            .collect();
        let admitted = looks.iter().all(|verdict| verdict.retry_after.is_none());
        if !admitted || check.purpose == Purpose::Peek {
            return looks;
        }
        let charged = policies().zip(&before).map(|(policy, before)| {
            let Step { tat, verdict } = policy.gcra.decide(*before, check.now, check.cost);
            let name = Name::new(check.key, policy);
            // Searched again: making room for one state may have moved the other.
            let place = self.place(name, &policy.gcra, check.now);
            self.put(Slot { name, tat }, place, &policy.gcra, check.now);
            verdict
        });
        charged.collect()
    }

    fn tat(&self, name: Name, gcra: &Gcra, now: u64) -> u64 {
        self.place(name, gcra, now).map_or(0, |place| place.tat)
    }

    fn put(&mut self, slot: Slot, mut place: Option<Place>, gcra: &Gcra, now: u64) {
        while place.is_none_or(|place| place.slot == SlotState::Taken) && self.grow(now) {
            place = self.place(slot.name, gcra, now);
        }
        if let Some(place) = place {
            self.write(slot, place);
        }
    }

    fn write(&mut self, slot: Slot, place: Place) {
        let Some(old) = self.slots.get_mut(place.index) else {
            return;
        };
        let replaced = std::mem::replace(old, slot);
        if place.slot == SlotState::Taken {
            if self.floors.is_empty() {
                self.floors = vec![[0; CLASSES]; self.groups];
            }
            let floors = self.floors.get_mut(place.index / self.reach);
            if let Some(floor) = floors.and_then(|floors| floors.get_mut(replaced.name.class())) {
                *floor = replaced.tat.max(*floor);
            }
        }
    }

    /// `None` if the table has no slots yet.
    fn place(&self, name: Name, gcra: &Gcra, now: u64) -> Option<Place> {
        self.find(name, now, |floor| {
            floor.min(now.saturating_add(gcra.max_debt()))
        })
    }

    /// `cap` lowers a floor to the largest debt that this policy allows.
    fn find(&self, name: Name, now: u64, cap: impl Fn(u64) -> u64) -> Option<Place> {
        let group = scale(name.0, self.groups);
        let first = group * self.reach;
        let slots = self.slots.get(first..first + self.reach)?;
        let home = scale(name.0.rotate_left(32), self.reach);
        let (before, from) = slots.split_at_checked(home)?;
        let ahead = (first + home..).zip(from).chain((first..).zip(before));
        let mut vacant = None;
        let mut least: Option<(usize, u64)> = None;
        for (index, slot) in ahead {
            if slot.name == name && slot.tat != 0 {
                return Some(Place {
                    index,
                    tat: slot.tat,
                    slot: SlotState::Found,
                });
            }
            if slot.tat <= now {
                vacant = vacant.or(Some(index));
            } else if least.is_none_or(|(_, tat)| slot.tat < tat) {
                least = Some((index, slot.tat));
            }
            if slot.tat == 0 {
                // No state follows an unused slot, because slots are reused but never emptied.
                break;
            }
        }
        let tat = self.floors.get(group).map_or(0, |floors| {
            cap(floors.get(name.class()).copied().unwrap_or_default())
        });
        let (index, slot) = match (vacant, least) {
            (Some(index), _) => (index, SlotState::Vacant),
            (None, Some((index, _))) => (index, SlotState::Taken),
            (None, None) => return None,
        };
        Some(Place { index, tat, slot })
    }

    /// Doubles the table, and keeps only states with debts. Returns whether it did.
    fn grow(&mut self, now: u64) -> bool {
        if self.groups >= self.ceiling {
            return false;
        }
        let groups = (self.groups * 2).clamp(1, self.ceiling);
        let old = std::mem::replace(self, self.empty(groups));
        for slot in old.slots.into_iter().filter(|slot| slot.tat > now) {
            if let Some(place) = self.find(slot.name, now, |floor| floor) {
                self.write(slot, place);
            }
        }
        true
    }

    /// An empty table of the same kind, with this many groups. Floors are set only at the maximum.
    fn empty(&self, groups: usize) -> Self {
        Self {
            slots: vec![Slot::EMPTY; groups * self.reach],
            floors: Vec::new(),
            groups,
            ..*self
        }
    }
}

// === impl Name ===

impl Name {
    fn new(key: Key, policy: &Policy) -> Self {
        let capacity = policy.gcra.capacity();
        // Below 2 seconds, 17, 137, 18 minutes, 2.4 hours, 20 hours, 6.5 days, and above.
        let class = capacity.checked_ilog2().unwrap_or(0).saturating_sub(28) / 3;
        let class = u64::from(class).min(CLASSES as u64 - 1);
        let hash = key.name() ^ policy.fingerprint;
        Self(hash - hash % CLASSES as u64 + class)
    }

    fn class(self) -> usize {
        (self.0 % CLASSES as u64) as usize
    }
}

// === impl Slot ===

impl Slot {
    const EMPTY: Self = Self {
        name: Name(0),
        tat: 0,
    };
}

#[cfg(test)]
mod tests;
