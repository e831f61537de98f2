//! Verified tokens, so that the signature of a token that comes again is not verified again.
//!
//! 1. Only a verified token enters, and only the very same text finds it: the whole token is compared.
//! 2. What is found was true once. Whoever asks checks what may have changed since: the time, and whether the key is
//!    still in force.
//! 3. Memory is bounded by bytes. What was not asked for lately makes room, what has ended before that.
//!
//! A cache belongs to one set of policies. A layer that is set up otherwise starts with an empty one.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::identity::Identity;
use crate::jwks::Key;
use crate::observe::TokenCacheMetrics;

/// Tokens that were verified, by their text.
pub(super) struct TokenCache {
    shards: Box<[Shard]>,
    secret: [u64; 2],
    max_bytes: usize,
    metrics: TokenCacheMetrics,
}

/// What is remembered of a token.
pub(super) struct Remembered {
    pub(super) identity: Identity,
    /// The key that verified it.
    pub(super) key: Arc<Key>,
    /// In which revision of its issuer's keys that key was seen last.
    pub(super) key_seen: AtomicU64,
    /// Which policy it was verified by.
    pub(super) issuer: usize,
    /// From when on it is valid, by the issuer's clock: the later of `nbf` and `iat`.
    pub(super) starts_at: u64,
}

// Alone in its cache lines, so that one processor's lock does not slow another's.
#[derive(Default)]
#[repr(align(128))]
struct Shard(RwLock<Table>);

#[derive(Default)]
struct Table {
    index: HashMap<u64, usize, BuildHasherDefault<Hashed>>,
    entries: Vec<Entry>,
    bytes: usize,
    /// Where the search for room goes on.
    hand: usize,
}

/// The index is keyed by hashes.
#[derive(Default)]
struct Hashed(u64);

struct Entry {
    hash: u64,
    bytes: usize,
    remembered: Remembered,
    /// Set when it is found, cleared when the hand passes.
    wanted: AtomicBool,
}

const SHARDS: usize = 64;

/// What an entry takes beyond its identity: its place in the table, and what the allocator rounds up.
const OVERHEAD: usize = 512;

// === impl TokenCache ===

