//! Where limits are counted.

use std::num::NonZeroU32;

use crate::config::secrets::Secret;

/// Where limits are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RateLimitStore {
    /// In this process only.
    Memory,
    /// In all processes that use the same server.
    Redis(RedisSettings),
}

/// A server, and the behavior while it is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedisSettings {
    /// A URL that `RedisStore::new` accepts. It may contain a password.
    pub(crate) url: Secret,
    /// At least 16 bytes. If `None`, anyone who can read the store can identify the counted
    /// callers.
    pub(crate) secret: Option<Secret>,
    pub(crate) mode: StoreMode,
    pub(crate) on_error: OnError,
    /// How many processes share the quota under `OnError::Local`.
    pub(crate) expected_nodes: NonZeroU32,
}

/// How often a shared store is consulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreMode {
    Exact,
    Leased,
}

/// The decision while a shared store is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    Local,
    Open,
    Closed,
}

// === impl StoreMode ===

impl StoreMode {
    pub(crate) const ALL: [Self; 2] = [Self::Exact, Self::Leased];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Leased => "leased",
        }
    }
}

// === impl OnError ===

impl OnError {
    pub(crate) const ALL: [Self; 3] = [Self::Local, Self::Open, Self::Closed];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}
