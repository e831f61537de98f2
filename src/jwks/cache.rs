//! The handle to the keys of all issuers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::fetch::WarmError;
use super::health::IssuerStatus;
use super::issuer::{IssuerKeys, Lookup, LookupMode};
use super::key::Key;
use super::saved::{Saved, Unfit};
use super::source::{JwksSource, Keys};
use super::tenants::Tenants;
use crate::algorithm::Algorithm;
use crate::clock::Reading;
use crate::error::ConfigError;

/// The keys of one or several issuers, fetched when they are needed. Clones share everything.
///
/// See the [module](super) for how it decides.
#[derive(Clone)]
pub struct JwksCache(Arc<Sources>);

#[derive(Default)]
struct Sources {
    issuers: HashMap<Arc<str>, Arc<IssuerKeys>>,
    /// Asked in order for what is not among the issuers.
    patterns: Vec<Keys>,
}

// === impl JwksCache ===

impl JwksCache {
    /// The keys of these issuers. It does no I/O, starts no task and needs no runtime.
    ///
    /// # Errors
    /// Without an issuer, with one twice, or with a setting that would protect nothing.
    pub fn new(sources: impl IntoIterator<Item = JwksSource>) -> Result<Self, ConfigError> {
        let mut all = Sources::default();
        for source in sources {
            let keys = source.build()?;
            if all.names(keys.name()) {
                let issuer = keys.name().to_owned();
                return Err(ConfigError::DuplicateIssuer { issuer });
            }
            match keys {
                Keys::One(keys) => drop(all.issuers.insert(Arc::from(keys.name()), keys)),
                Keys::Common(..) | Keys::Each(_) => all.patterns.push(keys),
            }
        }
        if all.issuers.is_empty() && all.patterns.is_empty() {
            return Err(ConfigError::MissingIssuer);
        }
        Ok(Self(Arc::new(all)))
    }

    /// The keys of one issuer, found through its metadata. See [`JwksSource::discover`].
    ///
    /// # Errors
    /// [`ConfigError::Url`] if the issuer is no https URL. To this very machine, http will do.
    #[cfg(feature = "reqwest")]
    pub fn from_issuer(issuer: impl AsRef<str>) -> Result<Self, ConfigError> {
        Self::new([JwksSource::discover(issuer)?])
    }

