//! The store as a user configures it.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use siphasher::sip128::SipHasher24;

use super::client::LeaseClient;
use super::fallback::Fallback;
use super::script::Backend;
use crate::clock::Clock;
use crate::error::ConfigError;
use crate::rate_limit::gcra::Gcra;
use crate::rate_limit::lease::LeaseTerms;
use crate::rate_limit::memory::Memory;
use crate::rate_limit::quota::Quota;
use crate::rate_limit::store::Store;

/// Limits in Redis or Valkey, shared by several processes: see the
/// [module](crate::rate_limit::redis).
///
/// Clones share the connection and the leased permits.
#[derive(Clone)]
#[must_use]
pub struct RedisStore {
    backend: Backend,
    client: LeaseClient,
    secret: [u8; 16],
    percent: u8,
    max_keys: NonZeroUsize,
    on_outage: OnOutage,
}

/// What decides about requests while the store does not answer.
///
/// ```
/// use portcullis::rate_limit::OnOutage;
///
/// let policy: OnOutage = "fallback:16".parse()?;
/// assert!(matches!(policy, OnOutage::LocalFallback { expected_nodes } if expected_nodes.get() == 16));
/// assert_eq!(policy.to_string(), "fallback:16");
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnOutage {
    /// Each process decides in memory, by its share of each quota. This is the default, with one
    /// node expected. The text form is `fallback:16`, or `fallback` for one node.
    ///
    /// A caller that has used up its quota in the store may use these shares in addition.
    LocalFallback {
        /// Among how many processes the quotas are divided.
        expected_nodes: NonZeroU32,
    },
    /// Requests pass. The text form is `open`.
    Open,
    /// Requests are refused with 503 `store_unavailable`. The text form is `closed`.
    Closed,
}

/// The state of the store, as this process observed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StoreStatus {
    /// Whether the server is asked. While it is not, [`OnOutage`] decides.
    pub is_up: bool,
    /// For how long the server was not asked, in total. Serialized as `degraded_seconds`.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "degraded_seconds", serialize_with = "seconds")
    )]
    pub degraded: Duration,
    /// How many calls failed.
    pub errors: u64,
    /// Why the last failed: `timeout`, `connection`, or an error code of the server, for example
    /// `READONLY`.
    pub last_error: Option<&'static str>,
}

/// All processes of a fleet must derive the same key from their secret.
const SECRET_BYTES: usize = 16;

// === impl RedisStore ===

impl RedisStore {
    /// The default of [`max_keys`](Self::max_keys): about 50 MB when full.
    pub const DEFAULT_MAX_KEYS: NonZeroUsize = match NonZeroUsize::new(65_536) {
        Some(keys) => keys,
        None => NonZeroUsize::MIN,
    };

    /// The default of [`leased`](Self::leased), in percent.
    pub const DEFAULT_LEASED_PERCENT: u8 = 25;

    /// A store at `redis://[user:password@]host[:port][/database]`, `unix:///path`, or with the
    /// feature `redis-tls` at `rediss://`. It connects on first use.
    ///
    /// All processes that count together need the same secret: 16 bytes or more, generated
    /// randomly. Without it, the keys in the store do not reveal the callers.
    ///
    /// TLS trusts the certificates of the system, or the file in `SSL_CERT_FILE`. It uses the
    /// rustls provider that the application has installed, otherwise aws-lc-rs. It never installs a
    /// provider.
    ///
    /// # Errors
    ///
    /// If the URL is not that of a Redis server, or the secret is shorter than 16 bytes.
    pub fn new(url: &str, secret: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let backend = Backend::new(url)?;
        let secret = secret.as_ref();
        if secret.len() < SECRET_BYTES {
            return Err(ConfigError::Setting {
                setting: "secret of the Redis store",
                problem: "use 16 bytes or more, generated randomly, the same in all processes",
            });
        }
        let (percent, max_keys) = (Self::DEFAULT_LEASED_PERCENT, Self::DEFAULT_MAX_KEYS);
        let on_outage = OnOutage::default();
        Ok(Self {
            client: LeaseClient::new(backend.clone(), percent, max_keys, on_outage.fallback()),
            backend,
            secret: SipHasher24::new().hash(secret).as_bytes(),
            percent,
            max_keys,
            on_outage,
        })
    }

    /// Asks the server for each request.
    pub fn exact(mut self) -> Self {
        self.percent = 0;
        self.rebuilt()
    }

