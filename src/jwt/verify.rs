//! The decision about a token: the steps of verification, in order.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use super::cache::{CachedToken, TokenCache};
use super::claims::{ClaimError, Claims, peek_issuer};
use super::header::{Header, Parts};
use super::issuer::{Issuer, Keys};
use crate::clock::{Clock, Reading};
use crate::error::ConfigError;
use crate::identity::{Bearer, Identity, Verified};
use crate::json::text;
use crate::jwks::{IssuerKeys, JwksCache, Key, Lookup, LookupMode, NO_REVISION, Waiter};
use crate::observe;
use crate::rejection::{Reason, Rejection};
use crate::revoke::{Facts, Revocations};

/// Verifies the tokens of several issuers, each with its own settings and keys.
#[derive(Clone)]
pub(super) struct Verifier {
    pub(super) issuers: Arc<[Issuer]>,
    /// The keys of each issuer; `None` for tenants, for fixed keys, and for keys from an outer
    /// layer.
    keys: Arc<[Option<Arc<IssuerKeys>>]>,
    shared_keys: Option<JwksCache>,
    /// The largest `max_token_bytes` of the issuers.
    pub(super) max_token_bytes: usize,
    /// Whether an issuer needs the keys that a `JwksCacheLayer` puts into the request.
    pub(super) needs_request_keys: bool,
    clock: Clock,
    pub(super) revocations: Option<Revocations>,
    /// Per issuer: the warning about tokens that outlive revocations.
    lifetime_warnings: Arc<[Once]>,
    /// `None` if the cache is off. Clones with the same settings share it.
    cache: Option<Arc<TokenCache>>,
}

/// Why a token was not verified.
pub(super) enum VerifyError {
    Rejected(Rejection),
    /// The keys must be fetched first.
    Wait(Waiter),
}

/// One year after the epoch. A clock before this time was never set, and every token would look
/// unexpired.
const EARLIEST: Duration = Duration::from_secs(365 * 86_400);

// === impl Verifier ===

impl Verifier {
    pub(super) fn new(issuers: Vec<Issuer>) -> Result<Self, ConfigError> {
        if issuers.is_empty() {
            return Err(ConfigError::MissingIssuer);
        }
        for (at, issuer) in issuers.iter().enumerate() {
            issuer.validate()?;
            let mut others = issuers.iter().skip(at + 1);
            if others.any(|other| other.name == issuer.name) {
                let issuer = issuer.name.to_string();
                return Err(ConfigError::DuplicateIssuer { issuer });
            }
        }
        let limits = issuers.iter().map(|issuer| issuer.max_token_bytes);
        Ok(Self {
            keys: issuers.iter().map(|issuer| keys_of(issuer, None)).collect(),
            max_token_bytes: limits.max().unwrap_or_default(),
            needs_request_keys: issuers.iter().any(Issuer::has_shared_keys),
            lifetime_warnings: issuers.iter().map(|_| Once::new()).collect(),
            issuers: issuers.into(),
            shared_keys: None,
            clock: Clock::System,
            revocations: None,
            cache: Some(Arc::new(TokenCache::new(TokenCache::DEFAULT_BYTES))),
        })
    }

    /// Uses `cache` for the issuers without their own keys.
    pub(super) fn share(&mut self, cache: JwksCache) -> Result<(), ConfigError> {
        for issuer in self.issuers.iter() {
            if issuer.has_shared_keys() && !cache.covers(&issuer.name) {
                let issuer = issuer.name.to_string();
                return Err(ConfigError::MissingKeys { issuer });
            }
        }
        let issuers = self.issuers.iter();
        self.keys = issuers.map(|own| keys_of(own, Some(&cache))).collect();
        self.shared_keys = Some(cache);
        self.needs_request_keys = false;
        self.empty_cache();
        Ok(())
    }

