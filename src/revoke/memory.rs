//! The entries in memory: a bounded, sharded map.
//!
//! * Names are kept as 128-bit keyed hashes only.
//! * Without any entry, a lookup is one atomic read. With entries, it hashes only the names of the
//!   kinds that have been revoked.
//! * A write to a shard drops the entries of the shard that have ended, so no background task is
//!   needed. When the map is full, a write sweeps all shards. If nothing has ended, the new entry
//!   is refused: dropping another would accept its tokens again.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};

use siphasher::sip128::{Hash128, Hasher128, SipHasher13};

use super::revocation::{Kind, RevokeError};
use crate::sharded::{IdentityBuildHasher, Sharded};
use crate::sync::{lock, read, write};

/// The entries of all kinds, by key.
pub(super) struct Memory {
    /// The keyed hash before the first byte, with a new random key for each map.
    hasher: SipHasher13,
    /// A bit for each kind that has had entries since the map was empty last.
    kinds: AtomicU8,
    /// The number of entries, including entries that have ended.
    len: AtomicUsize,
    shards: Sharded<RwLock<Slots>>,
    /// No entry ends earlier. Every writer holds this lock, so `len` is exact.
    earliest_end: Mutex<u64>,
}

type Slots = HashMap<Key, Slot, IdentityBuildHasher>;

/// The keyed hash of a kind, an issuer and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64, u64);

/// The names of one issuer.
pub(super) struct Namespace<'a> {
    memory: &'a Memory,
    /// The keyed hash after the issuer.
    hasher: SipHasher13,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) kind: Kind,
    /// The first second in which the entry is no longer in force.
    pub(super) ends_at: u64,
    /// 0 if the kind has no not-before.
    pub(super) not_before: u64,
}

const SHARDS: usize = 256;

// === impl Memory ===

impl Memory {
    pub(super) fn new() -> Self {
        let [one, other] = [0, 1].map(|half| RandomState::new().hash_one(half));
        Self {
            hasher: SipHasher13::new_with_keys(one, other),
            kinds: AtomicU8::new(0),
            len: AtomicUsize::new(0),
            shards: Sharded::new(SHARDS, Default::default),
            earliest_end: Mutex::new(u64::MAX),
        }
    }

    /// Whether it holds nothing, not even entries that have ended.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.kinds.load(Ordering::Acquire) == 0
    }

    pub(super) fn namespace(&self, issuer: &str) -> Namespace<'_> {
        let mut hasher = self.hasher;
        issuer.hash(&mut hasher);
        let memory = self;
        Namespace { memory, hasher }
    }

    /// Adds an entry, or extends the entry of this key. Returns the entry, and whether it is new.
    pub(super) fn put(
        &self,
        key: Key,
        slot: Slot,
        now: u64,
        max_entries: usize,
    ) -> Result<(Slot, bool), RevokeError> {
        let mut earliest_end = lock(&self.earliest_end);
        if self.len.load(Ordering::Acquire) >= max_entries && *earliest_end <= now {
            *earliest_end = self.sweep(now);
        }
        let has_room = self.len.load(Ordering::Acquire) < max_entries;
        let mut slots = write(self.shard(key));
        self.drop_ended(&mut slots, now);
        if let Some(known) = slots.get_mut(&key) {
            known.ends_at = known.ends_at.max(slot.ends_at);
            known.not_before = known.not_before.max(slot.not_before);
            return Ok((*known, false));
        }
        if !has_room {
            return Err(RevokeError::Full);
        }
        self.kinds.fetch_or(bit(slot.kind), Ordering::AcqRel);
        slots.insert(key, slot);
        self.len.fetch_add(1, Ordering::AcqRel);
        *earliest_end = slot.ends_at.min(*earliest_end);
        Ok((slot, true))
    }

    /// Removes an entry. Returns whether it was in force.
    pub(super) fn remove(&self, key: Key, now: u64) -> bool {
        let _writer = lock(&self.earliest_end);
        let mut slots = write(self.shard(key));
        self.drop_ended(&mut slots, now);
        let removed = slots.remove(&key);
        self.uncount(usize::from(removed.is_some()));
        removed.is_some()
    }

    /// Calls `visit` with every entry that is in force.
    pub(super) fn each(&self, now: u64, mut visit: impl FnMut(&Slot)) {
        for shard in self.shards.iter() {
            let slots = read(shard);
            let in_force = slots.values().filter(|slot| slot.lasts(now));
            in_force.for_each(&mut visit);
        }
    }

    /// Drops all entries that have ended. Returns when the next entry ends.
    fn sweep(&self, now: u64) -> u64 {
        let mut earliest = u64::MAX;
        for shard in self.shards.iter() {
            let mut slots = write(shard);
            self.drop_ended(&mut slots, now);
            let ends = slots.values().map(|slot| slot.ends_at);
            earliest = ends.fold(earliest, u64::min);
        }
        earliest
    }

    fn drop_ended(&self, slots: &mut Slots, now: u64) {
        let before = slots.len();
        slots.retain(|_, slot| slot.lasts(now));
        self.uncount(before - slots.len());
    }

    fn uncount(&self, dropped: usize) {
        if dropped > 0 && self.len.fetch_sub(dropped, Ordering::AcqRel) == dropped {
            self.kinds.store(0, Ordering::Release);
        }
    }

    /// By one half of the key. The map in the shard uses the other.
    fn shard(&self, key: Key) -> &RwLock<Slots> {
        self.shards.shard(key.1)
    }
}

