//! Where limits are counted.

use std::num::NonZeroU32;

use crate::config::secrets::Secret;

/// Where limits are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RateLimitStore {
    /// In this process alone.
    Memory,
    /// In all processes together that ask the same server.
    Redis(RedisSettings),
}

/// A server that counts, and what is done without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedisSettings {
    /// One that `RedisStore::new` accepts. It may hold a password.
    pub(crate) url: Secret,
    /// 16 bytes or more. `None` where whoever reads the store may find out who was counted.
    pub(crate) secret: Option<Secret>,
    pub(crate) mode: StoreMode,
    pub(crate) on_error: OnError,
    /// How many processes share what `OnError::Local` admits.
    pub(crate) expected_nodes: NonZeroU32,
}

/// How a shared store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreMode {
    Exact,
    Leased,
}

/// What decides while a shared store is down.
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
