//! The store as a user sets it up.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use redis::{Client, ConnectionAddr};
use siphasher::sip128::SipHasher24;

use super::engine::Engine;
use super::node::Node;
use super::without::Without;
use crate::clock::Clock;
use crate::error::ConfigError;
use crate::rate_limit::gcra::Gcra;
use crate::rate_limit::lease::Terms;
use crate::rate_limit::memory::Memory;
use crate::rate_limit::quota::Quota;
use crate::rate_limit::store::Store;

/// Callers' states in Redis or Valkey, for several processes: see the [module](crate::rate_limit::redis).
///
/// Clones share the connection and what was leased.
#[derive(Clone)]
#[must_use]
pub struct RedisStore {
    client: Client,
    engine: Arc<Engine>,
    secret: [u8; 16],
    percent: u8,
    max_keys: NonZeroUsize,
    on_error: OnStoreError,
    clock: Clock,
    node: Node,
}

/// Who decides while the store does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnStoreError {
    /// Each process for itself, in memory, by its share of each quota: as many of them as there are expected decide
    /// together as one would. This is the default, with one node expected.
    ///
    /// Whoever has used up a quota at the store may use up these shares too.
    LocalFallback {
        /// Among how many processes the quotas are divided.
        expected_nodes: NonZeroU32,
    },
    /// Nobody: requests pass.
    Open,
    /// Nobody: requests are refused with 503 `store_unavailable`.
    Closed,
}

/// What a process knows of its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatus {
    /// Whether it is asked. While it is not, [`OnStoreError`] decides.
    pub is_up: bool,
    /// For how long it was not asked, so far.
    pub degraded: Duration,
    /// How many calls failed.
    pub errors: u64,
    /// Why the last of them did: `timeout`, `connection`, or an error code of the server such as `READONLY`.
    pub last_error: Option<&'static str>,
}

const URLS: &str = if cfg!(feature = "redis-tls") {
    "use redis://host:port/database, rediss://host:port/database for TLS, or unix:///path"
} else {
    "use redis://host:port/database or unix:///path; rediss:// (TLS) needs the feature redis-tls"
};

/// Processes of one fleet must agree on what this makes of their secret.
const SECRET_BYTES: usize = 16;

// === impl RedisStore ===

impl RedisStore {
    /// About 50 MB when full.
    const DEFAULT_KEYS: NonZeroUsize = match NonZeroUsize::new(65_536) {
        Some(keys) => keys,
        None => NonZeroUsize::MIN,
    };

    /// A store at `redis://[user:password@]host[:port][/database]`, with the feature `redis-tls` at `rediss://..` too. It is
    /// not connected before it is first asked.
    ///
    /// The secret is that of all processes that count together, and of nobody else: 16 bytes or more, generated randomly.
    /// It keeps whoever can read the store from finding out who was counted.
    ///
    /// Over TLS the server's certificate must be one that the system trusts, or one of the file that `SSL_CERT_FILE` names.
    ///
    /// # Errors
    ///
    /// When the URL is none of a Redis server, or the secret is shorter than 16 bytes.
    pub fn new(url: &str, secret: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let client = client(url)?;
        let secret = secret.as_ref();
        if secret.len() < SECRET_BYTES {
            return Err(ConfigError::Setting {
                setting: "secret of the Redis store",
                problem: "use 16 bytes or more, generated randomly, the same in all processes",
            });
        }
        let clock = Clock::System;
        let engine = Arc::new(Engine::new(client.clone(), clock.clone()));
        let on_error = OnStoreError::LocalFallback {
            expected_nodes: NonZeroU32::MIN,
        };
        let (percent, max_keys) = (25, Self::DEFAULT_KEYS);
        Ok(Self {
            node: Node::new(Arc::clone(&engine), percent, max_keys, on_error.without()),
            client,
            engine,
            secret: SipHasher24::new().hash(secret).as_bytes(),
            percent,
            max_keys,
            on_error,
            clock,
        })
    }

    /// Asks the server for each request.
    pub fn exact(mut self) -> Self {
        self.percent = 0;
        self.made_anew()
    }

