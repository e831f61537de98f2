//! Key sets that outlast a restart: written down by one process, put in force by the next, as stale ones.
//!
//! What is restored was fetched by somebody else, so it is read as if it had just been fetched, counts for the issuer and the place that it
//! came from alone, and serves until its age, by wall time, reaches what the caller allows. The first fetch that succeeds
//! replaces it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::cache::JwksCache;
use super::in_force::Snapshot;
use super::issuer::{IssuerKeys, lock};
use super::set::KeySet;
use crate::observe;

/// Bytes that [`JwksCache::restore`](super::JwksCache::restore) cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not what `JwksCache::save` has written")]
#[non_exhaustive]
pub struct RestoreError;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    sets: Vec<Saved>,
}

/// One key set, as its issuer published it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    pub(super) issuer: String,
    /// The URL, where one was configured.
    place: Option<String>,
    /// In seconds since the Unix epoch.
    fetched_at: u64,
    jwks: Box<RawValue>,
}

/// Why a saved set is not put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// There are keys already, or none are fetched.
    NotNeeded,
    /// No issuer of that name was set up.
    Unknown,
    /// It came from another place than the keys come from now.
    Elsewhere,
    TooOld,
    FromTheFuture,
    /// No usable key.
    KeySet,
    /// There are as many tenants as there may be.
    Full,
}

/// However long the caller would trust a removed key.
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const VERSION: u32 = 1;

// === impl JwksCache ===

impl JwksCache {
    /// The keys that were fetched, for [`restore`](Self::restore) to put in force after a restart: public keys, with their age and
    /// where they came from.
    ///
    /// Given keys are left out, and purged ones; of the tenants that have keys of their own, those are in it of whom a token was
    /// verified.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let document = Document {
            version: VERSION,
            sets: self.all().iter().filter_map(|keys| keys.save()).collect(),
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }

    /// Puts saved keys in force where there are none yet, unless they are older than `max_age` (seven days at most) by wall
    /// time. Returns for how many issuers and tenants it did.
    ///
    /// A service that starts while its issuer is down then verifies tokens all the same. The keys count as stale: the first
    /// token, or [`warm`](Self::warm), starts a fetch, which replaces them. Until it succeeds they serve up to their `max_age`, and a key that
    /// was removed or purged in the meantime serves as long.
    ///
    /// A set from the future, of an issuer or a URL that is not configured now, or without a usable key is passed over; the
    /// event `jwks.not_restored` says why. Call it before the first token comes.
    ///
    /// Whoever can write the saved bytes can sign tokens until the first fetch. Keep them where this service alone
    /// can write, and replace the file whole:
    ///
    /// ```
    /// use std::time::Duration;
    /// use portcullis::JwksCache;
    ///
    /// # let folder = std::env::temp_dir().join(format!("portcullis-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// let (file, new) = (folder.join("keys.json"), folder.join("keys.json.new"));
    /// let keys = JwksCache::from_issuer("https://id.example.com/")?;
    ///
    /// // At the start. The service starts without saved keys too.
    /// if let Ok(saved) = std::fs::read(&file) {
    ///     let _ = keys.restore(&saved, Duration::from_secs(6 * 3600));
    /// }
    ///
    /// // Every now and then, and when it ends.
    /// std::fs::write(&new, keys.save())?;
    /// std::fs::rename(&new, &file)?;
    ///
    /// assert_eq!(keys.restore(&std::fs::read(&file)?, Duration::from_secs(6 * 3600)), Ok(0));
    /// assert!(keys.restore(b"something else", Duration::from_secs(6 * 3600)).is_err());
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If these bytes are not from [`save`](Self::save). Then nothing was put in force.
    pub fn restore(&self, saved: &[u8], max_age: Duration) -> Result<usize, RestoreError> {
        let document: Document = serde_json::from_slice(saved).map_err(|_| RestoreError)?;
        if document.version != VERSION {
            return Err(RestoreError);
        }
        let restored = document.sets.iter().filter(|saved| {
            let restored = self.put(saved, max_age.min(WEEK));
            observe::jwks_restored(&saved.issuer, restored.map_err(Unfit::name));
            restored.is_ok()
        });
        Ok(restored.count())
    }
}

// === impl IssuerKeys ===

impl IssuerKeys {
    /// `None` where there is nothing that a fetch brought and that serves still.
    fn save(&self) -> Option<Saved> {
        let fetch = self.fetch.as_ref()?;
        let now = self.clock.monotonic();
        let current = self.current.load();
        let snapshot = current.as_ref().filter(|s| now < s.serves_until)?;
        let fetched_at = self.clock.unix_time().saturating_sub(snapshot.age(now));
        Some(Saved {
            issuer: self.issuer.as_ref().into(),
            place: fetch.place(),
            fetched_at: fetched_at.as_secs(),
            jwks: RawValue::from_string(snapshot.keys.to_json()?).ok()?,
        })
    }

    /// Puts a saved set in force, as a stale one. Returns how many keys it has.
    pub(super) fn restore(&self, saved: &Saved, max_age: Duration) -> Result<usize, Unfit> {
        let fetch = self.fetch.as_ref().ok_or(Unfit::NotNeeded)?;
        if fetch.place() != saved.place {
            return Err(Unfit::Elsewhere);
        }
        let fetched_at = Duration::from_secs(saved.fetched_at);
        let age = self.clock.unix_time().checked_sub(fetched_at);
        let age = age.ok_or(Unfit::FromTheFuture)?;
        let left = max_age.saturating_sub(age);
        if left.is_zero() {
            return Err(Unfit::TooOld);
        }
        let keys = saved.keys()?;
        // Held while the snapshot is replaced, or it could take the place of what a fetch has just brought.
        let mut ledger = lock(&self.ledger);
        if !self.is_cold() {
            return Err(Unfit::NotNeeded);
        }
        let keys = keys.succeed(None, &mut ledger.distrust);
        let count = keys.len();
        let now = self.clock.monotonic();
        self.current.put(Snapshot {
            keys,
            generation: 0,
            fetched_at: now,
            age_then: age,
            fresh_until: now,
            serves_until: now.saturating_add(left),
        });
        Ok(count)
    }
}

// === impl Saved ===

impl Saved {
    fn keys(&self) -> Result<KeySet, Unfit> {
        KeySet::from_json(self.jwks.get().as_bytes()).map_err(|_| Unfit::KeySet)
    }
}

// === impl Unfit ===

impl Unfit {
    /// A short, fixed name, for logs.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NotNeeded => "not_needed",
            Self::Unknown => "unknown_issuer",
            Self::Elsewhere => "another_place",
            Self::TooOld => "too_old",
            Self::FromTheFuture => "from_the_future",
            Self::KeySet => "key_set",
            Self::Full => "too_many_tenants",
        }
    }
}

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests;
