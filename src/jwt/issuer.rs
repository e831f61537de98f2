//! The settings of an issuer. [`policy`](super::policy) applies them to tokens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::claims::ClaimMapping;
use super::profile::Profile;
use crate::algorithm::{Algorithm, Algorithms};
use crate::claim_path::ClaimPath;
use crate::error::ConfigError;
#[cfg(feature = "reqwest")]
use crate::jwks::JwksSource;
use crate::jwks::{JwksCache, Key};
use crate::revoke::MAX_LEEWAY;
use crate::tenant::{PLACEHOLDER, TenantPattern};

/// An issuer whose tokens are accepted, and the requirements for its tokens.
///
/// | claim | check |
/// |---|---|
/// | `iss` | equal to the issuer, byte for byte (RFC 8725 section 3.8) |
/// | `aud` | contains one of the [audiences](Self::audience) (RFC 8725 section 3.9) |
/// | `exp` | present, and not in the past by more than the [leeway](Self::leeway) |
/// | `nbf`, `iat` | if present, not in the future by more than the leeway |
/// | `sub` | present, a string, not empty; [`subject_claim`](Self::subject_claim) selects another claim |
/// | `cnf` | absent: a token that is bound to a key is not a bearer token ([`dangerous_accept_bound_tokens`](Self::dangerous_accept_bound_tokens)) |
///
/// ```
/// use portcullis::{Algorithm, Issuer, JwtAuthLayer};
///
/// let issuer = Issuer::discover("https://id.example.com/")?
///     .audience("orders-api")
///     .algorithms([Algorithm::RS256, Algorithm::ES256])
///     .roles_claim(["realm_access", "roles"]);
/// assert!(JwtAuthLayer::new([issuer]).is_ok());
///
/// // Without an audience, tokens for other services would be accepted.
/// let issuer = Issuer::discover("https://id.example.com/")?;
/// assert!(JwtAuthLayer::new([issuer]).is_err());
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Issuer {
    pub(super) name: Arc<str>,
    /// `None` for a single issuer.
    pub(super) pattern: Option<TenantPattern>,
    /// `None` allows every tenant.
    pub(super) allowed: Option<AllowTenant>,
    pub(super) audiences: Vec<Box<str>>,
    /// `None` allows the default algorithms of the keys.
    algorithms: Option<Algorithms>,
    pub(super) types: Vec<Box<str>>,
    pub(super) leeway: Duration,
    pub(super) max_token_bytes: usize,
    pub(super) mapping: ClaimMapping,
    pub(super) keys: Keys,
}

/// Decides whether the tokens of a tenant are accepted.
pub(super) type AllowTenant = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The keys that verify an issuer's tokens.
#[derive(Clone)]
pub(super) enum Keys {
    /// The keys of the layer, otherwise of a `JwksCacheLayer` above.
    Shared,
    Cache(JwksCache),
    Fixed(Arc<Key>),
}

// === impl Issuer ===

impl Issuer {
    /// Creates an issuer from the exact value of its `iss` claim.
    ///
    /// Its keys come from one of the `with_` setters, from [the
    /// layer](crate::JwtAuthLayer::with_keys), or from a [`JwksCacheLayer`](crate::JwksCacheLayer)
    /// above. [`discover`](Self::discover) finds them by the issuer's URL.
    pub fn new(issuer: impl AsRef<str>) -> Self {
        let this = Self {
            name: issuer.as_ref().into(),
            pattern: None,
            allowed: None,
            audiences: Vec::new(),
            algorithms: None,
            types: Vec::new(),
            leeway: Duration::from_secs(60),
            max_token_bytes: 8192,
            mapping: ClaimMapping::default(),
            keys: Keys::Shared,
        };
        this.token_types(Profile::Generic.types())
    }

    /// Creates an issuer whose keys are discovered by its URL (OpenID Connect Discovery, otherwise
    /// RFC 8414).
    ///
    /// Nothing is fetched here. The first token, or [`JwksCache::warm`], fetches the keys.
    ///
    /// # Errors
    ///
    /// If the issuer is not an `https` URL. A loopback address may use `http`.
    #[cfg(feature = "reqwest")]
    #[doc(alias = "oidc")]
    pub fn discover(issuer: impl AsRef<str>) -> Result<Self, ConfigError> {
        let keys = JwksCache::new([JwksSource::discover(issuer.as_ref())?])?;
        Ok(Self::new(issuer).with_keys(keys))
    }

