//! The decision: is this token one of ours, and whose is it?

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::cache::{Remembered, TokenCache};
use super::claims::{Claims, peek_issuer};
use super::header::{Header, Parts};
use super::policy::{Issuer, Keys};
use crate::clock::{Clock, Reading};
use crate::error::ConfigError;
use crate::identity::{Bearer, Identity, Verified};
use crate::json::text;
use crate::jwks::{IssuerKeys, JwksCache, Key, Lookup, LookupMode, NO_GENERATION, Waiter};
use crate::rejection::{Reason, Rejection};
use crate::revoke::{Facts, Revocations};

/// Verifies tokens of several issuers, each by its own policy and its own keys.
#[derive(Clone)]
pub(super) struct Verifier {
    pub(super) issuers: Arc<[Issuer]>,
    /// The keys of each issuer, where it is one and they do not come from above.
    keys: Arc<[Option<Arc<IssuerKeys>>]>,
    shared_keys: Option<JwksCache>,
    /// The length beyond which no issuer's token is read.
    pub(super) max_token_bytes: usize,
    /// Whether some issuer's keys are expected in the requests.
    pub(super) asks_above: bool,
    clock: Clock,
    pub(super) revocations: Option<Revocations>,
    /// `None` is switched off. Clones that are set up alike share it.
    cache: Option<Arc<TokenCache>>,
}

/// A verified token.
pub(super) struct Authenticated {
    pub(super) identity: Identity,
    /// The issuer's place in the verifier's list.
    pub(super) issuer: usize,
}

/// A year after the epoch. A clock before it was never set, and would take every token for fresh.
const EARLIEST: Duration = Duration::from_secs(365 * 86_400);

/// Why a token is not verified.
pub(super) enum Obstacle {
    Refusal(Rejection),
    /// A key must be fetched first.
    Wait(Waiter),
}

// === impl Verifier ===

impl Verifier {
    pub(super) fn new(issuers: Vec<Issuer>) -> Result<Self, ConfigError> {
        if issuers.is_empty() {
            return Err(ConfigError::MissingIssuer);
        }
        for (at, issuer) in issuers.iter().enumerate() {
            issuer.validate()?;
            if issuers
                .iter()
                .skip(at + 1)
                .any(|other| other.name == issuer.name)
            {
                let issuer = issuer.name.to_string();
                return Err(ConfigError::DuplicateIssuer { issuer });
            }
        }
        Ok(Self {
            keys: issuers.iter().map(|issuer| keys_of(issuer, None)).collect(),
            max_token_bytes: issuers
                .iter()
                .map(|issuer| issuer.max_token_bytes)
                .max()
                .unwrap_or_default(),
            asks_above: issuers
                .iter()
                .any(|issuer| matches!(issuer.keys, Keys::Shared)),
            issuers: issuers.into(),
            shared_keys: None,
            clock: Clock::System,
            revocations: None,
            cache: Some(Arc::new(TokenCache::new(TokenCache::DEFAULT_BYTES))),
        })
    }

    /// Gives the issuers without keys of their own this cache.
    pub(super) fn share(&mut self, cache: JwksCache) -> Result<(), ConfigError> {
        for issuer in self.issuers.iter() {
            if matches!(issuer.keys, Keys::Shared) && !cache.covers(&issuer.name) {
                let issuer = issuer.name.to_string();
                return Err(ConfigError::MissingKeys { issuer });
            }
        }
        let issuers = self.issuers.iter();
        self.keys = issuers.map(|own| keys_of(own, Some(&cache))).collect();
        self.shared_keys = Some(cache);
        self.asks_above = false;
        self.forget();
        Ok(())
    }

