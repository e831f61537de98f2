//! What an issuer's tokens must be like.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::claims::{Claims, Places};
use super::header::Header;
use super::profile::Profile;
use crate::algorithm::{Algorithm, Algorithms};
use crate::claim_path::ClaimPath;
use crate::error::ConfigError;
use crate::jwks::{JwksCache, Key};
use crate::rejection::Reason;
use crate::revoke::MAX_LEEWAY;
use crate::tenant::TenantPattern;

/// An issuer whose tokens are accepted, and what they must be like.
///
/// | claim | check |
/// |---|---|
/// | `iss` | the issuer, byte for byte (RFC 8725 section 3.8) |
/// | `aud` | one of [`audience`](Self::audience) is in it (RFC 8725 section 3.9) |
/// | `exp` | there, and not past by more than [`leeway`](Self::leeway) |
/// | `nbf`, `iat` | if there, not in the future by more than the leeway |
/// | `sub` | there, a string, not empty; [`subject_claim`](Self::subject_claim) names another claim for it |
/// | `cnf` | not there: a token that is bound to a key is no bearer token ([`dangerous_accept_bound_tokens`](Self::dangerous_accept_bound_tokens)) |
///
/// ```
/// use portcullis::{Algorithm, Issuer, JwtAuthLayer};
///
/// let issuer = Issuer::new("https://id.example.com/")
///     .audience("orders-api")
///     .algorithms([Algorithm::RS256, Algorithm::ES256])
///     .roles_claim(["realm_access", "roles"]);
/// assert!(JwtAuthLayer::new([issuer]).is_ok());
///
/// // Without an audience it would accept tokens that were meant for somebody else.
/// assert!(JwtAuthLayer::new([Issuer::new("https://id.example.com/")]).is_err());
/// ```
#[derive(Clone)]
#[must_use]
pub struct Issuer {
    pub(super) name: Arc<str>,
    /// Set where the name is one of many issuers.
    pub(super) pattern: Option<TenantPattern>,
    /// Every tenant will do where there is none.
    pub(super) allowed: Option<Allowed>,
    pub(super) audiences: Vec<Box<str>>,
    algorithms: Algorithms,
    types: Vec<Box<str>>,
    leeway: Duration,
    pub(super) max_token_bytes: usize,
    pub(super) places: Places,
    pub(super) keys: Keys,
}

/// Says which tenants' tokens are accepted.
pub(super) type Allowed = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Where an issuer's keys come from.
#[derive(Clone)]
pub(super) enum Keys {
    /// The layer's own handle, else the one that a `JwksCacheLayer` above put into the request.
    Shared,
    Cache(JwksCache),
    Fixed(Arc<Key>),
}

// === impl Issuer ===

impl Issuer {
    /// An issuer by the exact value of its `iss` claim.
    ///
    /// Its keys come from [`with_keys`](Self::with_keys), from the layer's, or from a `JwksCacheLayer` above.
    pub fn new(issuer: impl AsRef<str>) -> Self {
        Self {
            name: issuer.as_ref().into(),
            pattern: None,
            allowed: None,
            audiences: Vec::new(),
            algorithms: Algorithms::ASYMMETRIC,
            types: Profile::Generic
                .types()
                .iter()
                .copied()
                .map(Into::into)
                .collect(),
            leeway: Duration::from_secs(60),
            max_token_bytes: 8192,
            places: Places::default(),
            keys: Keys::Shared,
        }
    }

    /// An issuer that shares a secret with this service: HS256 from 32 bytes, HS384 from 48, HS512 from 64, and no other
    /// algorithm (RFC 7518 section 3.2).
    ///
    /// Whoever can verify such a token can also make one; prefer public keys.
    ///
    /// # Errors
    ///
    /// If the secret is shorter than 32 bytes.
    pub fn with_secret(issuer: impl AsRef<str>, secret: &[u8]) -> Result<Self, ConfigError> {
        let key = Key::hmac(secret)?;
        let mut this = Self::new(issuer);
        this.algorithms = key.algorithms();
        this.keys = Keys::Fixed(Arc::new(key));
        Ok(this)
    }