    /// Creates an issuer for all tenants whose names fit a pattern: an https URL with `{tenant}` as
    /// one segment of its path, such as `https://login.example.com/{tenant}/v2.0`. Scheme, host,
    /// port and the rest of the path are fixed.
    ///
    /// A tenant's name has up to 128 letters, digits, `-`, `_` and `.`, and does not begin with a
    /// dot. [`allow_tenants`](Self::allow_tenants) restricts the names. Any organization that can
    /// register a tenant at the issuer can obtain tokens. To bind tokens to their tenant, use
    /// `{tenant}` in an audience: it matches the tenant of the token only.
    /// [`Identity::issuer`](crate::Identity::issuer) is the issuer of the tenant. A subject is
    /// unique within that issuer only.
    ///
    /// The keys come from [sources](crate::JwksSource#tenants) with the same pattern. If the layer
    /// also has an issuer with the full name of a tenant, the settings of that issuer apply.
    ///
    /// ```
    /// use portcullis::{Issuer, JwksCache, JwksSource, JwtAuthLayer};
    ///
    /// const REALMS: &str = "https://id.example.com/realms/{tenant}";
    /// let keys = JwksCache::new([JwksSource::discover(REALMS)?])?;
    /// let tenants = Issuer::tenants(REALMS)?
    ///     .allow_tenants(|tenant| ["acme", "globex"].contains(&tenant))
    ///     .audience("api://{tenant}/orders")
    ///     .with_keys(keys);
    /// assert!(JwtAuthLayer::new([tenants]).is_ok());
    ///
    /// // The host must not be part of the pattern.
    /// assert!(Issuer::tenants("https://{tenant}.example.com/").is_err());
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError::Url`] if `pattern` is not such a URL.
    pub fn tenants(pattern: impl AsRef<str>) -> Result<Self, ConfigError> {
        let mut this = Self::new(pattern.as_ref());
        this.pattern = Some(TenantPattern::parse(&this.name)?);
        Ok(this)
    }

    /// Accepts the tokens of the tenants for which `allowed` returns true.
    ///
    /// `allowed` is called once per token whose issuer fits the pattern, before the signature is
    /// verified, so it must not block. With it, invented tenant names cause no fetch of keys.
    pub fn allow_tenants(mut self, allowed: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.allowed = Some(Arc::new(allowed));
        self
    }

    /// Verifies with a secret that the issuer shares with this service. Accepts HS256 from 32
    /// bytes, HS384 from 48 and HS512 from 64, and no other algorithm (RFC 7518 section 3.2).
    ///
    /// Every service that can verify such a token can also issue one. Prefer public keys.
    ///
    /// ```
    /// # use portcullis::{Issuer, JwtAuthLayer};
    /// let issuer = Issuer::new("https://login.example.com")
    ///     .with_secret(b"32 bytes or more, generated randomly")?
    ///     .audience("orders-api");
    /// assert!(JwtAuthLayer::new([issuer]).is_ok());
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the secret is shorter than 32 bytes.
    pub fn with_secret(mut self, secret: &[u8]) -> Result<Self, ConfigError> {
        self.keys = Keys::Fixed(Arc::new(Key::hmac(secret)?));
        Ok(self)
    }

    /// Verifies with one public key in PEM (`PUBLIC KEY` or `CERTIFICATE`).
    ///
    /// # Errors
    ///
    /// If the PEM contains no public key, or a weak one.
    pub fn with_public_key_pem(mut self, pem: &str) -> Result<Self, ConfigError> {
        self.keys = Keys::Fixed(Arc::new(Key::from_pem(pem)?));
        Ok(self)
    }

    /// Verifies with the keys of `cache`.
    pub fn with_keys(mut self, cache: JwksCache) -> Self {
        self.keys = Keys::Cache(cache);
        self
    }

