//! The entries in memory: a bounded map that readers never wait for.
//!
//! 1. Every kind has a table of its own, so that a lookup hashes only for kinds of which there are entries.
//! 2. A table is split into shards by the key. A shard is a short sorted list that never changes: a writer copies it,
//!    changes the copy and puts it in the old one's place, one writer at a time.
//! 3. A copy takes along only what has not ended. So ended entries go as new ones come, without a task of its own.
//! 4. At the ceiling everything that has ended is dropped. If nothing has, the newcomer is refused, since to forget
//!    another would let its tokens in again.
//!
//! Why not a lock for each shard: every request of an issuer or a client asks for the same few keys, so all processors
//! would write to the same lock to read it. A snapshot behind `arc-swap` is read without a shared write. Its price, a
//! copy for each revocation, is 40 KB at the default ceiling if all entries are of one kind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::error::RevocationError;
use super::key::{Key, Sought};
use super::revocation::Kind;

/// What is revoked, by key.
pub(super) struct Memory {
    /// How many entries all tables hold, ended ones too.
    held: AtomicUsize,
    tokens: Table,
    sessions: Table,
    subjects: Table,
    clients: Table,
    issuers: Table,
    keys: Table,
    writer: Mutex<Writer>,
}

pub(super) struct Table {
    held: AtomicUsize,
    shards: Box<[Shard]>,
}

struct Shard {
    /// How many slots there are: to see that there are none takes a plain read.
    held: AtomicUsize,
    /// Sorted by key.
    slots: ArcSwap<Vec<Slot>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) key: Key,
    /// The first second in which it counts no more.
    pub(super) ends_at: u64,
    /// 0 where the kind has none.
    pub(super) not_before: u64,
}

/// Whoever holds it may write.
struct Writer {
    /// No entry ends earlier.
    earliest_end: u64,
}

/// Whether an entry is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Added,
    Extended,
}

const SHARDS: usize = 1024;

