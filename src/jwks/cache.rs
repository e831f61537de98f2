//! The handle to the keys of all issuers.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::driver::{IssuerKeys, Waiter};
use super::fetch::{FetchError, WarmError};
use super::key::Key;
use super::lookup::{Lookup, LookupMode};
use super::saved::{self, NotRestored, RestoreError, SavedKeys};
use super::source::{JwksSource, KeyProvider};
use super::status::IssuerStatus;
use super::tenants::Tenants;
use crate::algorithm::Algorithm;
use crate::clock::Reading;
use crate::error::ConfigError;
use crate::observe;

/// The keys of one or several issuers, fetched when they are needed. Clones share everything.
///
/// See the [module](super) for how it decides. Fetches run on the tokio runtime of the request that
/// starts them; it must have time enabled.
///
/// # Readiness
///
/// Fetches are started by tokens. A service that gets no traffic before it is ready, and is not
/// ready before it has keys, would wait forever. [`is_ready`](Self::is_ready) starts the fetches
/// that are due, so a readiness probe that calls it needs nothing else:
///
/// ```
/// use http::StatusCode;
/// use portcullis::JwksCache;
///
/// async fn readyz(keys: JwksCache) -> StatusCode {
///     if keys.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
/// }
/// ```
#[derive(Clone)]
pub struct JwksCache(Arc<Providers>);

#[derive(Default)]
struct Providers {
    issuers: HashMap<Arc<str>, Arc<IssuerKeys>>,
    /// Tried in order for an issuer that is not in `issuers`.
    patterns: Vec<KeyProvider>,
}

/// The longest age of restored keys, so that a removed key is not trusted for longer.
const MAX_RESTORED_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

// === impl JwksCache ===

