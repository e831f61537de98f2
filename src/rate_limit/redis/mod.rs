//! Limits that several processes hold together, through one Redis or Valkey server.
//!
//! A [`RedisStore`] is given to each [`RateLimitLayer`](super::RateLimitLayer) whose callers are to be counted by all
//! processes together. How it decides:
//!
//! 1. *Leased* (the default): a process buys permits ahead of need, for at most a second, and spends them without asking.
//!    The busier a caller, the fewer requests ask the server; a caller with few requests has each of them asked about.
//!    All processes together admit in any window at most [`RedisStore::bound`], however many they are.
//! 2. *Exact* ([`RedisStore::exact`]): the server is asked for each request, and [`Quota::bound`](super::Quota::bound)
//!    holds as it does in memory.
//! 3. Either way all quotas of a layer are charged in one step or not at all, and a caller who is over its quota is
//!    refused without asking for as long as the server could not but refuse.
//! 4. An answer takes at most 25 ms. After five failures in a row the server is left alone, and tried again four times a
//!    second. In the meantime [`OnOutage`] decides. A charge is never sent twice.
//!
//! What is stored is one number for each caller and quota, under a hash of both that nobody can trace back without the
//! secret. Keys begin with `pc1:` and expire by themselves. A quota that is changed starts anew. The server's clock is the
//! only one that counts.
//!
//! Nothing is asked when the store is built: a service starts while Redis is down. It needs a tokio runtime with time and
//! I/O enabled.
//!
//! Deployment: give limits a server, or a database, of their own with `maxmemory-policy noeviction`: a key that is evicted
//! is a caller with a full quota. A server that restarts empty, or a replica that takes over without the last writes,
//! forgets in the same way. All processes must be the same build: a caller who is counted by a claim or a closure
//! of your own may have another key under another compiler. TLS needs the feature `redis-tls`. Redis Cluster is not supported yet.
//! `docs/rate-limits.md` in the repository helps to choose, and says what was measured.
//!
//! ```
//! use std::num::NonZeroU32;
//! use std::time::Duration;
//! use portcullis::rate_limit::{OnOutage, RedisStore};
//! use portcullis::{Quota, RateLimitLayer};
//!
//! # fn layer() -> Result<RateLimitLayer, portcullis::ConfigError> {
//! # let secret = "32 bytes or more, generated randomly";
//! let nodes = NonZeroU32::new(16).unwrap_or(NonZeroU32::MIN);
//! let store = RedisStore::new("redis://127.0.0.1:6379", secret)?
//!     .leased(10)? // percent of a burst
//!     .on_outage(OnOutage::LocalFallback { expected_nodes: nodes });
//!
//! let quota = Quota::per_second(1_000);
//! let layer = RateLimitLayer::new(quota).by_subject().store(&store);
//!
//! let second = Duration::from_secs(1);
//! assert_eq!(quota.bound(second), 2_000);
//! assert_eq!(store.bound(&quota, second), 2_100);
//! assert!(store.status().is_up); // as far as it knows: it has asked nothing yet
//! # Ok(layer)
//! # }
//! # assert!(layer().is_ok());
//! ```

mod client;
mod fallback;
mod leases;
mod script;
mod store;

pub use store::{OnOutage, RedisStore, StoreStatus};

#[cfg(test)]
mod tests;
