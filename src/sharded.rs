//! A table split into shards, so that threads seldom wait for the same lock.

use std::hash::{BuildHasherDefault, Hasher};
use std::iter;

/// One or more shards. The hash of an entry selects its shard.
#[derive(Debug)]
pub(crate) struct Sharded<T> {
    first: Box<Padded<T>>,
    rest: Box<[Padded<T>]>,
}

/// A value on its own cache lines, so that locking one shard does not slow down its neighbor.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(T);

/// Builds an [`IdentityHasher`], for maps whose keys are hashes already.
pub(crate) type IdentityBuildHasher = BuildHasherDefault<IdentityHasher>;

/// Returns the `u64` that was written: the key is a keyed hash already.
#[derive(Default)]
pub(crate) struct IdentityHasher(u64);

// === impl Sharded ===

impl<T> Sharded<T> {
    /// Creates `shards` shards with `make`, at least one.
    pub(crate) fn new(shards: usize, mut make: impl FnMut() -> T) -> Self {
        Self {
            first: Box::new(Padded(make())),
            rest: (1..shards).map(|_| Padded(make())).collect(),
        }
    }

    /// Returns the shard of a hash, selected by the highest bits. A map inside of the shard needs
    /// other bits, or all of its entries would collide.
    pub(crate) fn shard(&self, hash: u64) -> &T {
        let index = scale(hash, self.rest.len() + 1);
        let rest = self.rest.get(index.wrapping_sub(1));
        &rest.unwrap_or(&*self.first).0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        iter::once(&*self.first)
            .chain(&self.rest)
            .map(|shard| &shard.0)
    }
}

// === impl IdentityHasher ===

impl Hasher for IdentityHasher {
    /// Keys write one `u64`. Bytes are folded so that other keys work too.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Maps a hash evenly to `0..len`, without a division.
pub(crate) fn scale(hash: u64, len: usize) -> usize {
    ((u128::from(hash) * len as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_gets_its_part() {
        let mut number = 0;
        let sharded = Sharded::new(4, || {
            number += 1;
            number
        });
        let quarter = u64::MAX / 4 + 1;
        let found = [0, 1, 2, 3].map(|i| *sharded.shard(i * quarter));
        assert_eq!(found, [1, 2, 3, 4]);
        assert_eq!(*sharded.shard(u64::MAX), 4);
        assert_eq!(sharded.iter().sum::<i32>(), 10);
    }

    #[test]
    fn no_shards_are_one() {
        let sharded = Sharded::new(0, || 7);
        assert_eq!((*sharded.shard(u64::MAX), sharded.iter().count()), (7, 1));
    }

    #[test]
    fn a_hash_is_its_own_hash() {
        let mut hasher = IdentityHasher::default();
        hasher.write_u64(42);
        assert_eq!(hasher.finish(), 42);
    }
}
