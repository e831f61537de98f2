//! Limits that several processes share, through one Redis or Valkey server.
//!
//! Give a [`RedisStore`] to each [`RateLimitLayer`](super::RateLimitLayer) whose callers all
//! processes count together. How it decides:
//!
//! 1. *Leased* (the default): a process takes permits ahead of need, for at most one second, and
//!    spends them without asking. The busier a caller, the fewer of its requests call the server;
//!    for a quiet caller each request does. All processes together admit in any window at most
//!    [`RedisStore::bound`], however many they are.
//! 2. *Exact* ([`RedisStore::exact`]): each request calls the server, and
//!    [`Quota::bound`](super::Quota::bound) holds as it does in memory.
//! 3. In both modes all quotas of a layer are charged in one step or not at all. A caller over its
//!    quota is refused without a call until the server could grant again; after 5 s the server is
//!    asked anew, because an operator may have deleted or repaired the key.
//! 4. A call takes at most 25 ms. After five failures in a row the server is not called, but probed
//!    four times per second; meanwhile [`OnOutage`] decides. A charge is never sent twice. If the
//!    server closed an idle connection, the next call reconnects: nothing was sent yet.
//!
//! The server stores one number per caller and quota, under a hash of both that cannot be reversed
//! without the secret. Keys begin with `pc1:` and expire. A quota that is changed starts anew. Only
//! the clock of the server counts.
//!
//! The store connects on first use: a service starts while Redis is down. It needs a running tokio
//! runtime with time and I/O enabled.
//!
//! Deployment: give limits their own server, or their own database, with
//! `maxmemory-policy noeviction`: an evicted key is a caller with a full quota. A server that
//! restarts empty, or a replica that takes over without the last writes, has the same effect. All
//! processes must be the same build: a caller that is counted by a claim or by a function of your
//! own may have another key with another compiler. TLS needs the feature `redis-tls`. Redis Cluster
//! is not supported yet. `docs/rate-limits.md` in the repository helps to choose, and lists the
//! measurements.
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
//! assert!(store.status().is_up); // until a call fails
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
