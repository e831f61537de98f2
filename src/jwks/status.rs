//! What operators see of the keys of an issuer.

use std::time::Duration;

use super::jwk::Skipped;
use crate::words::words;

/// The keys of one issuer, as [`JwksCache::status`](super::JwksCache::status) reports them.
///
/// ```
/// # use portcullis::{JwksCache, JwksSource};
/// # use portcullis::jwks::IssuerState;
/// let keys = JwksCache::from_issuer("https://id.example.com/")?;
/// let status = &keys.status()[0];
/// assert_eq!(status.issuer, "https://id.example.com/");
/// assert_eq!((status.state, status.keys), (IssuerState::Cold, 0));
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct IssuerStatus {
    /// The issuer; for tenants, the pattern of their issuers.
    pub issuer: String,
    /// Whether the keys can be used.
    pub state: IssuerState,
    /// The number of keys.
    pub keys: usize,
    /// Why other keys of the set are not used, one reason per key. Serialized as texts.
    #[cfg_attr(feature = "serde", serde(serialize_with = "texts"))]
    pub skipped: Vec<Skipped>,
    /// The time since the keys were fetched; `None` if there are none. Serialized as whole seconds.
    #[cfg_attr(feature = "serde", serde(serialize_with = "whole_seconds"))]
    pub age: Option<Duration>,
    /// The [error](super::FetchError::as_str) of the last fetch; `None` if it succeeded, or if
    /// there was no fetch yet.
    pub last_error: Option<&'static str>,
    /// If each tenant has its own keys: the tenants of which a token was verified, sorted by
    /// issuer.
    pub tenants: Vec<IssuerStatus>,
}

/// Whether the keys of an issuer can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IssuerState {
    /// There are no keys yet.
    Cold,
    /// The keys are within their time to live.
    Fresh,
    /// The keys are past their time to live and used for up to `max_stale` more.
    Stale,
    /// The keys are too old to be used.
    Expired,
    /// The keys were given to [`JwksSource::keys`](crate::JwksSource::keys) and are never fetched.
    Fixed,
    /// Each tenant has its own keys, which are fetched when its first token arrives.
    OnDemand,
}

words! {
    IssuerState: "issuer state" {
        Cold => "cold",
        Fresh => "fresh",
        Stale => "stale",
        Expired => "expired",
        Fixed => "fixed",
        OnDemand => "on_demand",
    }
}

// === impl IssuerState ===

impl IssuerState {
    /// Whether tokens of this issuer can be verified now.
    ///
    /// ```
    /// # use portcullis::jwks::IssuerState;
    /// assert!(IssuerState::Stale.is_ready());
    /// assert!(!IssuerState::Expired.is_ready());
    /// ```
    #[must_use]
    pub fn is_ready(self) -> bool {
        matches!(
            self,
            Self::Fresh | Self::Stale | Self::Fixed | Self::OnDemand
        )
    }
}

#[cfg(feature = "serde")]
fn whole_seconds<S: serde::Serializer>(
    age: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&age.map(|age| age.as_secs()), serializer)
}

#[cfg(feature = "serde")]
fn texts<S: serde::Serializer>(skipped: &[Skipped], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(skipped.iter().map(ToString::to_string))
}
