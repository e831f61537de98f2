//! The number of requests in flight, per caller.
//!
//! A caller is in the table only while one of its requests is in flight, so the table is never
//! larger than the number of requests in the server.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};

use super::key::Key;
use crate::sharded::{IdentityBuildHasher, Sharded};
use crate::sync::lock;

/// Requests in flight, by caller.
pub(crate) struct InFlight {
    max: NonZeroU32,
    shards: Sharded<Mutex<Counts>>,
}

type Counts = HashMap<Key, u32, IdentityBuildHasher>;

/// One request in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    table: Arc<InFlight>,
    key: Key,
    /// How many more requests of the caller may be in flight.
    pub(crate) left: u32,
}

const SHARDS: usize = 16;

// === impl InFlight ===

impl InFlight {
    pub(crate) fn new(max: NonZeroU32) -> Self {
        Self {
            max,
            shards: Sharded::new(SHARDS, Mutex::default),
        }
    }

    pub(crate) fn max(&self) -> u32 {
        self.max.get()
    }

    /// `None` if the caller has the maximum in flight.
    pub(crate) fn enter(self: &Arc<Self>, key: Key) -> Option<Permit> {
        let mut table = self.table(key);
        let count = table.entry(key).or_default();
        let left = self.max.get().checked_sub(*count + 1)?;
        *count += 1;
        drop(table);
        let table = Arc::clone(self);
        Some(Permit { table, key, left })
    }

    fn leave(&self, key: Key) {
        if let Entry::Occupied(mut caller) = self.table(key).entry(key) {
            match caller.get() - 1 {
                0 => drop(caller.remove()),
                count => *caller.get_mut() = count,
            }
        }
    }

    fn table(&self, key: Key) -> MutexGuard<'_, Counts> {
        lock(self.shards.shard(key.shard()))
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

// === impl Permit ===

impl Drop for Permit {
    fn drop(&mut self) {
        self.table.leave(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::key::KeyHasher;

    #[test]
    fn dropped_permits_leave_the_table_empty() {
        let two = Arc::new(InFlight::new(NonZeroU32::new(2).unwrap()));
        let alice = KeyHasher::local().key();
        let bob = KeyHasher::shared(b"0123456789abcdef").key();
        let first = two.enter(alice).unwrap();
        let second = two.enter(alice).unwrap();
        assert_eq!((first.left, second.left), (1, 0));
        assert!(two.enter(alice).is_none());
        assert_eq!(two.enter(bob).unwrap().left, 1);
        drop(first);
        let third = two.enter(alice).unwrap();
        assert!(two.enter(alice).is_none());
        drop((second, third));
        assert!(
            two.shards
                .iter()
                .all(|shard| shard.lock().unwrap().is_empty())
        );
    }
}