impl JwksCache {
    /// Creates a cache for these sources. Does no I/O, starts no task and needs no runtime.
    ///
    /// # Errors
    /// If there is no source, if an issuer has two sources, or if a setting is out of its range.
    pub fn new(sources: impl IntoIterator<Item = JwksSource>) -> Result<Self, ConfigError> {
        let mut all = Providers::default();
        for source in sources {
            let provider = source.build()?;
            if all.has(provider.name()) {
                let issuer = provider.name().to_owned();
                return Err(ConfigError::DuplicateIssuer { issuer });
            }
            match provider {
                KeyProvider::Shared(keys, None) => {
                    all.issuers.insert(Arc::from(keys.name()), keys);
                }
                provider => all.patterns.push(provider),
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
    /// [`ConfigError::Url`] if the issuer is not an https URL. `http` is accepted for loopback
    /// addresses.
    #[cfg(feature = "reqwest")]
    pub fn from_issuer(issuer: impl AsRef<str>) -> Result<Self, ConfigError> {
        Self::new([JwksSource::discover(issuer)?])
    }

    /// Fetches the keys of every issuer now, even if they are fresh. Skips fixed keys and tenants
    /// with their own keys.
    ///
    /// Call it at startup so that the first request does not wait. If the service must start while
    /// its issuer is down, log the error and continue: the first token starts another fetch. A
    /// later call applies a change at the issuer immediately. This method ignores backoff and
    /// cooldown, so clients must not be able to trigger it. For a readiness probe use
    /// [`is_ready`](Self::is_ready).
    ///
    /// ```
    /// # async fn start() -> Result<(), portcullis::ConfigError> {
    /// let keys = portcullis::JwksCache::from_issuer("https://id.example.com/")?;
    /// if let Err(error) = keys.warm().await {
    ///     eprintln!("starting without keys: {error}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The error of the first issuer that failed. The other issuers are fetched too.
    pub async fn warm(&self) -> Result<(), WarmError> {
        // All fetches start before the first is awaited.
        let fetches: Vec<_> = self.0.shared().map(|keys| (keys, keys.warm())).collect();
        let mut first_error = Ok(());
        for (keys, fetch) in fetches {
            let result = match fetch {
                Ok(None) => Ok(()),
                Ok(Some(mut result)) => match result.wait_for(Option::is_some).await.as_deref() {
                    Ok(Some(result)) => result.clone(),
                    _ => Err(FetchError::Abandoned),
                },
                Err(error) => Err(error),
            };
            if let (Ok(()), Err(source)) = (&first_error, result) {
                let issuer = keys.name().to_owned();
                first_error = Err(WarmError { issuer, source });
            }
        }
        first_error
    }

    /// Whether tokens of every issuer can be verified now. Starts the fetches that are due, in the
    /// background and within the backoff.
    ///
    /// Tenants with their own keys count as ready.
    pub fn is_ready(&self) -> bool {
        // Every issuer is checked, so that every due fetch starts.
        let not_ready = self.0.shared().filter(|keys| !keys.is_ready());
        not_ready.count() == 0
    }

    /// Removes the key `kid` of `issuer` at once, with every cached token that it signed. Returns
    /// whether the key was known.
    ///
    /// A purged key is not trusted again until the process ends or another cache is built, even if
    /// the issuer still publishes it: a compromised issuer cannot bring it back. Neither its `kid`
    /// nor its material is accepted, under another kid, without one, or with another RSA exponent.
    /// A key that is unknown when it is purged is recognized by its `kid`, and by its material once
    /// it is published.
    ///
    /// A single key without a `kid`, from PEM or a secret, cannot be purged. For a tenant with its
    /// own keys, name the issuer of the tenant.
    ///
    /// ```
    /// # use portcullis::{JwksCache, JwksSource, KeySet};
    /// # let set = KeySet::from_jwk(br#"{"kty": "OKP", "crv": "Ed25519", "kid": "a",
    /// #     "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#)?;
    /// let keys = JwksCache::new([JwksSource::keys("https://id.example.com/", set)])?;
    /// assert!(keys.purge("https://id.example.com/", "a"));
    /// assert_eq!(keys.status()[0].keys, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn purge(&self, issuer: &str, kid: &str) -> bool {
        if let Some(keys) = self.0.issuers.get(issuer) {
            return keys.update(|state| state.purge(kid));
        }
        match self.0.matching(issuer) {
            Some((KeyProvider::PerTenant(tenants), tenant)) => tenants.purge(issuer, tenant, kid),
            Some((KeyProvider::Shared(keys, _), _)) => keys.update(|state| state.purge(kid)),
            None => {
                let mut shared = self.0.shared();
                shared.any(|keys| keys.name() == issuer && keys.update(|state| state.purge(kid)))
            }
        }
    }

    /// The state of the keys of every issuer, sorted by issuer.
    #[must_use]
    pub fn status(&self) -> Vec<IssuerStatus> {
        let tenants = self.0.tenants().map(Tenants::status);
        let mut all: Vec<_> = self
            .0
            .shared()
            .map(|keys| keys.status())
            .chain(tenants)
            .collect();
        all.sort_by(|a, b| a.issuer.cmp(&b.issuer));
        all
    }

    /// The fetched keys, for [`restore`](Self::restore) after a restart: public keys with their age
    /// and the URL they came from.
    ///
    /// Fixed keys and purged keys are left out, and so are tenants of which no token was verified.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let tenants = self.0.tenants().flat_map(Tenants::verified);
        let all = self.0.shared().map(Arc::clone).chain(tenants);
        saved::write(all.filter_map(|keys| SavedKeys::of(&keys)).collect())
    }

    /// Uses saved keys if there are none yet and if they are younger than `max_age` (at most seven
    /// days) by wall time. Returns the number of issuers and tenants whose keys were restored.
    ///
    /// A service that starts while its issuer is down can then verify tokens. Restored keys are
    /// stale: the first token, or [`warm`](Self::warm), starts a fetch that replaces them. If no
    /// fetch succeeds, they are used up to `max_age`, and so is a key that was removed or purged in
    /// the meantime.
    ///
    /// A set is skipped if it is from the future, has no usable key, or belongs to an issuer or a
    /// URL that is not configured now; the event `jwks.not_restored` contains the reason. Sets of a
    /// [service](JwksSource::service) have no URL and are restored for any service of the same
    /// issuer. Call it before the first token arrives.
    ///
    /// An attacker who can write the saved file can sign tokens until the first fetch. Keep it
    /// where only this service can write, and replace it as a whole:
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
    /// // From time to time, and at the end.
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
    /// If the bytes were not written by [`save`](Self::save). Then no key is restored.
    pub fn restore(&self, saved: &[u8], max_age: Duration) -> Result<usize, RestoreError> {
        let sets = saved::read(saved)?;
        let restored = sets.iter().filter(|saved| {
            let result = self.restore_set(saved, max_age.min(MAX_RESTORED_AGE));
            observe::jwks_restored(&saved.issuer, result.map_err(NotRestored::as_str));
            result.is_ok()
        });
        Ok(restored.count())
    }

    /// Whether there is a source for this issuer, or for this pattern of issuers.
    pub(crate) fn covers(&self, issuer: &str) -> bool {
        self.0.has(issuer) || self.0.matching(issuer).is_some()
    }

    /// The key of an issuer for a token with this `kid` and `alg`.
    pub(crate) fn find(
        &self,
        issuer: &str,
        kid: Option<&str>,
        algorithm: Algorithm,
        mode: LookupMode,
    ) -> Lookup<Waiter> {
        self.with_keys(issuer, |keys| keys.find(kid, algorithm, mode))
            .unwrap_or_else(|refused| refused)
    }

    /// Whether a key that was found for this issuer is still valid. See
    /// [`IssuerKeys::is_still_valid`].
    pub(crate) fn is_still_valid(
        &self,
        issuer: &str,
        key: &Weak<Key>,
        seen: &AtomicU64,
        reading: Reading,
    ) -> bool {
        self.with_keys(issuer, |keys| keys.is_still_valid(key, seen, reading))
            .unwrap_or(false)
    }

    /// Records that a token of this issuer was verified.
    pub(crate) fn mark_verified(&self, issuer: &str) {
        if let Some((KeyProvider::PerTenant(tenants), tenant)) = self.0.matching(issuer) {
            tenants.mark_verified(tenant);
        }
    }

    /// The keys of exactly this issuer.
    pub(crate) fn issuer(&self, issuer: &str) -> Option<&Arc<IssuerKeys>> {
        self.0.issuers.get(issuer)
    }

    fn with_keys<R>(
        &self,
        issuer: &str,
        then: impl FnOnce(&Arc<IssuerKeys>) -> R,
    ) -> Result<R, Lookup<Waiter>> {
        if let Some(keys) = self.0.issuers.get(issuer) {
            return Ok(then(keys));
        }
        match self.0.matching(issuer) {
            Some((KeyProvider::Shared(keys, _), _)) => Ok(then(keys)),
            Some((KeyProvider::PerTenant(tenants), tenant)) => tenants.find(issuer, tenant, then),
            None => Err(Lookup::NotConfigured),
        }
    }

    fn restore_set(&self, saved: &SavedKeys, max_age: Duration) -> Result<usize, NotRestored> {
        if let Some(keys) = self.0.shared().find(|keys| keys.name() == saved.issuer) {
            return saved.restore(keys, max_age);
        }
        match self.0.matching(&saved.issuer) {
            Some((KeyProvider::PerTenant(tenants), tenant)) => {
                tenants.restore(tenant, saved, max_age)
            }
            _ => Err(NotRestored::UnknownIssuer),
        }
    }
}

// === impl Providers ===

impl Providers {
    fn has(&self, name: &str) -> bool {
        self.issuers.contains_key(name) || self.patterns.iter().any(|own| own.name() == name)
    }