impl TokenCache {
    pub(super) const DEFAULT_BYTES: usize = 64 << 20;

    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            secret: [0, 1].map(|half| RandomState::new().hash_one(half)),
            max_bytes,
            metrics: TokenCacheMetrics::default(),
        }
    }

    /// An empty one of the same size.
    pub(super) fn emptied(&self) -> Self {
        Self::new(self.max_bytes)
    }

    /// Whose token this is and which policy verified it, if it is remembered and `holds` says that all is still true.
    ///
    /// `holds` is asked under the lock, so that what it looks at need not be shared out: every processor would write to the
    /// same counts.
    pub(super) fn find(
        &self,
        token: &[u8],
        holds: impl FnOnce(&Remembered) -> bool,
    ) -> Option<(Identity, usize)> {
        let hash = self.hash(token);
        let table = self.shard(hash)?.0.read();
        let table = table.unwrap_or_else(PoisonError::into_inner);
        let entry = table.entries.get(*table.index.get(&hash)?)?;
        let remembered = &entry.remembered;
        if remembered.identity.bearer().token() != token || !holds(remembered) {
            return None;
        }
        // Written only when it changes, so that readers of one hot token do not fight for its memory.
        if !entry.wanted.load(Ordering::Relaxed) {
            entry.wanted.store(true, Ordering::Relaxed);
        }
        Some((remembered.identity.cached(), remembered.issuer))
    }

    /// Whether what was found, if anything was, served.
    pub(super) fn count(&self, served: bool) {
        if served {
            self.metrics.hit();
        } else {
            self.metrics.miss();
        }
    }

    /// Remembers a token that was verified just now.
    pub(super) fn insert(&self, remembered: Remembered, now: u64) {
        let hash = self.hash(remembered.identity.bearer().token());
        let bytes = remembered.identity.heap_bytes() + OVERHEAD;
        let budget = self.max_bytes / SHARDS;
        let Some(shard) = self.shard(hash).filter(|_| bytes <= budget) else {
            return;
        };
        let mut table = shard.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = table.index.get(&hash).copied() {
            table.remove(at);
        }
        self.metrics.evicted(table.make_room(budget - bytes, now));
        table.push(Entry {
            hash,
            bytes,
            remembered,
            wanted: AtomicBool::new(false),
        });
    }

    /// The end of a signature is as good as random, and nobody can choose it for a token that verifies. So one product under
    /// a secret is enough, for an eighth of what a hash of the standard library costs.
    fn hash(&self, token: &[u8]) -> u64 {
        let end = token.last_chunk().copied();
        let end = end.map_or(0, u128::from_ne_bytes);
        let [one, other] = self.secret;
        let product = u128::from(end as u64 ^ one) * u128::from((end >> 64) as u64 ^ other);
        (product >> 64) as u64 ^ product as u64
    }

    fn shard(&self, hash: u64) -> Option<&Shard> {
        self.shards.get((hash >> 32) as usize % SHARDS)
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache")
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

// === impl Table ===

impl Table {
    /// Drops entries until no more than `allowed` bytes are left: those that have ended or were not asked for since the
    /// hand last came by. Says how many.
    fn make_room(&mut self, allowed: usize, now: u64) -> u64 {
        let mut evicted = 0;
        while self.bytes > allowed && !self.entries.is_empty() {
            self.hand %= self.entries.len();
            let Some(entry) = self.entries.get(self.hand) else {
                break;
            };
            let ended = entry.remembered.identity.expires_at_secs() <= now;
            if entry.wanted.swap(false, Ordering::Relaxed) && !ended {
                self.hand += 1;
            } else {
                self.remove(self.hand);
                evicted += 1;
            }
        }
        evicted
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes;
        self.index.insert(entry.hash, self.entries.len());
        self.entries.push(entry);
    }

    fn remove(&mut self, at: usize) {
        if at >= self.entries.len() {
            return;
        }
        let gone = self.entries.swap_remove(at);
        self.bytes -= gone.bytes;
        self.index.remove(&gone.hash);
        if let Some(moved) = self.entries.get(at) {
            self.index.insert(moved.hash, at);
        }
    }
}

// === impl Hashed ===

impl Hasher for Hashed {
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::identity::Bearer;
    use crate::identity::tests::verified;

    fn remembered(token: &str, expires_at: u64) -> Remembered {
        let mut verified = verified();
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        verified.bearer = Bearer::new(value);
        verified.expires_at = expires_at;
        Remembered {
            identity: Identity::new(verified),
            key: Arc::new(Key::hmac(&[7; 32]).unwrap()),
            key_seen: AtomicU64::new(0),
            issuer: 0,
            starts_at: 0,
        }
    }

    fn holds(cache: &TokenCache, token: &str) -> bool {
        cache.find(token.as_bytes(), |_| true).is_some()
    }

    #[test]
    fn only_the_very_same_text_is_found() {
        let cache = TokenCache::new(1 << 20);
        let tail = "s".repeat(64);
        cache.insert(remembered(&format!("header.payload.{tail}"), 100), 0);
        assert!(holds(&cache, &format!("header.payload.{tail}")));
        for other in [
            "header.payloae.",
            "Header.payload.",
            "eader.payload.",
            "",
            "x.y.",
        ] {
            assert!(!holds(&cache, &format!("{other}{tail}")), "{other}");
        }
    }

    #[test]
    fn two_tokens_with_one_ending_do_not_stand_for_each_other() {
        let cache = TokenCache::new(1 << 20);
        let (first, second) = (
            "a".repeat(8) + &"s".repeat(64),
            "b".repeat(8) + &"s".repeat(64),
        );
        cache.insert(remembered(&first, 100), 0);
        cache.insert(remembered(&second, 100), 0);
        assert!(holds(&cache, &second) && !holds(&cache, &first));
    }

    #[test]
    fn memory_is_bounded_and_what_is_asked_for_stays() {
        let cache = TokenCache::new(64 * 8 * 1024);
        let hot = "hot.hot.hot.hot.hot";
        cache.insert(remembered(hot, 1_000), 0);
        for at in 0..20_000 {
            assert!(holds(&cache, hot), "after {at}");
            cache.insert(remembered(&format!("cold.cold.{at:016}"), 1_000), 0);
        }
        let bytes: usize = cache
            .shards
            .iter()
            .map(|shard| shard.0.read().unwrap().bytes)
            .sum();
        assert!(bytes <= 64 * 8 * 1024, "{bytes}");
        for shard in &cache.shards {
            let shard = shard.0.read().unwrap();
            assert_eq!(shard.index.len(), shard.entries.len());
            let sum: usize = shard.entries.iter().map(|entry| entry.bytes).sum();
            assert_eq!(sum, shard.bytes);
            assert!(
                shard
                    .index
                    .iter()
                    .all(|(hash, at)| shard.entries[*at].hash == *hash)
            );
        }
    }

    #[test]
    fn what_is_larger_than_a_shard_is_not_kept() {
        let cache = TokenCache::new(64 * 1024);
        cache.insert(remembered(&"x".repeat(4096), 100), 0);
        assert!(!holds(&cache, &"x".repeat(4096)));
    }
}
