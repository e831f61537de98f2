//! The callers' states in memory: a table that never grows past its ceiling and never runs a cleanup.
//!
//! 1. A key has a home in the table, known only to this process, and lives in one of the 64 slots from there.
//! 2. A newcomer takes a slot whose key owes nothing any more: such a key is no different from one never seen.
//! 3. Where all 64 still owe, the table doubles, up to its ceiling.
//! 4. At the ceiling the newcomer replaces the one of the 64 that owes least, so that a flood of fresh keys replaces
//!    fresh keys: a caller at its limit is reset only where 63 neighbours have used up more than it has.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::gcra::{Gcra, Verdict};
use super::key::Key;

/// States of callers, by key.
pub(crate) struct Memory {
    shards: Box<[Shard]>,
}

// Alone in its cache lines, so that one processor's lock does not slow another's.
#[repr(align(128))]
struct Shard(Mutex<Table>);

struct Table {
    slots: Vec<Slot>,
    ceiling: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    key: Key,
    /// As GCRA keeps it; 0 in a slot that was never used.
    arrival: u64,
}

/// Where a key is, or may be put.
#[derive(Clone, Copy)]
enum Place {
    /// The key is there, with its arrival.
    Found(usize, u64),
    Vacant(usize),
    /// The slot's key still owes.
    Taken(usize),
}

/// How many slots from its home a key may live. Most live within the first three, and a search ends at a slot that was
/// never used; the reach only says how full the table gets before it is crowded: three quarters.
const REACH: usize = 64;

const SHARDS: usize = 64;

// === impl Memory ===

impl Memory {
    /// 24 MB when full.
    pub(crate) const DEFAULT_KEYS: NonZeroUsize = match NonZeroUsize::new(1_000_000) {
        Some(keys) => keys,
        None => NonZeroUsize::MIN,
    };

    /// An empty table; memory is taken as keys come.
    pub(crate) fn new(max_keys: NonZeroUsize) -> Self {
        let max_keys = max_keys.get();
        // A shard smaller than this would make neighbours of too few keys.
        let shards = (max_keys / (8 * REACH)).clamp(1, SHARDS);
        let shard = |_| {
            Shard(Mutex::new(Table {
                slots: Vec::new(),
                ceiling: max_keys / shards,
            }))
        };
        Self {
            shards: (0..shards).map(shard).collect(),
        }
    }

    /// Decides about one request of the key's caller and keeps the new state.
    pub(crate) fn charge(&self, key: Key, now: u64, gcra: &Gcra, cost: NonZeroU32) -> Verdict {
        match self.table(key) {
            Some(mut table) => table.charge(key, now, gcra, cost),
            // There always is one; a caller who owes for ever is refused.
            None => gcra.decide(u64::MAX, now, cost),
        }
    }

    /// Decides as [`charge`](Self::charge) would, and keeps nothing.
    pub(crate) fn peek(&self, key: Key, now: u64, gcra: &Gcra, cost: NonZeroU32) -> Verdict {
        let arrival = self
            .table(key)
            .map_or(u64::MAX, |table| table.arrival(key, now));
        gcra.decide(arrival, now, cost)
    }

