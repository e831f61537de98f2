//! Where the keys of one issuer come from.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tower::Service;

#[cfg(any(feature = "reqwest", feature = "reqwest-client"))]
use super::discovery::Discovery;
use super::driver::IssuerKeys;
#[cfg(any(feature = "reqwest", feature = "reqwest-client"))]
use super::endpoint::{Endpoint, Transport};
use super::fetch::{Boxed, Fetch, FetchJwks, MakeFetch};
#[cfg(any(feature = "reqwest", feature = "reqwest-client"))]
use super::http::{Client, ClientSettings, KeysAt};
use super::set::KeySet;
use super::settings::Settings;
use super::state::KeyState;
use super::tenants::Tenants;
use crate::clock::Clock;
use crate::error::ConfigError;
use crate::tenant::{PLACEHOLDER, TenantPattern};

/// Where the keys of one issuer come from, and how long they are kept.
///
/// The issuer must be spelled exactly as the `iss` claim of its tokens, byte by byte.
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Clock, JwksCache, JwksSource};
///
/// let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
/// let source = JwksSource::discover("https://id.example.com/")?
///     .default_ttl(300 * second).min_ttl(60 * second).max_ttl(2 * hour)
///     .max_stale(24 * hour).cooldown(10 * second).timeout(5 * second)
///     .max_tenants(100.try_into()?).clock(Clock::System);
/// let keys = JwksCache::new([source])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Tenants
///
/// An issuer with `{tenant}` as one segment of its path is the pattern of the issuers of all
/// tenants, for [`Issuer::tenants`](crate::Issuer::tenants). If the keys are
/// [discovered](Self::discover), come from a [service](Self::service) or from a [URL](Self::uri)
/// that contains `{tenant}` too, each tenant has its own key set, which is fetched when its first
/// token arrives. [Given keys](Self::keys) and a URL without `{tenant}` are one key set for all
/// tenants.
///
/// Tenant names come from unverified tokens. So until a token of a tenant is verified, the tenant
/// takes one of 32 places for one cooldown and causes one fetch in that time, plus two for unknown
/// kids. If the issuer answers 400, 404 or 410, or with the metadata of another issuer, the tenant
/// does not exist and its tokens are rejected with 401. If all places are taken, tokens of other
/// new tenants are rejected with 401, or with 503 if fetches fail or the names are
/// [checked](crate::Issuer::allow_tenants). Verified tenants are not affected. After a restart no
/// tenant is verified, except those with [saved keys](crate::JwksCache::restore).
#[must_use]
pub struct JwksSource {
    issuer: Arc<str>,
    location: Location,
    settings: Settings,
    clock: Clock,
}

enum Location {
    Given(KeySet),
    Service(Arc<dyn Fetch>),
    #[cfg(any(feature = "reqwest", feature = "reqwest-client"))]
    Http(HttpLocation),
}

#[cfg(any(feature = "reqwest", feature = "reqwest-client"))]
struct HttpLocation {
    /// The URL of the keys, or the issuer if it is discovered. May contain `{tenant}`.
    url: Box<str>,
    is_discovered: bool,
    transport: Transport,
    client: ClientSettings,
}

/// The keys of a source.
pub(super) enum KeyProvider {
    /// One key set, of one issuer or of all tenants of the pattern.
    Shared(Arc<IssuerKeys>, Option<TenantPattern>),
    PerTenant(Box<Tenants>),
}

// === impl JwksSource ===