    /// Leases permits: all processes together may exceed a quota by this percentage of its burst.
    /// The default is 25.
    ///
    /// A quota whose share is less than 2 permits is not leased. Permits expire after the time that
    /// the share takes to refill, one second at most: with 25 percent of one second's requests,
    /// after 250 ms. A smaller percentage asks the server more often.
    ///
    /// # Errors
    ///
    /// If it is not 1 to 100.
    pub fn leased(mut self, percent: u8) -> Result<Self, ConfigError> {
        if !(1..=100).contains(&percent) {
            return Err(ConfigError::Setting {
                setting: "leased percentage",
                problem: "use 1 to 100, or exact() for none",
            });
        }
        self.percent = percent;
        Ok(self.rebuilt())
    }

    /// What decides while the store does not answer.
    pub fn on_outage(mut self, on_outage: OnOutage) -> Self {
        self.on_outage = on_outage;
        self.rebuilt()
    }

    /// For how many callers this process keeps leases and refusals: 65,536 by default, about 750
    /// bytes each. An evicted caller costs one more call to the server.
    pub fn max_keys(mut self, keys: NonZeroUsize) -> Self {
        self.max_keys = keys;
        self.rebuilt()
    }

    /// Reads the time of this process, by which leases expire, from `clock`. The server has
    /// its own clock.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.backend = self.backend.with_clock(clock.into());
        self.rebuilt()
    }

    /// The most requests that all processes together admit of a quota in *any* window of this
    /// length, while the store answers.
    ///
    /// A request is counted when it is decided. After a call to the server it goes on up to 25 ms
    /// later, unless this process itself was suspended.
    #[must_use]
    pub fn bound(&self, quota: &Quota, window: Duration) -> u64 {
        let excess = LeaseTerms::new(Gcra::new(quota), self.percent).excess();
        quota.bound(window).saturating_add(excess)
    }

    /// Whether the store answers this process. If it does not, asking for the status also starts a
    /// probe: a process that reports itself as not ready receives no requests that would start one.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        self.backend.is_up(self.backend.now());
        self.peek_status()
    }

    fn peek_status(&self) -> StoreStatus {
        let stats = self.backend.stats();
        StoreStatus {
            is_up: !stats.is_open,
            degraded: stats.degraded,
            errors: stats.errors,
            last_error: stats.last_error,
        }
    }

    pub(in crate::rate_limit) fn parts(&self) -> (Arc<dyn Store>, &[u8; 16]) {
        (Arc::new(self.client.clone()), &self.secret)
    }

    fn rebuilt(mut self) -> Self {
        let (backend, fallback) = (self.backend.clone(), self.on_outage.fallback());
        self.client = LeaseClient::new(backend, self.percent, self.max_keys, fallback);
        self
    }
}

impl fmt::Debug for RedisStore {
    /// Without the secret and the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("percent", &self.percent)
            .field("max_keys", &self.max_keys)
            .field("on_outage", &self.on_outage)
            .field("status", &self.peek_status())
            .finish_non_exhaustive()
    }
}

// === impl OnOutage ===

impl OnOutage {
    fn fallback(self) -> Fallback {
        match self {
            Self::LocalFallback { expected_nodes } => Fallback::Share {
                memory: Memory::new(Memory::DEFAULT_KEYS),
                nodes: expected_nodes,
            },
            Self::Open => Fallback::Open,
            Self::Closed => Fallback::Closed,
        }
    }
}

impl Default for OnOutage {
    fn default() -> Self {
        Self::LocalFallback {
            expected_nodes: NonZeroU32::MIN,
        }
    }
}

impl fmt::Display for OnOutage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalFallback { expected_nodes } => write!(f, "fallback:{expected_nodes}"),
            Self::Open => f.write_str("open"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

impl FromStr for OnOutage {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let expected = &["fallback:<nodes>", "open", "closed"];
        match text {
            "fallback" => Ok(Self::default()),
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            _ => text
                .strip_prefix("fallback:")
                .and_then(|nodes| nodes.parse().ok())
                .map(|expected_nodes| Self::LocalFallback { expected_nodes })
                .ok_or_else(|| ConfigError::unknown_word("outage policy", text, expected)),
        }
    }
}

#[cfg(feature = "serde")]
crate::words::serde_by_text!(OnOutage);

#[cfg(feature = "serde")]
fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