    fn table(&self, key: Key) -> Option<MutexGuard<'_, Table>> {
        let shard = self.shards.get(scale(key.shard(), self.shards.len()))?;
        // A table is whole between any two statements, so a panic elsewhere leaves nothing to fear.
        Some(shard.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

// === impl Table ===

impl Table {
    fn charge(&mut self, key: Key, now: u64, gcra: &Gcra, cost: NonZeroU32) -> Verdict {
        let place = self.place(key, now);
        let arrival = place.map_or(0, Place::arrival);
        let verdict = gcra.decide(arrival, now, cost);
        // A refusal changes nothing, so a stranger who is refused leaves nothing to remember.
        if verdict.retry_after.is_none() {
            let arrival = verdict.arrival;
            self.put(Slot { key, arrival }, place, now);
        }
        verdict
    }

    fn arrival(&self, key: Key, now: u64) -> u64 {
        self.place(key, now).map_or(0, Place::arrival)
    }

    fn put(&mut self, slot: Slot, mut place: Option<Place>, now: u64) {
        while matches!(place, Some(Place::Taken(_)) | None) && self.grow(now) {
            place = self.place(slot.key, now);
        }
        let index = place.map(Place::index);
        if let Some(old) = index.and_then(|index| self.slots.get_mut(index)) {
            *old = slot;
        }
    }

    /// A table without slots has no place.
    fn place(&self, key: Key, now: u64) -> Option<Place> {
        let home = scale(key.home(), self.slots.len());
        let (before, from) = self.slots.split_at_checked(home)?;
        let ahead = (home..).zip(from).chain((0..).zip(before)).take(REACH);
        let mut vacant = None;
        let mut least: Option<(usize, u64)> = None;
        for (index, slot) in ahead {
            if slot.arrival <= now {
                vacant = vacant.or(Some(index));
            } else if least.is_none_or(|(_, arrival)| slot.arrival < arrival) {
                least = Some((index, slot.arrival));
            }
            if slot.arrival == 0 {
                // Nothing was ever put beyond, since slots are reused but never emptied.
                break;
            }
            if slot.key == key {
                return Some(Place::Found(index, slot.arrival));
            }
        }
        let taken = least.map(|(index, _)| Place::Taken(index));
        vacant.map(Place::Vacant).or(taken)
    }

    /// Makes room, taking along only those who still owe. Says whether it did.
    fn grow(&mut self, now: u64) -> bool {
        let len = self.slots.len();
        if len >= self.ceiling {
            return false;
        }
        let room = (len * 2).max(REACH).min(self.ceiling);
        let old = std::mem::replace(&mut self.slots, vec![Slot::EMPTY; room]);
        for slot in old.into_iter().filter(|slot| slot.arrival > now) {
            let index = self.place(slot.key, now).map(Place::index);
            if let Some(kept) = index.and_then(|index| self.slots.get_mut(index))
                && kept.arrival < slot.arrival
            {
                *kept = slot;
            }
        }
        true
    }
}

// === impl Place ===

impl Place {
    /// The key's state; 0 for one that was never seen.
    fn arrival(self) -> u64 {
        match self {
            Self::Found(_, arrival) => arrival,
            Self::Vacant(_) | Self::Taken(_) => 0,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Found(index, _) | Self::Vacant(index) | Self::Taken(index) => index,
        }
    }
}

// === impl Slot ===

impl Slot {
    const EMPTY: Self = Self {
        key: Key::ZERO,
        arrival: 0,
    };
}

/// Spreads a hash evenly over `0..len`, without a division.
fn scale(hash: u64, len: usize) -> usize {
    ((u128::from(hash) * len as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::rate_limit::key::KeyHasher;
    use crate::rate_limit::quota::Quota;

    const ONE: NonZeroU32 = NonZeroU32::MIN;
    const SECOND: u64 = 1_000_000_000;

    impl Memory {
        fn slots(&self) -> usize {
            let tables = self.shards.iter().map(|shard| shard.0.lock().unwrap());
            tables.map(|table| table.slots.capacity()).sum()
        }

        fn arrival(&self, key: Key) -> Option<u64> {
            let shard = &self.shards[scale(key.shard(), self.shards.len())];
            match shard.0.lock().unwrap().place(key, SECOND) {
                Some(Place::Found(_, arrival)) => Some(arrival),
                _ => None,
            }
        }
    }

    fn memory(max_keys: usize) -> Memory {
        Memory::new(NonZeroUsize::new(max_keys).unwrap())
    }

    fn key(name: u64) -> Key {
        KeyHasher::after(&name).key()
    }

    fn admits(memory: &Memory, gcra: &Gcra, name: u64, now: u64) -> bool {
        let verdict = memory.charge(key(name), now, gcra, ONE);
        verdict.retry_after.is_none()
    }

    #[test]
    fn an_offender_stays_limited_while_a_flood_of_fresh_keys_arrives() {
        let gcra = Gcra::new(&Quota::per_minute(10));
        for ceiling in [2, 100, 10_000] {
            let memory = memory(ceiling);
            while admits(&memory, &gcra, u64::MAX, SECOND) {}
            for name in 0..10 * ceiling as u64 {
                assert!(admits(&memory, &gcra, name, SECOND));
                if name % 97 == 0 {
                    assert!(!admits(&memory, &gcra, u64::MAX, SECOND));
                }
            }
            assert!(!admits(&memory, &gcra, u64::MAX, SECOND));
        }
    }

    #[test]
    fn memory_never_exceeds_the_ceiling() {
        let gcra = Gcra::new(&Quota::per_hour(1));
        for ceiling in [1, 2, 15, 17, 1_000, 1_023, 20_000] {
            let memory = memory(ceiling);
            for name in 0..4 * ceiling as u64 {
                admits(&memory, &gcra, name, SECOND);
            }
            assert!(memory.slots() <= ceiling, "{} > {ceiling}", memory.slots());
        }
    }

    #[test]
    fn nearly_all_callers_are_remembered_up_to_three_quarters_of_the_ceiling() {
        let gcra = Gcra::new(&Quota::per_hour(1));
        for ceiling in [200, 2_000, 20_000] {
            let memory = memory(ceiling);
            let callers = ceiling as u64 * 3 / 4;
            for name in 0..callers {
                assert!(admits(&memory, &gcra, name, SECOND));
            }
            let is_forgotten = |name: &u64| memory.arrival(key(*name)).is_none();
            let forgotten = (0..callers).filter(is_forgotten).count();
            assert!(forgotten * 100 <= ceiling, "{forgotten} of {callers}");
        }
    }

    #[test]
    fn keys_that_owe_nothing_make_room_without_growth() {
        let gcra = Gcra::new(&Quota::per_second(10));
        let memory = memory(1_000_000);
        for name in 0..100_000 {
            // Ten keys owe something at any time.
            assert!(admits(&memory, &gcra, name, SECOND + name * SECOND / 100));
        }
        assert!(memory.slots() <= 64 * REACH, "{} slots", memory.slots());
    }

    #[test]
    fn a_refused_stranger_is_not_remembered() {
        let gcra = Gcra::new(&Quota::per_second(0));
        let memory = memory(1_000);
        for name in 0..100 {
            assert!(!admits(&memory, &gcra, name, SECOND));
        }
        assert_eq!(memory.slots(), 0);
    }

    #[test]
    fn a_slot_is_as_large_as_documented() {
        assert_eq!(size_of::<Slot>(), 24);
    }

    #[test]
    fn every_thread_sees_one_count() {
        let gcra = Gcra::new(&Quota::per_hour(1_000));
        let memory = memory(1_000);
        let one_thread = || {
            (0..1_000)
                .filter(|_| admits(&memory, &gcra, 7, SECOND))
                .count()
        };
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(one_thread)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(admitted, 1_000);
    }

    proptest! {
        #[test]
        fn it_decides_as_a_plain_map_does(
            requests in prop::collection::vec((0..400_u64, 0..SECOND / 100), 1..2_000),
        ) {
            let gcra = Gcra::new(&Quota::per_second(2).burst(3));
            let memory = memory(100_000);
            let mut map = HashMap::<u64, u64>::new();
            let mut now = SECOND;
            for (name, step) in requests {
                now += step;
                let arrival = map.entry(name).or_default();
                let expected = gcra.decide(*arrival, now, ONE);
                *arrival = expected.arrival;
                let verdict = memory.charge(key(name), now, &gcra, ONE);
                prop_assert_eq!(verdict.retry_after, expected.retry_after);
                prop_assert_eq!(verdict.left.permits, expected.left.permits);
            }
        }
    }
}