    pub(super) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        self.forget();
    }

    /// Remembers verified tokens in so many bytes; in none at all for 0.
    pub(super) fn remember_in(&mut self, max_bytes: usize) {
        self.cache = (max_bytes > 0).then(|| Arc::new(TokenCache::new(max_bytes)));
    }

    /// What was verified under other settings, perhaps by a clone, counts no more.
    fn forget(&mut self) {
        let empty = self.cache.as_ref().map(|cache| cache.emptied());
        self.cache = empty.map(Arc::new);
    }

    /// Decides on one token. `above` is the handle that a `JwksCacheLayer` above put into the request.
    pub(super) fn verify(
        &self,
        bearer: &Bearer,
        above: Option<&JwksCache>,
        mode: LookupMode,
        reading: Reading,
    ) -> Result<Authenticated, Obstacle> {
        let now = self.clock.unix_time_at(reading);
        if now < EARLIEST {
            return Err(Obstacle::Refusal(Rejection::misconfigured(
                "the clock was never set, so no token can be judged by it: set the system's clock",
            )));
        }
        if let Some(cache) = &self.cache {
            let remembered = cache.find(bearer.token(), |known| {
                self.holds(known, above, now, reading)
            });
            cache.count(remembered.is_some());
            if let Some((identity, issuer)) = remembered {
                return Ok(Authenticated { identity, issuer });
            }
        }
        let verified = self.verify_anew(bearer, above, mode, now)?;
        let authenticated = Authenticated {
            identity: verified.identity.clone(),
            issuer: verified.issuer,
        };
        if let Some(cache) = &self.cache {
            cache.insert(verified, now.as_secs());
        }
        Ok(authenticated)
    }

    /// Whether all that may have changed since the token was verified still holds. If not, it is verified anew, which says
    /// what is wrong.
    fn holds(
        &self,
        known: &Remembered,
        above: Option<&JwksCache>,
        now: Duration,
        reading: Reading,
    ) -> bool {
        let Some(issuer) = self.issuers.get(known.issuer) else {
            return false;
        };
        let expires_at = known.identity.expires_at_secs();
        let iss = known.identity.issuer();
        let in_force = || match &issuer.keys {
            Keys::Fixed(key) => Arc::ptr_eq(key, &known.key),
            Keys::Cache(_) | Keys::Shared => match self.own_keys(known.issuer) {
                Some(keys) => keys.is_still_valid(&known.key, &known.key_seen, reading),
                None => self.cache_of(issuer, above).is_some_and(|cache| {
                    cache.is_still_valid(iss, &known.key, &known.key_seen, reading)
                }),
            },
        };
        issuer.allows(iss)
            && issuer.is_current(expires_at, known.starts_at, now)
            && in_force()
            && !self.is_revoked(&known.identity)
    }

    /// Cheap refusals first. Of an unverified payload only the issuer is read, and only to choose the key.
    fn verify_anew(
        &self,
        bearer: &Bearer,
        above: Option<&JwksCache>,
        mode: LookupMode,
        now: Duration,
    ) -> Result<Remembered, Obstacle> {
        let parts = Parts::decode(bearer.token())?;
        let header = Header::read(parts.header())?;

        let payload = text(&parts.payload)?;
        let named = peek_issuer(payload)?;
        let at = self.position(&named);
        let accepted = at.and_then(|at| Some((at, self.issuers.get(at)?)));
        let accepted = accepted.filter(|(_, issuer)| issuer.allows(&named));
        let (at, issuer) = accepted.ok_or(Reason::WrongIssuer)?;
        if bearer.token().len() > issuer.max_token_bytes {
            return Err(Reason::TokenTooLarge.into());
        }
        issuer.check_header(&header)?;

        let key = self.key((at, issuer), &named, &header, above, mode)?;
        if !key.verify(header.algorithm, parts.signed, parts.signature()) {
            return Err(Reason::BadSignature.into());
        }

        let claims = Claims::read(payload, &issuer.places)?;
        issuer.check_claims(&claims, &named, now)?;
        if let Some(cache) = self.cache_of(issuer, above) {
            cache.mark_verified(&named);
        }
        let starts_at = claims.not_before.max(claims.issued_at).unwrap_or_default();
        let verified = Verified {
            issuer: issuer.name_of(&named),
            subject: claims.subject.as_deref().unwrap_or_default().into(),
            client: claims.client().map(Into::into),
            token_id: claims.token_id.as_deref().map(Into::into),
            session: claims.session.as_deref().map(Into::into),
            // The key's own name: a token need not tell it.
            key_id: key.kid().or(header.kid.as_deref()).map(Into::into),
            issued_at: claims.issued_at,
            expires_at: claims.expires_at.unwrap_or_default(),
            roles: claims.roles,
            scopes: claims.scopes,
            permissions: claims.permissions,
            bearer: bearer.copied(),
            subject_hash: OnceLock::new(),
            payload: parts.payload,
        };
        let identity = Identity::new(verified);
        if self.is_revoked(&identity) {
            return Err(Reason::Revoked.into());
        }
        Ok(Remembered {
            identity,
            key,
            key_seen: AtomicU64::new(NO_GENERATION),
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

    /// The policy of the issuer that a token names: its own, else that of the first pattern which it fits.
    fn position(&self, iss: &str) -> Option<usize> {
        let place = |of_many: bool| {
            let mut issuers = self.issuers.iter();
            issuers.position(|own| own.pattern.is_some() == of_many && own.is_named(iss))
        };
        place(false).or_else(|| place(true))
    }

    /// The handle that has an issuer's keys.
    fn cache_of<'a>(
        &'a self,
        issuer: &'a Issuer,
        above: Option<&'a JwksCache>,
    ) -> Option<&'a JwksCache> {
        match &issuer.keys {
            Keys::Cache(cache) => Some(cache),
            Keys::Shared => self.shared_keys.as_ref().or(above),
            Keys::Fixed(_) => None,
        }
    }

    /// The keys of an issuer that was configured with its full name.
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
    ) -> Result<Arc<Key>, Obstacle> {
        let algorithm = header.algorithm;
        if let Keys::Fixed(key) = &issuer.keys {
            // One key has no rival that a name would have to tell it from.
            let fits = key.allows(algorithm).then(|| Arc::clone(key));
            return fits.ok_or(Reason::UnknownKey.into());
        }
        let unavailable = |retry_after| {
            let rejection = Rejection::new(Reason::KeysUnavailable);
            Obstacle::Refusal(rejection.with_retry_after(retry_after))
        };
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
            Lookup::Wait(waiter) => Err(Obstacle::Wait(waiter)),
            Lookup::Unavailable { retry_after } => Err(unavailable(retry_after)),
            Lookup::UnknownTenant => Err(Reason::WrongIssuer.into()),
            // Made-up issuers are not an outage.
            Lookup::AtCapacity { .. } if issuer.is_open() => Err(Reason::WrongIssuer.into()),
            Lookup::AtCapacity { retry_after } => Err(unavailable(retry_after)),
            Lookup::NotConfigured => Err(Obstacle::Refusal(Rejection::misconfigured(
                "no keys for this issuer: give JwtAuthLayer a JwksCache that holds it (`with_keys`), or put JwksCacheLayer above",
            ))),
        }
    }
}

/// The issuer's own keys, else those of a handle that the layer was given.
fn keys_of(issuer: &Issuer, shared: Option<&JwksCache>) -> Option<Arc<IssuerKeys>> {
    let cache = match &issuer.keys {
        Keys::Cache(cache) => Some(cache),
        Keys::Shared => shared,
        Keys::Fixed(_) => None,
    };
    cache?.issuer(&issuer.name).cloned()
}

// === impl Obstacle ===

impl Obstacle {
    /// The answer for a caller that does not wait (any longer).
    pub(super) fn into_rejection(self) -> Rejection {
        match self {
            Self::Refusal(rejection) => rejection,
            Self::Wait(_) => {
                Rejection::new(Reason::KeysUnavailable).with_retry_after(Duration::from_secs(1))
            }
        }
    }
}

impl From<Reason> for Obstacle {
    fn from(reason: Reason) -> Self {
        Self::Refusal(reason.into())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&*self.issuers).finish()
    }
}