    /// The first pattern that an issuer matches, and the tenant.
    fn matching<'i>(&self, issuer: &'i str) -> Option<(&KeyProvider, &'i str)> {
        self.patterns
            .iter()
            .find_map(|own| Some((own, own.pattern()?.tenant(issuer)?)))
    }

    /// Every key set that does not belong to a single tenant.
    fn shared(&self) -> impl Iterator<Item = &Arc<IssuerKeys>> {
        let of_patterns = self.patterns.iter().filter_map(|provider| match provider {
            KeyProvider::Shared(keys, _) => Some(keys),
            KeyProvider::PerTenant(_) => None,
        });
        self.issuers.values().chain(of_patterns)
    }

    fn tenants(&self) -> impl Iterator<Item = &Tenants> {
        self.patterns.iter().filter_map(|provider| match provider {
            KeyProvider::PerTenant(tenants) => Some(&**tenants),
            KeyProvider::Shared(..) => None,
        })
    }
}

impl fmt::Debug for JwksCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns = self.0.patterns.iter().map(KeyProvider::name);
        let issuers = self.0.issuers.keys().map(|issuer| &**issuer);
        let names: Vec<_> = issuers.chain(patterns).collect();
        f.debug_tuple("JwksCache").field(&names).finish()
    }
}
