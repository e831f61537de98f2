//! The handle to the keys of all issuers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::fetch::WarmError;
use super::health::IssuerStatus;
use super::issuer::IssuerKeys;
use super::source::JwksSource;
use crate::error::ConfigError;

/// The keys of one or several issuers, fetched when they are needed. Clones share everything.
///
/// See the [module](super) for how it decides.
#[derive(Clone)]
pub struct JwksCache(Arc<HashMap<Arc<str>, Arc<IssuerKeys>>>);

// === impl JwksCache ===

impl JwksCache {
    /// The keys of these issuers. It does no I/O, starts no task and needs no runtime.
    ///
    /// # Errors
    /// Without an issuer, with one twice, or with a setting that would protect nothing.
    pub fn new(sources: impl IntoIterator<Item = JwksSource>) -> Result<Self, ConfigError> {
        let mut issuers = HashMap::new();
        for source in sources {
            let keys = source.build()?;
            let issuer = keys.name();
            if issuers.contains_key(issuer) {
                let issuer = issuer.to_owned();
                return Err(ConfigError::DuplicateIssuer { issuer });
            }
            issuers.insert(Arc::from(issuer), Arc::new(keys));
        }
        if issuers.is_empty() {
            return Err(ConfigError::MissingIssuer);
        }
        Ok(Self(Arc::new(issuers)))
    }

    /// The keys of one issuer, found through its metadata. See [`JwksSource::discover`].
    ///
    /// # Errors
    /// [`ConfigError::Url`] if the issuer is no https URL. To this very machine, http will do.
    #[cfg(all(
        feature = "reqwest",
        any(feature = "aws-lc-rs", feature = "rust-crypto")
    ))]
    pub fn from_issuer(issuer: impl AsRef<str>) -> Result<Self, ConfigError> {
        Self::new([JwksSource::discover(issuer)?])
    }

    /// Fetches the keys of every issuer now, however fresh those at hand are. Fixed keys need nothing.
    ///
    /// Called at the start, it saves the first request the wait; it is not needed, since that fetches too. A service that
    /// should start while its issuer is down logs the error and goes on. Called later, it is an operator's way to
    /// have a change honoured at once. It heeds no cooldown, so let no client cause it.
    ///
    /// # Errors
    /// The first issuer that failed; the others were fetched all the same.
    pub async fn warm(&self) -> Result<(), WarmError> {
        let warming: Vec<_> = self.0.values().map(|keys| (keys, keys.warm())).collect();
        let mut result = Ok(());
        for (keys, warming) in warming {
            let done = match warming {
                Ok(warming) => warming.done().await,
                Err(error) => Err(error),
            };
            if let (Ok(()), Err(source)) = (&result, done) {
                let issuer = keys.name().to_owned();
                result = Err(WarmError { issuer, source });
            }
        }
        result
    }

    /// Drops the key `kid` of `issuer` at once, with every cached token that it signed. Returns whether it was known.
    ///
    /// It stays out although the issuer may go on publishing it, until the process ends or a new cache is built: a
    /// purged key is distrusted, and a compromised issuer must not be able to bring it back. So neither its `kid` nor its
    /// material is accepted any more: not under another name, not without one, not with another RSA exponent. A key that
    /// is not known when it is purged is known by its `kid` until it is published, and from then on by both.
    ///
    /// A single key without a `kid`, given as PEM or secret, cannot be purged.
    pub fn purge(&self, issuer: &str, kid: &str) -> bool {
        self.issuer(issuer).is_some_and(|keys| keys.purge(kid))
    }

    /// How the keys of every issuer stand, sorted by issuer.
    #[must_use]
    pub fn status(&self) -> Vec<IssuerStatus> {
        let mut all: Vec<_> = self.0.values().map(|keys| keys.status()).collect();
        all.sort_by(|a, b| a.issuer.cmp(&b.issuer));
        all
    }

    pub(crate) fn issuer(&self, iss: &str) -> Option<&Arc<IssuerKeys>> {
        self.0.get(iss)
    }
}

impl fmt::Debug for JwksCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JwksCache").field(&self.0.keys()).finish()
    }
}
