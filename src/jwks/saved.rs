//! The document of [`JwksCache::save`](super::JwksCache::save): key sets that outlive the process.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::driver::IssuerKeys;
use super::set::KeySet;

/// The bytes given to [`JwksCache::restore`](super::JwksCache::restore) were not written by
/// [`JwksCache::save`](super::JwksCache::save).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a file written by `JwksCache::save`")]
#[non_exhaustive]
pub struct RestoreError;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    sets: Vec<SavedKeys>,
}

/// One key set, as its issuer published it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedKeys {
    pub(super) issuer: String,
    /// Where the keys came from, as [`Fetch::place`](super::fetch::Fetch::place) returns it.
    place: Option<String>,
    /// In seconds since the Unix epoch.
    fetched_at: u64,
    jwks: Box<RawValue>,
}

/// Why a saved set is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotRestored {
    /// There are keys already, or the keys are fixed.
    NotNeeded,
    UnknownIssuer,
    /// The keys came from another URL than the configured one.
    AnotherPlace,
    TooOld,
    FromTheFuture,
    /// The set has no usable key.
    KeySet,
    /// There is no room for another tenant.
    TooManyTenants,
}

const VERSION: u32 = 1;

pub(super) fn write(sets: Vec<SavedKeys>) -> Vec<u8> {
    let version = VERSION;
    serde_json::to_vec(&Document { version, sets }).unwrap_or_default()
}

pub(super) fn read(bytes: &[u8]) -> Result<Vec<SavedKeys>, RestoreError> {
    let document: Document = serde_json::from_slice(bytes).map_err(|_| RestoreError)?;
    if document.version == VERSION {
        Ok(document.sets)
    } else {
        Err(RestoreError)
    }
}

// === impl SavedKeys ===

impl SavedKeys {
    /// `None` if there are no fetched keys that can be used, or if they have no JSON form.
    pub(super) fn of(keys: &IssuerKeys) -> Option<Self> {
        let now = keys.clock.monotonic();
        let (fetch, snapshot) = (keys.fetch.as_ref()?, keys.valid(now)?);
        let fetched_at = keys.clock.unix_time().saturating_sub(snapshot.age(now));
        Some(Self {
            issuer: keys.name().into(),
            place: fetch.place(),
            fetched_at: fetched_at.as_secs(),
            jwks: RawValue::from_string(snapshot.keys.to_json()?).ok()?,
        })
    }

    /// Uses the saved set as stale keys. Returns the number of keys.
    pub(super) fn restore(
        &self,
        keys: &IssuerKeys,
        max_age: Duration,
    ) -> Result<usize, NotRestored> {
        let fetch = keys.fetch.as_ref().ok_or(NotRestored::NotNeeded)?;
        if fetch.place() != self.place {
            return Err(NotRestored::AnotherPlace);
        }
        let fetched_at = Duration::from_secs(self.fetched_at);
        let age = keys.clock.unix_time().checked_sub(fetched_at);
        let age = age.ok_or(NotRestored::FromTheFuture)?;
        if age >= max_age {
            return Err(NotRestored::TooOld);
        }
        let saved = KeySet::from_json(self.jwks.get().as_bytes());
        let saved = saved.map_err(|_| NotRestored::KeySet)?;
        let (left, now) = (max_age.saturating_sub(age), keys.clock.monotonic());
        let restored = keys.update(|state| state.restore(&saved, age, left, now));
        restored.ok_or(NotRestored::NotNeeded)
    }
}

// === impl NotRestored ===

impl NotRestored {
    /// A short, fixed word for logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NotNeeded => "not_needed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::AnotherPlace => "another_place",
            Self::TooOld => "too_old",
            Self::FromTheFuture => "from_the_future",
            Self::KeySet => "key_set",
            Self::TooManyTenants => "too_many_tenants",
        }
    }
}

#[cfg(test)]
mod tests;