// === impl Memory ===

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            held: AtomicUsize::new(0),
            tokens: Table::new(),
            sessions: Table::new(),
            subjects: Table::new(),
            clients: Table::new(),
            issuers: Table::new(),
            keys: Table::new(),
            writer: Mutex::new(Writer {
                earliest_end: u64::MAX,
            }),
        }
    }

    /// Whether it holds nothing, not even entries that have ended.
    pub(super) fn is_empty(&self) -> bool {
        self.held.load(Ordering::Acquire) == 0
    }

    pub(super) fn table(&self, kind: Kind) -> &Table {
        match kind {
            Kind::Token => &self.tokens,
            Kind::Session => &self.sessions,
            Kind::Subject => &self.subjects,
            Kind::Client => &self.clients,
            Kind::Issuer => &self.issuers,
            Kind::Key => &self.keys,
        }
    }

    /// Adds an entry, or lets the one of this key last longer and reach further.
    pub(super) fn put(
        &self,
        kind: Kind,
        slot: Slot,
        now: u64,
        max_entries: usize,
    ) -> Result<Put, RevocationError> {
        let mut writer = self.writer();
        if self.held.load(Ordering::Acquire) >= max_entries && writer.earliest_end <= now {
            writer.earliest_end = self.sweep(now);
        }
        let has_room = self.held.load(Ordering::Acquire) < max_entries;
        let change = |slots: &mut Vec<Slot>| match slots.binary_search_by_key(&slot.key, |s| s.key)
        {
            Ok(at) => {
                if let Some(own) = slots.get_mut(at) {
                    own.ends_at = own.ends_at.max(slot.ends_at);
                    own.not_before = own.not_before.max(slot.not_before);
                }
                Ok(Put::Extended)
            }
            Err(at) if has_room => {
                slots.insert(at, slot);
                Ok(Put::Added)
            }
            Err(_) => Err(RevocationError::Full),
        };
        let table = self.table(kind);
        // There always is a shard; without one, nothing could be kept.
        let put = match table.shard(slot.key.place) {
            Some(shard) => table.rewrite(shard, now, change),
            None => Err(RevocationError::Full),
        };
        if put.is_ok() {
            writer.earliest_end = writer.earliest_end.min(slot.ends_at);
        }
        self.count();
        put
    }

    /// Removes an entry. Says whether there was one that had not ended.
    pub(super) fn remove(&self, kind: Kind, key: Key, now: u64) -> bool {
        let _writer = self.writer();
        let change = |slots: &mut Vec<Slot>| {
            let found = slots.binary_search_by_key(&key, |slot| slot.key);
            found.map(|at| slots.remove(at)).is_ok()
        };
        let table = self.table(kind);
        let shard = table.shard(key.place);
        let removed = shard.is_some_and(|shard| table.rewrite(shard, now, change));
        self.count();
        removed
    }

    /// Drops all that has ended. Returns when the next entry ends.
    fn sweep(&self, now: u64) -> u64 {
        let tables = Kind::ALL.map(|kind| self.table(kind));
        let earliest = tables.map(|table| table.sweep(now)).into_iter().min();
        self.count();
        earliest.unwrap_or(u64::MAX)
    }

    /// Only the writer counts, so the sum is exact.
    fn count(&self) {
        let held = Kind::ALL.map(|kind| self.table(kind).held.load(Ordering::Acquire));
        self.held.store(held.iter().sum(), Ordering::Release);
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // Shards are replaced whole, so a panic elsewhere leaves nothing to fear.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Table ===

impl Table {
    fn new() -> Self {
        let empty = Arc::new(Vec::new());
        let shards = (0..SHARDS).map(|_| Shard {
            held: AtomicUsize::new(0),
            slots: ArcSwap::new(Arc::clone(&empty)),
        });
        Self {
            held: AtomicUsize::new(0),
            shards: shards.collect(),
        }
    }

    /// Whether it holds nothing, not even entries that have ended.
    pub(super) fn is_empty(&self) -> bool {
        self.held.load(Ordering::Acquire) == 0
    }

    /// The entry of a key, perhaps an ended one.
    pub(super) fn find(&self, sought: &Sought<'_>) -> Option<Slot> {
        let shard = self.shard(sought.place)?;
        if shard.held.load(Ordering::Acquire) == 0 {
            return None;
        }
        let slots = shard.slots.load();
        let from = slots.get(position(&slots, sought.place)..)?;
        if from.first()?.key.place != sought.place {
            return None;
        }
        let key = sought.key();
        let mut there = from.iter().take_while(|slot| slot.key.place == key.place);
        there.find(|slot| slot.key == key).copied()
    }

    /// Calls `visit` with every entry that has not ended.
    pub(super) fn each(&self, now: u64, mut visit: impl FnMut(&Slot)) {
        for shard in &self.shards {
            let slots = shard.slots.load();
            slots
                .iter()
                .filter(|slot| slot.lasts(now))
                .for_each(&mut visit);
        }
    }

    fn shard(&self, place: u64) -> Option<&Shard> {
        self.shards.get(scale(place, self.shards.len()))
    }

    /// Replaces a shard by a changed copy of what has not ended.
    fn rewrite<T>(&self, shard: &Shard, now: u64, change: impl FnOnce(&mut Vec<Slot>) -> T) -> T {
        let old = shard.slots.load_full();
        let mut new = Vec::with_capacity(old.len() + 1);
        new.extend(old.iter().filter(|slot| slot.lasts(now)));
        let result = change(&mut new);
        let held = self.held.load(Ordering::Acquire) - old.len() + new.len();
        shard.held.store(new.len(), Ordering::Release);
        shard.slots.store(Arc::new(new));
        self.held.store(held, Ordering::Release);
        result
    }

    /// Drops all that has ended. Returns when the next entry ends.
    fn sweep(&self, now: u64) -> u64 {
        let mut earliest = u64::MAX;
        for shard in &self.shards {
            if shard.slots.load().iter().any(|slot| !slot.lasts(now)) {
                self.rewrite(shard, now, |_| ());
            }
            let ends = shard.slots.load().iter().map(|slot| slot.ends_at).min();
            earliest = earliest.min(ends.unwrap_or(u64::MAX));
        }
        earliest
    }
}

// === impl Slot ===

impl Slot {
    pub(super) fn lasts(&self, now: u64) -> bool {
        now < self.ends_at
    }
}

/// Where the first of a shard's slots is that belongs to `place` or a later one.
///
/// Places are spread evenly, so it is near where the place itself says: less memory is touched than by halving.
fn position(slots: &[Slot], place: u64) -> usize {
    let guess = scale(place.wrapping_mul(SHARDS as u64), slots.len());
    let (before, after) = slots.split_at(guess.min(slots.len()));
    let is_before = |slot: &&Slot| slot.key.place < place;
    let too_early = after.iter().take_while(is_before).count();
    let too_late = before.iter().rev().take_while(|slot| !is_before(slot));
    before.len() + too_early - too_late.count()
}

/// Spreads a hash evenly over `0..len`, without a division.
fn scale(hash: u64, len: usize) -> usize {
    ((u128::from(hash) * len as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revoke::key::Secrets;

    struct Filled {
        memory: Memory,
        secrets: Secrets,
        max_entries: usize,
    }

    impl Filled {
        fn put(
            &self,
            kind: Kind,
            name: u64,
            ends_at: u64,
            now: u64,
        ) -> Result<Put, RevocationError> {
            let slot = Slot {
                key: self.key(kind, name),
                ends_at,
                not_before: 0,
            };
            self.memory.put(kind, slot, now, self.max_entries)
        }

        fn key(&self, kind: Kind, name: u64) -> Key {
            let namespace = self.secrets.namespace("issuer");
            namespace.seek(kind, &name.to_string()).key()
        }

        fn finds(&self, kind: Kind, name: u64) -> bool {
            let namespace = self.secrets.namespace("issuer");
            let name = name.to_string();
            let sought = namespace.seek(kind, &name);
            self.memory.table(kind).find(&sought).is_some()
        }
    }

    fn filled(max_entries: usize, ends_at: impl Fn(u64) -> u64) -> Filled {
        let filled = Filled {
            memory: Memory::new(),
            secrets: Secrets::new(),
            max_entries,
        };
        for name in 0..max_entries as u64 {
            let kind = Kind::ALL[name as usize % 6];
            assert_eq!(filled.put(kind, name, ends_at(name), 0), Ok(Put::Added));
        }
        filled
    }

    #[test]
    fn a_slot_is_as_large_as_documented() {
        assert_eq!(size_of::<Slot>(), 40);
        assert_eq!(
            1_000_000_usize.div_ceil(SHARDS) * size_of::<Slot>() / 1024,
            38
        );
    }

    #[test]
    fn everything_is_found_and_nothing_else() {
        let filled = filled(20_000, |_| 10);
        for name in 0..20_000 {
            for (at, kind) in Kind::ALL.into_iter().enumerate() {
                assert_eq!(filled.finds(kind, name), name as usize % 6 == at);
            }
            assert!(!filled.finds(Kind::Token, 20_000 + name));
        }
    }

    #[test]
    fn keys_that_share_a_place_are_told_apart() {
        let memory = Memory::new();
        let secrets = Secrets::new();
        let namespace = secrets.namespace("issuer");
        let (sought, other) = (
            namespace.seek(Kind::Token, "a"),
            namespace.seek(Kind::Token, "b"),
        );
        // What nobody can find, made by hand: one key's hash in another's place.
        let mut twin = sought.key();
        twin.place = other.place;
        let slot = |key| Slot {
            key,
            ends_at: 10,
            not_before: 0,
        };
        memory.put(Kind::Token, slot(twin), 0, 9).unwrap();
        assert_eq!(memory.tokens.find(&other), None);
        memory.put(Kind::Token, slot(other.key()), 0, 9).unwrap();
        assert_eq!(memory.tokens.find(&other), Some(slot(other.key())));
        assert!(memory.remove(Kind::Token, other.key(), 0));
        assert_eq!(memory.tokens.find(&other), None);
        assert!(!memory.is_empty());
    }

    #[test]
    fn a_full_map_refuses_newcomers_and_still_extends() {
        let filled = filled(600, |_| 10);
        for name in 600..700 {
            let refused = filled.put(Kind::Token, name, 20, 9);
            assert_eq!(refused, Err(RevocationError::Full));
        }
        assert_eq!(filled.put(Kind::Token, 0, 20, 9), Ok(Put::Extended));
        assert!((0..600).all(|name| filled.finds(Kind::ALL[name as usize % 6], name)));
        assert!(
            filled
                .memory
                .remove(Kind::Token, filled.key(Kind::Token, 6), 9)
        );
        assert_eq!(filled.put(Kind::Token, 600, 20, 9), Ok(Put::Added));
        assert_eq!(
            filled.put(Kind::Token, 601, 20, 9),
            Err(RevocationError::Full)
        );
    }

    #[test]
    fn what_has_ended_makes_room() {
        let filled = filled(600, |name| if name < 100 { 10 } else { 20 });
        for name in 600..700 {
            assert_eq!(filled.put(Kind::Key, name, 15, 10), Ok(Put::Added));
        }
        assert_eq!(
            filled.put(Kind::Key, 700, 15, 10),
            Err(RevocationError::Full)
        );
        // Those that came after the sweep end before those that were there.
        for name in 700..800 {
            assert_eq!(filled.put(Kind::Key, name, 30, 15), Ok(Put::Added));
        }
        assert_eq!(
            filled.put(Kind::Key, 800, 30, 15),
            Err(RevocationError::Full)
        );
    }

    #[test]
    fn a_steady_stream_leaves_little_behind() {
        let filled = filled(0, |_| 0);
        for now in 0..100_000 {
            let slot = Slot {
                key: filled.key(Kind::Token, now),
                ends_at: now + 100,
                not_before: 0,
            };
            filled
                .memory
                .put(Kind::Token, slot, now, usize::MAX)
                .unwrap();
        }
        let held = filled.memory.held.load(Ordering::Acquire);
        assert!((100..4 * SHARDS).contains(&held), "{held}");
    }

    #[test]
    fn an_emptied_map_knows_that_it_is_empty() {
        let filled = filled(60, |_| 10);
        for name in 0..60 {
            let kind = Kind::ALL[name as usize % 6];
            assert!(!filled.memory.table(kind).is_empty());
            assert!(filled.memory.remove(kind, filled.key(kind, name), 0));
            assert!(!filled.memory.remove(kind, filled.key(kind, name), 0));
        }
        assert!(filled.memory.is_empty());
        assert!(
            Kind::ALL
                .iter()
                .all(|kind| filled.memory.table(*kind).is_empty())
        );
    }
}
