//! What a lookup of a key results in.

use std::sync::Arc;
use std::time::Duration;

use super::key::Key;

/// The result of looking up a key.
#[derive(Debug)]
pub(crate) enum Lookup<W> {
    /// The only key that may verify the token.
    Key(Arc<Key>),
    /// Keys are being fetched. Await this, then look up again with [`LookupMode::Final`].
    Wait(W),
    /// The issuer has no such key.
    UnknownKey,
    /// The keys could not be fetched.
    Unavailable { retry_after: Duration },
    /// The issuer has no such tenant.
    UnknownTenant,
    /// Too many tenants of which no token was verified are being fetched already.
    AtCapacity { retry_after: Duration },
    /// The cache has no source for this issuer.
    NotConfigured,
}

/// Whether a lookup may wait for a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupMode {
    /// Starts a fetch if the key is missing.
    MayWait,
    /// Never returns [`Lookup::Wait`]. For callers that have waited already.
    Final,
}

// === impl Lookup ===

impl<W> Lookup<W> {
    /// Replaces what a lookup waits for.
    pub(super) fn map_wait<V>(self, map: impl FnOnce(W) -> V) -> Lookup<V> {
        match self {
            Self::Wait(wait) => Lookup::Wait(map(wait)),
            Self::Key(key) => Lookup::Key(key),
            Self::UnknownKey => Lookup::UnknownKey,
            Self::Unavailable { retry_after } => Lookup::Unavailable { retry_after },
            Self::UnknownTenant => Lookup::UnknownTenant,
            Self::AtCapacity { retry_after } => Lookup::AtCapacity { retry_after },
            Self::NotConfigured => Lookup::NotConfigured,
        }
    }
}
