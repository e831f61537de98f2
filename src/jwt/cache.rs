//! The token cache: verification results by the text of the token, so that a signature is verified
//! once.
//!
//! 1. Only verified tokens are inserted, and the whole text of a token is compared on lookup.
//! 2. A cached result may be outdated. The verifier checks what can change: the time, the key and
//!    revocations.
//! 3. The memory is bounded in bytes. Expired tokens are evicted first, then tokens that were not
//!    used recently.
//!
//! A cache belongs to the settings of one layer. A layer with other settings starts with an empty
//! cache.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{RwLock, Weak};

use crate::identity::Identity;
use crate::jwks::Key;
use crate::observe::TokenCacheMetrics;
use crate::sharded::{IdentityBuildHasher, Sharded};
use crate::sync::{read, write};

pub(super) struct TokenCache {
    shards: Sharded<RwLock<Table>>,
    secret: [u64; 2],
    max_bytes: usize,
    metrics: TokenCacheMetrics,
}

/// The result of a verification, and what its validity depends on.
pub(super) struct CachedToken {
    pub(super) identity: Identity,
    /// The key that verified the token. The issuer chooses its size, so the cache does not keep it
    /// alive. No other key gets its address while the entry exists.
    pub(super) key: Weak<Key>,
    /// The generation of the issuer's key set in which that key was last found.
    pub(super) key_seen: AtomicU64,
    /// The index of the issuer in the verifier.
    pub(super) issuer: usize,
    /// When the token becomes valid: the later of `nbf` and `iat`.
    pub(super) starts_at: u64,
}

#[derive(Default)]
struct Table {
    /// Positions in `entries` by the hash of the token.
    index: HashMap<u64, usize, IdentityBuildHasher>,
    entries: Vec<Entry>,
    bytes: usize,
    /// The position at which eviction continues (CLOCK algorithm).
    hand: usize,
}

struct Entry {
    hash: u64,
    bytes: usize,
    token: CachedToken,
    /// Set by a cache hit, cleared when the hand passes.
    used: AtomicBool,
}

const SHARDS: usize = 64;

/// The memory of an entry beyond its identity: its slot in the table, and the rounding of the
/// allocator.
const OVERHEAD: usize = 512;

// === impl TokenCache ===