    /// An issuer with one public key, in PEM.
    ///
    /// # Errors
    ///
    /// If the PEM holds no public key, or one that is too weak.
    pub fn with_public_key_pem(issuer: impl AsRef<str>, pem: &str) -> Result<Self, ConfigError> {
        let mut this = Self::new(issuer);
        this.keys = Keys::Fixed(Arc::new(Key::from_pem(pem)?));
        Ok(this)
    }

    /// Reads tokens as this kind of issuer makes them, and refuses its other tokens. It resets every place and `typ`, so
    /// call it before the setters that change them.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.places = profile.places();
        self.token_types(profile.types().iter().copied())
    }

    /// Verifies with the keys of `cache`.
    pub fn with_keys(mut self, cache: JwksCache) -> Self {
        self.keys = Keys::Cache(cache);
        self
    }

    /// Accepts tokens that name `audience` in `aud`. Called again, it accepts either.
    pub fn audience(mut self, audience: impl AsRef<str>) -> Self {
        self.audiences.push(audience.as_ref().into());
        self
    }

    /// Accepts these algorithms only. The default: RS256-512, PS256-512, ES256, ES384 and EdDSA.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        let list: Vec<Algorithm> = algorithms.into_iter().collect();
        self.algorithms = Algorithms::of(&list);
        self
    }

    /// Accepts these `typ` headers, compared without case; an empty name allows its absence. The default: `at+jwt`,
    /// `JWT` and absence.
    pub fn token_types<'n>(mut self, types: impl IntoIterator<Item = &'n str>) -> Self {
        self.types = types.into_iter().map(Into::into).collect();
        self
    }

    /// How far the issuer's clock may be from ours: at most 10 minutes. The default: 60 seconds.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// The length in bytes beyond which a token is not read. The default: 8192.
    pub fn max_token_bytes(mut self, bytes: usize) -> Self {
        self.max_token_bytes = bytes;
        self
    }

    /// Refuses tokens without these claims, or with `null` for one. Called again, it adds to them.
    pub fn required_claims<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let required = &mut self.places.required;
        for name in names {
            if !required.iter().any(|own| **own == *name) {
                required.push(name.into());
            }
        }
        self
    }

    /// Accepts tokens that are bound to a key of their holder's, by `cnf` (DPoP, RFC 9449; client certificates, RFC 8705),
    /// from whoever sends them. Without this they are refused, since this layer asks for no proof of that key.
    ///
    /// Only where somebody else asks for it, in front of this service or behind this layer: a stolen token is worth
    /// nothing to a thief otherwise, and everything with this.
    pub fn dangerous_accept_bound_tokens(mut self) -> Self {
        self.places.bound = true;
        self
    }

    /// The claim that stands for `sub`: a string, or a whole number.
    pub fn subject_claim(mut self, place: impl Into<ClaimPath>) -> Self {
        self.places.subject = place.into();
        self
    }

    /// Where the roles stand, as a string or an array of strings. The default: `roles`.
    pub fn roles_claim(mut self, place: impl Into<ClaimPath>) -> Self {
        self.places.roles = Some(place.into());
        self
    }

    /// Where the permissions stand, as a string or an array of strings. The default: `permissions`.
    pub fn permissions_claim(mut self, place: impl Into<ClaimPath>) -> Self {
        self.places.permissions = Some(place.into());
        self
    }

    /// Where the scopes stand, as a string with spaces or an array of strings. The default: `scope` and `scp`.
    pub fn scopes_claim(mut self, place: impl Into<ClaimPath>) -> Self {
        self.places.scopes = vec![place.into()];
        self
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let issuer = || self.name.to_string();
        if self.name.trim().is_empty() {
            return Err(ConfigError::MissingIssuer);
        }
        if self.audiences.is_empty() || self.audiences.iter().any(|name| name.trim().is_empty()) {
            return Err(ConfigError::MissingAudience { issuer: issuer() });
        }
        if let Some(problem) = self.algorithm_problem() {
            return Err(ConfigError::Algorithms {
                issuer: issuer(),
                problem,
            });
        }
        self.check_tenants()?;
        if let Keys::Cache(cache) = &self.keys
            && !cache.covers(&self.name)
        {
            return Err(ConfigError::MissingKeys { issuer: issuer() });
        }
        if self.leeway > MAX_LEEWAY {
            return Err(ConfigError::Setting {
                setting: "leeway",
                problem: "set at most 10 minutes; a larger one hides a broken clock",
            });
        }
        if self.places.is_reserved() {
            return Err(ConfigError::Setting {
                setting: "claim place",
                problem: "`aud`, `exp`, `nbf` and `iat` have a meaning of their own; name another claim",
            });
        }
        Ok(())
    }

    fn algorithm_problem(&self) -> Option<&'static str> {
        let usable = match &self.keys {
            Keys::Fixed(key) => key.algorithms(),
            Keys::Cache(_) | Keys::Shared => Algorithms::ASYMMETRIC,
        };
        let secret = usable.iter().all(Algorithm::is_symmetric);
        if self.algorithms.is_empty() {
            Some("name at least one")
        } else if secret && !self.algorithms.minus(usable).is_empty() {
            Some(
                "a secret verifies HS256 from 32 bytes, HS384 from 48 and HS512 from 64, and nothing else",
            )
        } else if !secret && self.algorithms.iter().any(Algorithm::is_symmetric) {
            Some("HS256, HS384 and HS512 need `Issuer::with_secret`")
        } else if !self.algorithms.iter().any(|alg| usable.contains(alg)) {
            Some("the key verifies none of them")
        } else {
            None
        }
    }

    /// What can be told before the signature is looked at.
    pub(super) fn check_header(&self, header: &Header<'_>) -> Result<(), Reason> {
        if !self.algorithms.contains(header.algorithm) {
            return Err(Reason::AlgorithmNotAllowed);
        }
        let typ = header.media_type();
        if !self.types.iter().any(|own| own.eq_ignore_ascii_case(typ)) {
            return Err(Reason::WrongType);
        }
        Ok(())
    }

    /// Whether a token with these times is valid now.
    pub(super) fn is_current(&self, expires_at: u64, starts_at: u64, now: Duration) -> bool {
        !self.is_past(expires_at, now) && !self.is_to_come(starts_at, now)
    }

    fn is_past(&self, expires_at: u64, now: Duration) -> bool {
        now.as_secs() >= expires_at.saturating_add(self.leeway.as_secs())
    }

    fn is_to_come(&self, starts_at: u64, now: Duration) -> bool {
        starts_at > now.as_secs().saturating_add(self.leeway.as_secs())
    }

    /// What can be told once the signature holds. `iss` is what the keys were chosen by.
    pub(super) fn check_claims(
        &self,
        claims: &Claims<'_>,
        iss: &str,
        now: Duration,
    ) -> Result<(), Reason> {
        if claims.issuer.as_deref() != Some(iss) {
            return Err(Reason::WrongIssuer);
        }
        let expires_at = claims.expires_at.ok_or(Reason::InvalidClaim)?;
        let starts_at = claims.not_before.max(claims.issued_at).unwrap_or_default();
        if self.is_past(expires_at, now) {
            return Err(Reason::Expired);
        }
        if self.is_to_come(starts_at, now) {
            return Err(Reason::NotYetValid);
        }
        let audience = claims.audience.as_ref().ok_or(Reason::InvalidClaim)?;
        if !audience
            .names()
            .any(|name| self.accepts_audience(iss, name))
        {
            return Err(Reason::WrongAudience);
        }
        match claims.subject.as_deref() {
            None | Some("") => Err(Reason::InvalidClaim),
            Some(_) => Ok(()),
        }
    }
}

/// `https://id.example.com/ for orders-api`.
impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.name, self.audiences.join(" or "))
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("issuer", &self.name)
            .field("audiences", &self.audiences)
            .field("algorithms", &self.algorithms)
            .field("token_types", &self.types)
            .field("leeway", &self.leeway)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}