    pub(super) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        self.empty_cache();
    }

    /// Sets the size of the token cache in bytes. Zero switches it off.
    pub(super) fn set_cache_bytes(&mut self, max_bytes: usize) {
        self.cache = (max_bytes > 0).then(|| Arc::new(TokenCache::new(max_bytes)));
    }

    /// Replaces the cache by an empty one, because results under other settings must not be used.
    /// Clones of this verifier keep the old cache.
    fn empty_cache(&mut self) {
        let empty = self.cache.as_ref().map(|cache| cache.emptied());
        self.cache = empty.map(Arc::new);
    }

    /// The caches with the keys of the issuers.
    pub(super) fn key_caches(&self) -> impl Iterator<Item = &JwksCache> {
        let own = self.issuers.iter().filter_map(|own| own.key_cache(None));
        own.chain(&self.shared_keys)
    }

    /// Decides about one token. Returns the identity, and the index of its issuer. `above` is the
    /// cache that a `JwksCacheLayer` put into the request.
    pub(super) fn verify(
        &self,
        bearer: &Bearer,
        above: Option<&JwksCache>,
        mode: LookupMode,
        reading: Reading,
    ) -> Result<(Identity, usize), VerifyError> {
        let now = self.clock.unix_time_at(reading);
        if now < EARLIEST {
            return Err(VerifyError::Rejected(Rejection::misconfigured(
                "the system clock was never set, so token expiry cannot be checked: set the clock",
            )));
        }
        if let Some(cache) = &self.cache {
            let cached = cache.find(bearer.token(), |token| {
                self.is_still_valid(token, above, now, reading)
            });
            cache.count(cached.is_some());
            if let Some(verified) = cached {
                return Ok(verified);
            }
        }
        let token = self.verify_uncached(bearer, above, mode, now)?;
        let verified = (token.identity.clone(), token.issuer);
        if let Some(cache) = &self.cache {
            cache.insert(token, now.as_secs());
        }
        Ok(verified)
    }

    /// Whether a token is in the cache and still valid.
    pub(super) fn is_cached(&self, token: &[u8]) -> bool {
        let Some(cache) = &self.cache else {
            return false;
        };
        let reading = Reading::now();
        let now = self.clock.unix_time_at(reading);
        let found = cache.find(token, |token| {
            self.is_still_valid(token, None, now, reading)
        });
        found.is_some()
    }

    /// Whether a cached token is still valid: checks everything that may have changed since it was
    /// verified. If not, full verification follows and finds the reason.
    fn is_still_valid(
        &self,
        token: &CachedToken,
        above: Option<&JwksCache>,
        now: Duration,
        reading: Reading,
    ) -> bool {
        let Some(issuer) = self.issuers.get(token.issuer) else {
            return false;
        };
        let iss = token.identity.issuer();
        let is_key_valid = || match &issuer.keys {
            Keys::Fixed(key) => std::ptr::eq(Arc::as_ptr(key), token.key.as_ptr()),
            Keys::Cache(_) | Keys::Shared => match self.own_keys(token.issuer) {
                Some(keys) => keys.is_still_valid(&token.key, &token.key_seen, reading),
                None => self.cache_of(issuer, above).is_some_and(|cache| {
                    cache.is_still_valid(iss, &token.key, &token.key_seen, reading)
                }),
            },
        };
        issuer.allows(iss)
            && issuer.is_current(token.identity.expires_at_secs(), token.starts_at, now)
            && is_key_valid()
            && !self.is_revoked(&token.identity)
    }

    /// Cheap checks come first. Before the signature is verified, only `iss` is read, to choose the
    /// key.
    fn verify_uncached(
        &self,
        bearer: &Bearer,
        above: Option<&JwksCache>,
        mode: LookupMode,
        now: Duration,
    ) -> Result<CachedToken, VerifyError> {
        let parts = Parts::decode(bearer.token())?;
        let header = Header::read(parts.header())?;

        let payload = text(&parts.payload)?;
        let iss = peek_issuer(payload)?;
        let at = self.position(&iss);
        let accepted = at.and_then(|at| Some((at, self.issuers.get(at)?)));
        let accepted = accepted.filter(|(_, issuer)| issuer.allows(&iss));
        let (at, issuer) = accepted.ok_or_else(|| ClaimError::new(Reason::WrongIssuer, "iss"))?;
        if bearer.token().len() > issuer.max_token_bytes {
            return Err(Reason::TokenTooLarge.into());
        }
        issuer.check_header(&header)?;

        let key = self.key((at, issuer), &iss, &header, above, mode)?;
        if !key.verify(header.algorithm, parts.signed, parts.signature()) {
            return Err(Reason::BadSignature.into());
        }

        let claims = Claims::read(payload, &issuer.mapping)?;
        issuer.check_claims(&claims, &iss, now)?;
        if let Some(cache) = self.cache_of(issuer, above) {
            cache.mark_verified(&iss);
        }
        let starts_at = claims.starts_at();
        let identity = Identity::new(Verified {
            issuer: issuer.name_of(&iss),
            subject: claims.subject.as_deref().unwrap_or_default().into(),
            client: claims.client().map(Into::into),
            token_id: claims.token_id.as_deref().map(Into::into),
            session: claims.session.as_deref().map(Into::into),
            // The key's own ID, because a token may have none.
            key_id: key.kid().or(header.kid.as_deref()).map(Into::into),
            issued_at: claims.issued_at,
            expires_at: claims.expires_at.unwrap_or_default(),
            roles: claims.roles,
            scopes: claims.scopes,
            permissions: claims.permissions,
            bearer: match &self.cache {
                Some(_) => bearer.copied(),
                None => bearer.clone(),
            },
            subject_hash: OnceLock::new(),
            payload: parts.payload,
        });
        if self.is_revoked(&identity) {
            return Err(Reason::Revoked.into());
        }
        self.check_lifetime(at, &identity, now);
        Ok(CachedToken {
            identity,
            key: Arc::downgrade(&key),
            key_seen: AtomicU64::new(NO_REVISION),
            issuer: at,
            starts_at,
        })
    }

    fn is_revoked(&self, identity: &Identity) -> bool {
        let facts = || Facts {
            issuer: identity.issuer(),
            subject: identity.subject(),
            client: identity.client(),
            token_id: identity.token_id(),
            session: identity.session(),
            issued_at: identity.issued_at_secs(),
            kid: identity.key_id(),
        };
        let revocations = self.revocations.as_ref();
        revocations.is_some_and(|revocations| revocations.is_revoked(&facts()))
    }

    /// Warns once per issuer if a token lives longer than a revocation of its subject: the token
    /// would be accepted again.
    fn check_lifetime(&self, at: usize, identity: &Identity, now: Duration) {
        let (Some(revocations), Some(warning)) =
            (&self.revocations, self.lifetime_warnings.get(at))
        else {
            return;
        };
        let max = revocations.longest_lifetime();
        let issued_at = identity.issued_at_secs().unwrap_or(now.as_secs());
        let lifetime = identity.expires_at_secs().saturating_sub(issued_at);
        let lifetime = Duration::from_secs(lifetime);
        if lifetime > max {
            let issuer = self.issuers.get(at).map_or("", |issuer| &issuer.name);
            warning.call_once(|| observe::token_outlives_revocations(issuer, lifetime, max));
        }
    }

    /// The index of the issuer with this name, otherwise of the first one with a pattern that it
    /// fits.
    fn position(&self, iss: &str) -> Option<usize> {
        let find = |is_pattern: bool| {
            let mut issuers = self.issuers.iter();
            issuers.position(|own| own.pattern.is_some() == is_pattern && own.is_named(iss))
        };
        find(false).or_else(|| find(true))
    }

    fn cache_of<'a>(
        &'a self,
        issuer: &'a Issuer,
        above: Option<&'a JwksCache>,
    ) -> Option<&'a JwksCache> {
        issuer.key_cache(self.shared_keys.as_ref().or(above))
    }

    fn own_keys(&self, at: usize) -> Option<&Arc<IssuerKeys>> {
        self.keys.get(at).and_then(Option::as_ref)
    }

    fn key(
        &self,
        (at, issuer): (usize, &Issuer),
        iss: &str,
        header: &Header<'_>,
        above: Option<&JwksCache>,
        mode: LookupMode,
    ) -> Result<Arc<Key>, VerifyError> {
        let algorithm = header.algorithm;
        if let Keys::Fixed(key) = &issuer.keys {
            // The kid is ignored, because there is one key.
            let fits = key.allows(algorithm).then(|| Arc::clone(key));
            return fits.ok_or(Reason::UnknownKey.into());
        }
        let kid = header.kid.as_deref();
        let found = match self.own_keys(at) {
            Some(keys) => keys.find(kid, algorithm, mode),
            None => match self.cache_of(issuer, above) {
                Some(cache) => cache.find(iss, kid, algorithm, mode),
                None => Lookup::NotConfigured,
            },
        };
        match found {
            Lookup::Key(key) if key.serves(iss) => Ok(key),
            Lookup::Key(_) | Lookup::UnknownKey => Err(Reason::UnknownKey.into()),
            Lookup::Wait(waiter) => Err(VerifyError::Wait(waiter)),
            Lookup::UnknownTenant => Err(ClaimError::new(Reason::WrongIssuer, "iss").into()),
            // Invented tenant names do not indicate an outage.
            Lookup::AtCapacity { .. } if issuer.is_open() => {
                Err(ClaimError::new(Reason::WrongIssuer, "iss").into())
            }
            Lookup::AtCapacity { retry_after } | Lookup::Unavailable { retry_after } => {
                Err(VerifyError::unavailable(retry_after))
            }
            Lookup::NotConfigured => Err(VerifyError::Rejected(Rejection::misconfigured(
                "no keys for this issuer: give JwtAuthLayer a JwksCache that holds it (`with_keys`), or put JwksCacheLayer above",
            ))),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&*self.issuers).finish()
    }
}

fn keys_of(issuer: &Issuer, shared: Option<&JwksCache>) -> Option<Arc<IssuerKeys>> {
    issuer.key_cache(shared)?.issuer(&issuer.name).cloned()
}

// === impl VerifyError ===

impl VerifyError {
    fn unavailable(retry_after: Duration) -> Self {
        let rejection = Rejection::new(Reason::KeysUnavailable);
        Self::Rejected(rejection.with_retry_after(retry_after))
    }

    /// The rejection for a caller that does not wait.
    pub(super) fn into_rejection(self) -> Rejection {
        match self {
            Self::Rejected(rejection) => rejection,
            Self::Wait(_) => Self::unavailable(Duration::from_secs(1)).into_rejection(),
        }
    }
}

impl From<ClaimError> for VerifyError {
    fn from(error: ClaimError) -> Self {
        let rejection = Rejection::new(error.reason);
        Self::Rejected(match error.claim {
            Some(claim) => rejection.with_claim(claim, None),
            None => rejection,
        })
    }
}

impl From<Reason> for VerifyError {
    fn from(reason: Reason) -> Self {
        Self::Rejected(reason.into())
    }
}