    /// Fetches the keys of every issuer now, however fresh those at hand are. Fixed keys need nothing, and those that each
    /// tenant has for itself come with its tokens.
    ///
    /// Called at the start, it saves the first request the wait; it is not needed, since that fetches too. A service that
    /// should start while its issuer is down logs the error and goes on. Called later, it is an operator's way to
    /// have a change honoured at once. It heeds no cooldown, so let no client cause it.
    ///
    /// # Errors
    /// The first issuer that failed; the others were fetched all the same.
    pub async fn warm(&self) -> Result<(), WarmError> {
        let warming: Vec<_> = self.0.sets().map(|keys| (keys, keys.warm())).collect();
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
    /// A single key without a `kid`, given as PEM or secret, cannot be purged. Of a tenant that has keys of its own, name its own
    /// issuer.
    pub fn purge(&self, issuer: &str, kid: &str) -> bool {
        if let Some(keys) = self.0.issuers.get(issuer) {
            return keys.purge(kid);
        }
        for keys in &self.0.patterns {
            let purged = match keys {
                Keys::One(_) => None,
                Keys::Common(pattern, keys) => {
                    let is_meant = issuer == keys.name() || pattern.tenant(issuer).is_some();
                    is_meant.then(|| keys.purge(kid))
                }
                Keys::Each(tenants) => {
                    let tenant = tenants.pattern.tenant(issuer);
                    tenant.map(|tenant| tenants.purge(issuer, tenant, kid))
                }
            };
            if let Some(purged) = purged {
                return purged;
            }
        }
        false
    }

    /// How the keys of every issuer stand, sorted by issuer.
    #[must_use]
    pub fn status(&self) -> Vec<IssuerStatus> {
        let tenants = self.0.tenants().map(Tenants::status);
        let mut all: Vec<_> = self
            .0
            .sets()
            .map(|keys| keys.status())
            .chain(tenants)
            .collect();
        all.sort_by(|a, b| a.issuer.cmp(&b.issuer));
        all
    }

    /// Whether keys were set up for this issuer, or for this pattern of issuers.
    pub(crate) fn covers(&self, issuer: &str) -> bool {
        self.0.names(issuer)
            || self
                .0
                .patterns
                .iter()
                .any(|keys| keys.tenant(issuer).is_some())
    }

    /// The key of an issuer for a token with this `kid` and `alg`.
    pub(crate) fn find(
        &self,
        issuer: &str,
        kid: Option<&str>,
        algorithm: Algorithm,
        mode: LookupMode,
    ) -> Lookup {
        self.with_keys(issuer, |keys| keys.find(kid, algorithm, mode))
            .unwrap_or_else(|refused| refused)
    }

    /// Whether a key that was found for this issuer is still valid. See [`IssuerKeys::is_still_valid`].
    pub(crate) fn is_still_valid(
        &self,
        issuer: &str,
        key: &Arc<Key>,
        seen: &AtomicU64,
        reading: Reading,
    ) -> bool {
        self.with_keys(issuer, |keys| keys.is_still_valid(key, seen, reading))
            .unwrap_or(false)
    }

    fn with_keys<R>(
        &self,
        issuer: &str,
        then: impl FnOnce(&Arc<IssuerKeys>) -> R,
    ) -> Result<R, Lookup> {
        if let Some(keys) = self.0.issuers.get(issuer) {
            return Ok(then(keys));
        }
        for keys in &self.0.patterns {
            let Some(tenant) = keys.tenant(issuer) else {
                continue;
            };
            return match keys {
                Keys::One(keys) | Keys::Common(_, keys) => Ok(then(keys)),
                Keys::Each(tenants) => tenants.find(issuer, tenant, then),
            };
        }
        Err(Lookup::NotConfigured)
    }

    /// A token of this issuer was verified.
    pub(crate) fn mark_verified(&self, issuer: &str) {
        for tenants in self.0.tenants() {
            if let Some(tenant) = tenants.pattern.tenant(issuer) {
                return tenants.mark_verified(tenant);
            }
        }
    }

    /// Every set that there is now.
    pub(super) fn all(&self) -> Vec<Arc<IssuerKeys>> {
        let sets = self.0.sets().map(Arc::clone);
        sets.chain(self.0.tenants().flat_map(Tenants::known))
            .collect()
    }

    /// Puts a saved set in force. Returns how many keys it has.
    pub(super) fn put(&self, saved: &Saved, max_age: Duration) -> Result<usize, Unfit> {
        let own = self.0.sets().find(|keys| keys.name() == saved.issuer);
        if let Some(keys) = own {
            return keys.restore(saved, max_age);
        }
        for tenants in self.0.tenants() {
            if let Some(tenant) = tenants.pattern.tenant(&saved.issuer) {
                return tenants.restore(tenant, saved, max_age);
            }
        }
        Err(Unfit::Unknown)
    }

    /// The keys of this very issuer.
    pub(crate) fn issuer(&self, issuer: &str) -> Option<&Arc<IssuerKeys>> {
        self.0.issuers.get(issuer)
    }
}

// === impl Sources ===

impl Sources {
    fn names(&self, issuer: &str) -> bool {
        self.issuers.contains_key(issuer) || self.patterns.iter().any(|keys| keys.name() == issuer)
    }

    /// Every set but those that tenants have for themselves.
    fn sets(&self) -> impl Iterator<Item = &Arc<IssuerKeys>> {
        let common = self.patterns.iter().filter_map(|keys| match keys {
            Keys::One(keys) | Keys::Common(_, keys) => Some(keys),
            Keys::Each(_) => None,
        });
        self.issuers.values().chain(common)
    }

    fn tenants(&self) -> impl Iterator<Item = &Tenants> {
        self.patterns.iter().filter_map(|keys| match keys {
            Keys::Each(tenants) => Some(&**tenants),
            Keys::One(_) | Keys::Common(..) => None,
        })
    }
}

impl fmt::Debug for JwksCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns = self.0.patterns.iter().map(Keys::name);
        let issuers = self.0.issuers.keys().map(|issuer| &**issuer);
        let names: Vec<_> = issuers.chain(patterns).collect();
        f.debug_tuple("JwksCache").field(&names).finish()
    }
}