impl JwksSource {
    /// Uses these keys and fetches none.
    ///
    /// ```
    /// use portcullis::{JwksCache, JwksSource, KeySet};
    ///
    /// let keys = KeySet::from_jwk(br#"{"kty": "OKP", "crv": "Ed25519", "kid": "a",
    ///     "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#)?;
    /// let cache = JwksCache::new([JwksSource::keys("https://id.example.com/", keys)])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn keys(issuer: impl AsRef<str>, keys: KeySet) -> Self {
        Self::new(issuer.as_ref(), Location::Given(keys))
    }

    /// Fetches the keys through a service: another HTTP client, or tower layers around one, such as
    /// retries. The example `own_key_client` shows both.
    ///
    /// For tenants, the request names the issuer of the tenant. The service returns
    /// [`FetchError::Status`](super::FetchError::Status) 404 if the tenant does not exist. Every
    /// other error is an outage.
    pub fn service<S>(issuer: impl AsRef<str>, service: S) -> Self
    where
        S: Service<FetchJwks, Response = KeySet> + Clone + Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send,
    {
        let service = Arc::new(Boxed::new(service));
        Self::new(issuer.as_ref(), Location::Service(service))
    }

    fn new(issuer: &str, location: Location) -> Self {
        Self {
            issuer: issuer.into(),
            location,
            settings: Settings::default(),
            clock: Clock::default(),
        }
    }

    /// How long keys are fresh if the issuer sends no `max-age`. Default: 10 minutes.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.settings.default_ttl = ttl;
        self
    }

    /// The minimum time that keys are fresh, even if the `max-age` is shorter. At least one second.
    /// Default: 60 seconds.
    pub fn min_ttl(mut self, ttl: Duration) -> Self {
        self.settings.min_ttl = ttl;
        self
    }

    /// The maximum time that keys are fresh, even if the `max-age` is longer. At most seven days.
    /// Default: 1 hour.
    pub fn max_ttl(mut self, ttl: Duration) -> Self {
        self.settings.max_ttl = ttl;
        self
    }

    /// Sets the time in which unknown kids cause at most two fetches. At least 1 second. Default:
    /// 30 s.
    ///
    /// It also limits the recovery after an outage: while requests wait for keys, the next fetch
    /// starts within one cooldown, or within 5 seconds if the cooldown is shorter.
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.settings.cooldown = cooldown;
        self
    }

    /// How long keys are used past their time to live while the issuer is down. At most seven days.
    /// Default: 1 hour.
    pub fn max_stale(mut self, max_stale: Duration) -> Self {
        self.settings.max_stale = max_stale;
        self
    }

    /// The time limit of one request to the issuer; for a [service](Self::service), of the whole
    /// fetch with its retries. Default: 2 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Sets the maximum number of tenants whose keys are kept, if each tenant has its own keys.
    /// Beyond that, the least used tenant is evicted, and its keys are fetched again when its next
    /// token arrives. The keys of one tenant may take about 1 MiB of memory, and the average over
    /// all tenants may be 128 KiB. Default: 1000.
    pub fn max_tenants(mut self, tenants: NonZeroUsize) -> Self {
        self.settings.max_tenants = tenants;
        self
    }

    /// The clock by which keys age. Default: the system's clock.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    pub(super) fn build(self) -> Result<KeyProvider, ConfigError> {
        if self.issuer.is_empty() {
            return Err(ConfigError::MissingIssuer);
        }
        self.settings.check()?;
        let (issuer, settings, clock) = (self.issuer, self.settings, self.clock);
        let has_placeholder = issuer.contains(PLACEHOLDER);
        let pattern = has_placeholder
            .then(|| TenantPattern::parse(&issuer))
            .transpose()?;
        let (fetch, is_per_tenant) = match self.location {
            Location::Given(keys) => {
                let state = KeyState::fixed(settings, keys, clock.monotonic());
                let keys = IssuerKeys::new(issuer, clock, state, None);
                return Ok(KeyProvider::Shared(Arc::new(keys), pattern));
            }
            Location::Service(service) => {
                let fetch: MakeFetch = Box::new(move |_, _| Some(Arc::clone(&service)));
                (fetch, pattern.is_some())
            }
            #[cfg(any(feature = "reqwest", feature = "reqwest-client"))]
            Location::Http(location) => {
                let is_per_tenant = location.url.contains(PLACEHOLDER);
                (location.connect(clock.clone())?, is_per_tenant)
            }
        };
        if !is_per_tenant {
            let fetch = fetch(&issuer, "").ok_or(ConfigError::MissingIssuer)?;
            let keys = IssuerKeys::new(issuer, clock, KeyState::new(settings), Some(fetch));
            return Ok(KeyProvider::Shared(Arc::new(keys), pattern));
        }
        let pattern = pattern.ok_or_else(|| ConfigError::Url {
            url: issuer.to_string(),
            problem: "the JWKS URL contains `{tenant}` but the issuer does not: \
                      add `{tenant}` to the issuer",
        })?;
        let tenants = Tenants::new(issuer, pattern, settings, clock, fetch);
        Ok(KeyProvider::PerTenant(Box::new(tenants)))
    }
}

#[cfg(any(feature = "reqwest", feature = "reqwest-client"))]
impl JwksSource {
    /// Finds the URL of the keys in the metadata of the issuer: OpenID Connect Discovery 1.0, or
    /// RFC 8414 if that is not found.
    ///
    /// The metadata are read before the first fetch, after a failed fetch, and once a day.
    ///
    /// Metadata of a remote issuer must not lead to this machine or into its network: `localhost`,
    /// and loopback, private, link-local and unspecified addresses are refused. To fetch keys from
    /// there, use [`uri`](Self::uri). This check resolves no names.
    ///
    /// # Errors
    /// [`ConfigError::Url`] if the issuer is neither an https URL nor a loopback http URL.
    pub fn discover(issuer: impl AsRef<str>) -> Result<Self, ConfigError> {
        let issuer = issuer.as_ref();
        let mut source = Self::http(issuer, issuer, Transport::HttpsOrLoopback)?;
        // Two requests for the metadata, one for the keys.
        source.settings.requests = 3;
        source.http_location("")?.is_discovered = true;
        Ok(source)
    }