    /// Leases permits: all processes together may exceed a quota by so many percent of its burst. The default is 25.
    ///
    /// A quota whose share would be fewer than 2 permits is not leased. A percentage of 25 at a burst of one second's
    /// requests means that permits live for a quarter of a second; the fewer, the more often the server is asked.
    ///
    /// # Errors
    ///
    /// When it is not 1 to 100.
    pub fn leased(mut self, percent: u8) -> Result<Self, ConfigError> {
        if !(1..=100).contains(&percent) {
            return Err(ConfigError::Setting {
                setting: "leased percentage",
                problem: "use 1 to 100, or exact() for none",
            });
        }
        self.percent = percent;
        Ok(self.made_anew())
    }

    /// Who decides while the store does not answer.
    pub fn on_error(mut self, on_error: OnStoreError) -> Self {
        self.on_error = on_error;
        self.made_anew()
    }

    /// For how many callers this process remembers what it has leased, and who is refused: 65,536 by default, at about 750
    /// bytes each. Who is forgotten costs one more question to the server.
    pub fn max_keys(mut self, keys: NonZeroUsize) -> Self {
        self.max_keys = keys;
        self.made_anew()
    }

    /// Where this process reads the time, which says when leases end. The server has its own.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self.engine = Arc::new(Engine::new(self.client.clone(), self.clock.clone()));
        self.made_anew()
    }

    /// The most that all processes together admit of a quota in *any* window of this length, while the store answers.
    ///
    /// It holds for the moments at which requests are counted. One that the server was asked about goes on when the answer is
    /// there: at most 25 ms later, unless this process itself stood still.
    #[must_use]
    pub fn bound(&self, quota: &Quota, window: Duration) -> u64 {
        let excess = Terms::new(Gcra::new(quota), self.percent).excess();
        quota.bound(window).saturating_add(excess)
    }

    /// Whether the store answers this process, and how it has been. Asking for it is reason enough to try a server again
    /// that is left alone.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        // A process that says that it is not ready gets no requests, and would never find out otherwise.
        self.engine.is_up(self.engine.now());
        self.seen()
    }

    fn seen(&self) -> StoreStatus {
        let record = self.engine.record();
        StoreStatus {
            is_up: !record.is_open,
            degraded: record.degraded,
            errors: record.errors,
            last_error: record.last,
        }
    }

    pub(in crate::rate_limit) fn parts(&self) -> (Arc<dyn Store>, &[u8; 16]) {
        (Arc::new(self.node.clone()), &self.secret)
    }

    fn made_anew(mut self) -> Self {
        let engine = Arc::clone(&self.engine);
        self.node = Node::new(engine, self.percent, self.max_keys, self.on_error.without());
        self
    }
}

fn client(url: &str) -> Result<Client, ConfigError> {
    let refuse = |problem| ConfigError::Setting {
        setting: "URL of the Redis store",
        problem,
    };
    // What the client says of it may quote the password.
    let client = Client::open(url).map_err(|_| refuse(URLS))?;
    if let ConnectionAddr::TcpTls { insecure, .. } = client.get_connection_info().addr() {
        if *insecure {
            return Err(refuse(
                "a server whose certificate is not looked at may be anybody: leave out #insecure",
            ));
        }
        prepare_tls();
    }
    Ok(client)
}

/// The client takes the process's provider of cryptography, and panics where there is none, or more than one to choose from.
fn prepare_tls() {
    #[cfg(feature = "redis-tls")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Whoever was faster has installed one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

impl fmt::Debug for RedisStore {
    /// Neither the secret nor the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("percent", &self.percent)
            .field("max_keys", &self.max_keys)
            .field("on_error", &self.on_error)
            .field("status", &self.seen())
            .finish_non_exhaustive()
    }
}

// === impl OnStoreError ===

impl OnStoreError {
    fn without(self) -> Without {
        match self {
            Self::LocalFallback { expected_nodes } => Without::Share {
                memory: Memory::new(Memory::DEFAULT_KEYS),
                nodes: expected_nodes,
            },
            Self::Open => Without::Open,
            Self::Closed => Without::Closed,
        }
    }
}