impl TokenCache {
    pub(super) const DEFAULT_BYTES: usize = 64 << 20;

    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            shards: Sharded::new(SHARDS, RwLock::default),
            secret: [0, 1].map(|half| RandomState::new().hash_one(half)),
            max_bytes,
            metrics: TokenCacheMetrics::default(),
        }
    }

    /// Creates an empty cache of the same size.
    pub(super) fn emptied(&self) -> Self {
        Self::new(self.max_bytes)
    }

    /// The identity and the issuer of a cached token, if `is_still_valid` accepts it.
    ///
    /// The check runs under the read lock of the shard, so that a cache hit clones the identity's
    /// `Arc` only. Every other clone would be a write that all threads with the same token contend
    /// for.
    pub(super) fn find(
        &self,
        token: &[u8],
        is_still_valid: impl FnOnce(&CachedToken) -> bool,
    ) -> Option<(Identity, usize)> {
        let hash = self.hash(token);
        let table = read(self.shard(hash));
        let entry = table.entries.get(*table.index.get(&hash)?)?;
        let cached = &entry.token;
        if cached.identity.bearer().token() != token || !is_still_valid(cached) {
            return None;
        }
        // The flag is written only if it changes, so that the cache line stays shared.
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some((cached.identity.cached(), cached.issuer))
    }

    /// Counts a hit or a miss.
    pub(super) fn count(&self, is_hit: bool) {
        if is_hit {
            self.metrics.hit();
        } else {
            self.metrics.miss();
        }
    }

    /// Inserts a token that was just verified.
    pub(super) fn insert(&self, token: CachedToken, now: u64) {
        let hash = self.hash(token.identity.bearer().token());
        let bytes = token.identity.heap_bytes() + OVERHEAD;
        let budget = self.max_bytes / SHARDS;
        if bytes > budget {
            return;
        }
        let mut table = write(self.shard(hash));
        if let Some(at) = table.index.get(&hash).copied() {
            table.remove(at);
        }
        self.metrics.evicted(table.make_room(budget - bytes, now));
        table.push(Entry {
            hash,
            bytes,
            token,
            used: AtomicBool::new(false),
        });
    }

    /// A keyed product of the last 16 bytes. The end of a valid signature is practically random and
    /// cannot be chosen, so this is enough, at an eighth of the cost of a general hash.
    fn hash(&self, token: &[u8]) -> u64 {
        let end = token.last_chunk().copied();
        let end = end.map_or(0, u128::from_ne_bytes);
        let [one, other] = self.secret;
        let product = u128::from(end as u64 ^ one) * u128::from((end >> 64) as u64 ^ other);
        (product >> 64) as u64 ^ product as u64
    }

    /// The middle bits select the shard, because the table inside a shard uses the highest and the
    /// lowest bits.
    fn shard(&self, hash: u64) -> &RwLock<Table> {
        self.shards.shard(hash.rotate_left(32))
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
    /// Evicts entries until at most `allowed` bytes are left: expired entries, and entries not used
    /// since the hand passed. Returns how many.
    fn make_room(&mut self, allowed: usize, now: u64) -> u64 {
        let mut evicted = 0;
        while self.bytes > allowed && !self.entries.is_empty() {
            self.hand %= self.entries.len();
            let Some(entry) = self.entries.get(self.hand) else {
                break;
            };
            let is_expired = entry.token.identity.expires_at_secs() <= now;
            if entry.used.swap(false, Ordering::Relaxed) && !is_expired {
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
        let removed = self.entries.swap_remove(at);
        self.bytes -= removed.bytes;
        self.index.remove(&removed.hash);
        if let Some(moved) = self.entries.get(at) {
            self.index.insert(moved.hash, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::identity::Bearer;
    use crate::identity::tests::verified;

    fn cached(token: &str, expires_at: u64) -> CachedToken {
        let mut verified = verified();
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        verified.bearer = Bearer::new(value);
        verified.expires_at = expires_at;
        CachedToken {
            identity: Identity::new(verified),
            key: Weak::new(),
            key_seen: AtomicU64::new(0),
            issuer: 0,
            starts_at: 0,
        }
    }

    fn contains(cache: &TokenCache, token: &str) -> bool {
        cache.find(token.as_bytes(), |_| true).is_some()
    }

    #[test]
    fn finds_only_the_same_text() {
        let cache = TokenCache::new(1 << 20);
        let tail = "s".repeat(64);
        cache.insert(cached(&format!("header.payload.{tail}"), 100), 0);
        assert!(contains(&cache, &format!("header.payload.{tail}")));
        for other in [
            "header.payloae.",
            "Header.payload.",
            "eader.payload.",
            "",
            "x.y.",
        ] {
            assert!(!contains(&cache, &format!("{other}{tail}")), "{other}");
        }
    }

    #[test]
    fn tokens_with_the_same_end_are_distinct() {
        let cache = TokenCache::new(1 << 20);
        let (first, second) = (
            "a".repeat(8) + &"s".repeat(64),
            "b".repeat(8) + &"s".repeat(64),
        );
        cache.insert(cached(&first, 100), 0);
        cache.insert(cached(&second, 100), 0);
        assert!(contains(&cache, &second) && !contains(&cache, &first));
    }

    #[test]
    fn memory_is_bounded_and_used_tokens_stay() {
        let cache = TokenCache::new(64 * 8 * 1024);
        let hot = "hot.hot.hot.hot.hot";
        cache.insert(cached(hot, 1_000), 0);
        for at in 0..20_000 {
            assert!(contains(&cache, hot), "after {at}");
            cache.insert(cached(&format!("cold.cold.{at:016}"), 1_000), 0);
        }
        let bytes: usize = cache
            .shards
            .iter()
            .map(|shard| shard.read().unwrap().bytes)
            .sum();
        assert!(bytes <= 64 * 8 * 1024, "{bytes}");
        for shard in cache.shards.iter() {
            let shard = shard.read().unwrap();
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
    fn token_larger_than_a_shard_is_not_cached() {
        let cache = TokenCache::new(64 * 1024);
        cache.insert(cached(&"x".repeat(4096), 100), 0);
        assert!(!contains(&cache, &"x".repeat(4096)));
    }
}