    /// Fetches the keys from this URL.
    ///
    /// ```
    /// use portcullis::JwksSource;
    ///
    /// let (issuer, keys) = ("https://id.example.com/", "https://id.example.com/keys");
    /// assert!(JwksSource::uri(issuer, keys).is_ok());
    /// assert!(JwksSource::uri(issuer, "http://id.example.com/keys").is_err());
    /// assert!(JwksSource::dangerous_plain_uri(issuer, "http://id.example.com/keys").is_ok());
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::Url`] if `jwks_uri` is neither an https URL nor a loopback http URL.
    pub fn uri(issuer: impl AsRef<str>, jwks_uri: impl AsRef<str>) -> Result<Self, ConfigError> {
        Self::http(
            issuer.as_ref(),
            jwks_uri.as_ref(),
            Transport::HttpsOrLoopback,
        )
    }

    /// Fetches the keys from this URL, which may be plain http on another machine. An attacker on
    /// the network path can replace the keys and then sign any token.
    ///
    /// # Errors
    /// [`ConfigError::Url`] if it is not an http or https URL.
    pub fn dangerous_plain_uri(
        issuer: impl AsRef<str>,
        jwks_uri: impl AsRef<str>,
    ) -> Result<Self, ConfigError> {
        let jwks_uri = jwks_uri.as_ref();
        Endpoint::parse(jwks_uri, Transport::DangerousPlain)?;
        Self::http(issuer.as_ref(), jwks_uri, Transport::DangerousPlain)
    }

    /// Trusts only these certificates, one or more in PEM, when it fetches.
    ///
    /// # Errors
    /// [`ConfigError::Key`] if there is no certificate. [`ConfigError::Setting`] if the keys are
    /// not fetched over HTTP.
    #[cfg(feature = "reqwest")]
    pub fn root_certificates(mut self, pem: &[u8]) -> Result<Self, ConfigError> {
        let roots = reqwest::Certificate::from_pem_bundle(pem).unwrap_or_default();
        if roots.is_empty() {
            return Err(ConfigError::Key {
                problem: "no certificate in this PEM".to_owned(),
            });
        }
        self.http_location("jwks root_certificates")?.client.roots = roots;
        Ok(self)
    }

    /// Fetches with this client: its proxy, client certificate, certificate authorities and
    /// headers. It is required if the feature `reqwest` is off.
    ///
    /// Build it with `redirect(Policy::none())`. A response that a redirect led to is refused.
    ///
    /// ```
    /// use portcullis::JwksSource;
    ///
    /// let client = reqwest::Client::builder()
    ///     .redirect(reqwest::redirect::Policy::none())
    ///     .build()?;
    /// let source = JwksSource::discover("https://id.example.com/")?.client(client)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::Setting`] if the keys are not fetched over HTTP.
    #[cfg(feature = "reqwest-client")]
    pub fn client(mut self, client: reqwest::Client) -> Result<Self, ConfigError> {
        self.http_location("jwks client")?.client.client = Some(client);
        Ok(self)
    }

    fn http(issuer: &str, url: &str, transport: Transport) -> Result<Self, ConfigError> {
        if url.contains(PLACEHOLDER) {
            TenantPattern::parse(url)?;
        } else {
            Endpoint::parse(url, transport)?;
        }
        let location = HttpLocation {
            url: url.into(),
            is_discovered: false,
            transport,
            client: ClientSettings::default(),
        };
        Ok(Self::new(issuer, Location::Http(location)))
    }

    fn http_location(&mut self, setting: &'static str) -> Result<&mut HttpLocation, ConfigError> {
        match &mut self.location {
            Location::Http(location) => Ok(location),
            Location::Given(_) | Location::Service(_) => Err(ConfigError::Setting {
                setting,
                problem: "these keys are not fetched over HTTP: remove it",
            }),
        }
    }
}

impl fmt::Debug for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwksSource")
            .field("issuer", &self.issuer)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

// === impl HttpLocation ===

#[cfg(any(feature = "reqwest", feature = "reqwest-client"))]
impl HttpLocation {
    /// Builds one client for all tenants. Sends nothing.
    fn connect(self, clock: Clock) -> Result<MakeFetch, ConfigError> {
        let Self { url, transport, .. } = self;
        let example = Endpoint::parse(&url.replace(PLACEHOLDER, "tenant"), transport)?;
        let client = Client::new(&example, self.client)?;
        Ok(Box::new(move |issuer, tenant| {
            let endpoint = Endpoint::parse(&url.replace(PLACEHOLDER, tenant), transport).ok()?;
            let (client, clock) = (client.clone(), clock.clone());
            Some(match self.is_discovered {
                true => Arc::new(Discovery::new(client, endpoint, Arc::clone(issuer), clock)),
                false => Arc::new(KeysAt::new(client, endpoint, clock)),
            })
        }))
    }
}

// === impl KeyProvider ===

impl KeyProvider {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Shared(keys, _) => keys.name(),
            Self::PerTenant(tenants) => tenants.name(),
        }
    }

    pub(super) fn pattern(&self) -> Option<&TenantPattern> {
        match self {
            Self::Shared(_, pattern) => pattern.as_ref(),
            Self::PerTenant(tenants) => Some(&tenants.pattern),
        }
    }
}