    /// Applies the claim names and the accepted tokens of a product. Resets every claim and `typ`,
    /// so call it before the setters for single claims.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.mapping = profile.mapping();
        self.token_types(profile.types())
    }

    /// Accepts tokens with `audience` in `aud`. Call it once per accepted audience.
    pub fn audience(mut self, audience: impl AsRef<str>) -> Self {
        self.audiences.push(audience.as_ref().into());
        self
    }

    /// Accepts only these algorithms. Default: RS256-512, PS256-512, ES256, ES384 and EdDSA; with a
    /// secret, the HS algorithms that its length allows.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        let list: Vec<Algorithm> = algorithms.into_iter().collect();
        self.algorithms = Some(Algorithms::of(&list));
        self
    }

    /// Accepts only these `typ` headers, compared without case. An empty name accepts tokens
    /// without `typ`. Default: `at+jwt`, `JWT`, and tokens without `typ`.
    pub fn token_types(mut self, types: impl IntoIterator<Item: AsRef<str>>) -> Self {
        self.types = types.into_iter().map(|own| own.as_ref().into()).collect();
        self
    }

    /// Sets how far the clock of the issuer may differ from the local clock, at most 10 minutes.
    /// Default: 60 seconds.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Sets the maximum length of a token in bytes. Default: 8192.
    pub fn max_token_bytes(mut self, bytes: usize) -> Self {
        self.max_token_bytes = bytes;
        self
    }

    /// Rejects tokens in which one of these claims is absent or `null`. Further calls add claims.
    pub fn required_claims(mut self, names: impl IntoIterator<Item: AsRef<str>>) -> Self {
        let required = &mut self.mapping.required;
        for name in names {
            let name = name.as_ref();
            if !required.iter().any(|own| **own == *name) {
                required.push(name.into());
            }
        }
        self
    }

    /// Accepts tokens that are bound to a key of the client by `cnf` (DPoP, RFC 9449; client
    /// certificates, RFC 8705), as if they were bearer tokens. By default they are rejected,
    /// because this layer does not verify the proof of possession.
    ///
    /// Use it only if another component verifies the proof. Without that, a stolen token works for
    /// every client.
    pub fn dangerous_accept_bound_tokens(mut self) -> Self {
        self.mapping.bound = true;
        self
    }

    /// Sets the claim that replaces `sub`: a string, or a whole number.
    pub fn subject_claim(mut self, claim: impl Into<ClaimPath>) -> Self {
        self.mapping.subject = claim.into();
        self
    }

    /// Sets the claim with the roles, a string or a list of strings. Default: `roles`.
    pub fn roles_claim(mut self, claim: impl Into<ClaimPath>) -> Self {
        self.mapping.roles = Some(claim.into());
        self
    }

    /// Sets the claim with the permissions, a string or a list of strings. Default: `permissions`.
    pub fn permissions_claim(mut self, claim: impl Into<ClaimPath>) -> Self {
        self.mapping.permissions = Some(claim.into());
        self
    }

    /// Sets the claim with the scopes, a string with spaces or a list of strings. Default: `scope`
    /// and `scp`.
    pub fn scopes_claim(mut self, claim: impl Into<ClaimPath>) -> Self {
        self.mapping.scopes = vec![claim.into()];
        self
    }

    /// Whether the keys come from the layer, or from a layer above.
    pub(super) fn has_shared_keys(&self) -> bool {
        matches!(self.keys, Keys::Shared)
    }

    /// Returns the cache with the keys. `shared` is the cache for issuers without their own.
    pub(super) fn key_cache<'a>(&'a self, shared: Option<&'a JwksCache>) -> Option<&'a JwksCache> {
        match &self.keys {
            Keys::Cache(cache) => Some(cache),
            Keys::Shared => shared,
            Keys::Fixed(_) => None,
        }
    }

    pub(super) fn accepted_algorithms(&self) -> Algorithms {
        self.algorithms.unwrap_or_else(|| match &self.keys {
            Keys::Fixed(key) if key.algorithms().iter().all(Algorithm::is_symmetric) => {
                key.algorithms()
            }
            _ => Algorithms::ASYMMETRIC,
        })
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
        if let Some((setting, problem)) = self.setting_problem() {
            return Err(ConfigError::Setting { setting, problem });
        }
        if let Keys::Cache(cache) = &self.keys
            && !cache.covers(&self.name)
        {
            return Err(ConfigError::MissingKeys { issuer: issuer() });
        }
        Ok(())
    }

    fn algorithm_problem(&self) -> Option<&'static str> {
        let usable = match &self.keys {
            Keys::Fixed(key) => key.algorithms(),
            Keys::Cache(_) | Keys::Shared => Algorithms::ASYMMETRIC,
        };
        let accepted = self.accepted_algorithms();
        let is_secret = usable.iter().all(Algorithm::is_symmetric);
        if accepted.is_empty() {
            Some("list at least one")
        } else if is_secret && !accepted.minus(usable).is_empty() {
            Some(
                "a secret verifies HS256 from 32 bytes, HS384 from 48 and HS512 from 64, and nothing else",
            )
        } else if !is_secret && accepted.iter().any(Algorithm::is_symmetric) {
            Some("HS256, HS384 and HS512 need `Issuer::with_secret`")
        } else if !accepted.iter().any(|algorithm| usable.contains(algorithm)) {
            Some("the key verifies none of them")
        } else {
            None
        }
    }

    /// A setting and what to change.
    fn setting_problem(&self) -> Option<(&'static str, &'static str)> {
        let is_single = self.pattern.is_none();
        if is_single && self.name.contains(PLACEHOLDER) {
            Some(("issuer", "it contains `{tenant}`: use `Issuer::tenants`"))
        } else if is_single && self.audiences.iter().any(|name| name.contains(PLACEHOLDER)) {
            Some(("audience", "`{tenant}` requires `Issuer::tenants`"))
        } else if is_single && self.allowed.is_some() {
            Some(("allow_tenants", "it requires `Issuer::tenants`"))
        } else if self.leeway > MAX_LEEWAY {
            Some((
                "leeway",
                "use at most 10 minutes: a larger leeway hides a broken clock",
            ))
        } else if self.mapping.is_reserved() {
            Some((
                "claim path",
                "`aud`, `exp`, `nbf` and `iat` have fixed meanings: use another claim",
            ))
        } else {
            None
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
            .field("algorithms", &self.accepted_algorithms())
            .field("token_types", &self.types)
            .field("leeway", &self.leeway)
            .field("claims", &self.mapping)
            .finish_non_exhaustive()
    }
}