// === impl Namespace ===

impl Namespace<'_> {
    pub(super) fn key(&self, kind: Kind, value: &str) -> Key {
        let mut hasher = self.hasher;
        hasher.write_u8(kind as u8);
        value.hash(&mut hasher);
        let Hash128 { h1, h2 } = hasher.finish128();
        Key(h1, h2)
    }

    /// The entry of this name, perhaps one that has ended.
    pub(super) fn find(&self, kind: Kind, value: &str) -> Option<Slot> {
        if self.memory.kinds.load(Ordering::Acquire) & bit(kind) == 0 {
            return None;
        }
        let key = self.key(kind, value);
        read(self.memory.shard(key)).get(&key).copied()
    }
}

// === impl Key ===

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

// === impl Slot ===

impl Slot {
    pub(super) fn lasts(&self, now: u64) -> bool {
        now < self.ends_at
    }
}

fn bit(kind: Kind) -> u8 {
    1 << kind as u8
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const KINDS: u64 = Kind::ALL.len() as u64;

    fn put(
        memory: &Memory,
        name: u64,
        ends_at: u64,
        now: u64,
        max_entries: usize,
    ) -> Result<bool, RevokeError> {
        let kind = Kind::ALL[(name % KINDS) as usize];
        let key = memory.namespace("issuer").key(kind, &name.to_string());
        let slot = Slot {
            kind,
            ends_at,
            not_before: 0,
        };
        let put = memory.put(key, slot, now, max_entries);
        put.map(|(_, is_new)| is_new)
    }

    fn finds(memory: &Memory, kind: Kind, name: u64) -> bool {
        let namespace = memory.namespace("issuer");
        namespace.find(kind, &name.to_string()).is_some()
    }

    fn remove(memory: &Memory, kind: Kind, name: u64, now: u64) -> bool {
        let key = memory.namespace("issuer").key(kind, &name.to_string());
        memory.remove(key, now)
    }

    fn filled(len: u64, ends_at: impl Fn(u64) -> u64) -> Memory {
        let memory = Memory::new();
        for name in 0..len {
            assert_eq!(put(&memory, name, ends_at(name), 0, len as usize), Ok(true));
        }
        memory
    }

    #[test]
    fn kind_issuer_and_value_are_separated() {
        let memory = Memory::new();
        let mut halves = [HashSet::new(), HashSet::new()];
        // Concatenated, many of these texts are equal.
        for issuer in ["a", "ab", "abc"] {
            let namespace = memory.namespace(issuer);
            for &kind in Kind::ALL {
                for value in ["", "\0", "c", "bc", "abc", "12345678", "12345678\0"] {
                    let Key(one, other) = namespace.key(kind, value);
                    assert!(halves[0].insert(one), "{issuer} {kind} {value:?}");
                    assert!(halves[1].insert(other), "{issuer} {kind} {value:?}");
                }
            }
        }
    }

    #[test]
    fn every_map_has_its_own_hash_key() {
        let (one, other) = (Memory::new(), Memory::new());
        let key = |memory: &Memory| memory.namespace("a").key(Kind::Token, "b");
        assert_eq!(key(&one), key(&one));
        let (Key(a, b), Key(c, d)) = (key(&one), key(&other));
        assert_eq!(HashSet::from([a, b, c, d]).len(), 4);
    }

    #[test]
    fn an_entry_has_the_documented_size() {
        assert_eq!(size_of::<(Key, Slot)>(), 40);
        let slot = Slot {
            kind: Kind::Token,
            ends_at: 0,
            not_before: 0,
        };
        let mut slots = Slots::default();
        for name in 0..1_000_000 / SHARDS as u64 {
            slots.insert(Key(name, name), slot);
        }
        // A hash map with room for `capacity` entries has 8/7 as many buckets, each with one more
        // byte.
        let bytes = slots.capacity() * 8 / 7 * (40 + 1) * SHARDS / 1_000_000;
        assert!((50..=90).contains(&bytes), "{bytes}");
    }

    #[test]
    fn finds_every_entry_and_nothing_else() {
        let memory = filled(20_000, |_| 10);
        for name in 0..20_000 {
            for (at, &kind) in Kind::ALL.iter().enumerate() {
                assert_eq!(finds(&memory, kind, name), name % KINDS == at as u64);
            }
            assert!(!finds(&memory, Kind::Token, 20_000 + name));
        }
    }

    #[test]
    fn keys_that_share_a_half_are_separated() {
        let memory = Memory::new();
        let slot = |ends_at| Slot {
            kind: Kind::Token,
            ends_at,
            not_before: 0,
        };
        // Names with such hashes cannot be found, so the keys are made by hand.
        let keys = [Key(1, 1), Key(1, 2), Key(2, 1)];
        for (key, ends_at) in keys.into_iter().zip(10..) {
            memory.put(key, slot(ends_at), 0, 9).unwrap();
        }
        let found = |key: Key| read(memory.shard(key)).get(&key).copied();
        assert_eq!(keys.map(found), [10, 11, 12].map(|end| Some(slot(end))));
        assert!(memory.remove(Key(1, 1), 0));
        assert_eq!(keys.map(|key| found(key).is_some()), [false, true, true]);
    }

    #[test]
    fn a_full_map_rejects_new_entries_only() {
        let memory = filled(600, |_| 10);
        for name in 600..700 {
            assert_eq!(put(&memory, name, 20, 9, 600), Err(RevokeError::Full));
        }
        assert_eq!(put(&memory, 0, 20, 9, 600), Ok(false));
        assert!((0..600).all(|name| finds(&memory, Kind::ALL[(name % KINDS) as usize], name)));
        assert!(remove(&memory, Kind::Token, 6, 9));
        assert_eq!(put(&memory, 600, 20, 9, 600), Ok(true));
        assert_eq!(put(&memory, 606, 20, 9, 600), Err(RevokeError::Full));
    }

    #[test]
    fn ended_entries_make_room() {
        let memory = filled(600, |name| if name < 100 { 10 } else { 20 });
        for name in 600..700 {
            assert_eq!(put(&memory, name, 15, 10, 600), Ok(true));
        }
        assert_eq!(put(&memory, 700, 15, 10, 600), Err(RevokeError::Full));
        // The entries that came after the sweep end before the ones that it kept.
        for name in 700..800 {
            assert_eq!(put(&memory, name, 30, 15, 600), Ok(true));
        }
        assert_eq!(put(&memory, 800, 30, 15, 600), Err(RevokeError::Full));
    }

    #[test]
    fn a_steady_stream_leaves_little_behind() {
        let memory = Memory::new();
        for now in 0..100_000 {
            put(&memory, now, now + 100, now, usize::MAX).unwrap();
        }
        let len = memory.len.load(Ordering::Acquire);
        assert!((100..4 * SHARDS).contains(&len), "{len}");
    }

    #[test]
    fn an_emptied_map_is_empty() {
        let memory = filled(60, |_| 10);
        for name in 0..60 {
            assert!(!memory.is_empty());
            let kind = Kind::ALL[(name % KINDS) as usize];
            assert!(remove(&memory, kind, name, 0));
            assert!(!remove(&memory, kind, name, 0));
        }
        assert!(memory.is_empty());
    }
}
