//! The layer and its settings.

use http::{HeaderMap, HeaderName, HeaderValue};
use tower::Layer;

use super::issuer::Issuer;
use super::service::{JwtAuth, JwtGate};
use super::sources::peek;
use super::verify::{Verifier, VerifyError};
use crate::clock::{Clock, Reading};
use crate::decision::Mode;
use crate::error::ConfigError;
use crate::identity::{Bearer, Identity};
use crate::jwks::{JwksCache, LookupMode};
use crate::manifest::{Describe, Entry};
use crate::realm::Realm;
use crate::rejection::{Reason, Rejection};
use crate::revoke::Revocations;

/// Authenticates requests by bearer tokens. See the [module](super).
#[derive(Clone, Debug)]
#[doc(alias = "bearer")]
#[doc(alias = "oauth")]
#[doc(alias = "openid")]
#[must_use]
pub struct JwtAuthLayer {
    gate: JwtGate,
    enabled: bool,
}

impl JwtAuthLayer {
    /// Accepts the tokens of one issuer for `audience`.
    ///
    /// The keys are discovered by the issuer's URL (OpenID Connect Discovery, otherwise RFC 8414)
    /// when the first token arrives, and refreshed from then on. Nothing is fetched here, so a
    /// service starts even if its identity provider is down.
    ///
    /// # Errors
    ///
    /// If the issuer is not an `https` URL (a loopback address may use `http`), or the audience is
    /// empty.
    #[cfg(feature = "reqwest")]
    #[doc(alias = "oidc")]
    pub fn from_issuer(
        issuer: impl AsRef<str>,
        audience: impl AsRef<str>,
    ) -> Result<Self, ConfigError> {
        Self::new([Issuer::discover(issuer)?.audience(audience)])
    }

    /// Accepts the tokens of several issuers. A token is verified with the settings of the issuer
    /// in its `iss` claim.
    ///
    /// ```
    /// use portcullis::{Issuer, JwtAuthLayer};
    ///
    /// let staff = Issuer::discover("https://sso.example.com/realms/staff")?.audience("orders-api");
    /// let partners = Issuer::discover("https://partners.example.com/")?.audience("orders-api");
    /// let auth = JwtAuthLayer::new([staff, partners])?.realm("orders")?.optional();
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no issuer, an issuer has no audience, two issuers have the same name, or the
    /// algorithms of an issuer do not fit its keys.
    pub fn new(issuers: impl IntoIterator<Item = Issuer>) -> Result<Self, ConfigError> {
        let verifier = Verifier::new(issuers.into_iter().collect())?;
        Ok(Self {
            gate: JwtGate::new(verifier),
            enabled: true,
        })
    }

    /// Verifies with the keys of `cache` for the issuers without their own keys.
    ///
    /// # Errors
    ///
    /// If `cache` has no source for such an issuer.
    pub fn with_keys(mut self, cache: JwksCache) -> Result<Self, ConfigError> {
        self.gate.settings_mut().verifier.share(cache)?;
        Ok(self)
    }

    /// Returns the caches with the keys of the issuers, for readiness probes, status pages and
    /// [`JwksCache::purge`].
    ///
    /// A readiness probe calls [`JwksCache::is_ready`], which also starts the fetches that are due.
    /// Otherwise, a service that receives no tokens before it is ready would never fetch its keys.
    ///
    /// ```
    /// use http::StatusCode;
    /// use portcullis::{JwksCache, JwtAuthLayer};
    ///
    /// /// The handler of `/readyz`, which must not require authentication.
    /// async fn readyz(auth: JwtAuthLayer) -> StatusCode {
    ///     if auth.keys().iter().all(JwksCache::is_ready) {
    ///         StatusCode::OK
    ///     } else {
    ///         StatusCode::SERVICE_UNAVAILABLE
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let issuer = portcullis::TestIssuer::start().await?;
    /// let auth = JwtAuthLayer::from_issuer(issuer.issuer(), "orders-api")?;
    /// assert_eq!(readyz(auth.clone()).await, StatusCode::SERVICE_UNAVAILABLE);
    /// # for keys in auth.keys() { keys.warm().await?; }
    /// // The probe itself has started the fetch.
    /// assert_eq!(readyz(auth).await, StatusCode::OK);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn keys(&self) -> Vec<JwksCache> {
        let verifier = &self.gate.settings().verifier;
        verifier.key_caches().cloned().collect()
    }

    /// Passes requests without a token as [`Caller::Anonymous`](crate::Caller::Anonymous). Invalid
    /// tokens are rejected.
    pub fn optional(mut self) -> Self {
        self.gate.settings_mut().optional = true;
        self
    }

    /// Reports what would be rejected, and rejects nothing. Use it to try the settings of an issuer
    /// on real traffic.
    ///
    /// **Every request passes.** A request that would be rejected passes as
    /// [`Caller::Anonymous`](crate::Caller::Anonymous), without its token and without the claims of
    /// the token. A layer below that requires a caller rejects it then; a handler without such a
    /// layer serves every client. Misconfigurations are still rejected.
    pub fn dangerous_report_authentication(mut self) -> Self {
        self.gate.settings_mut().mode = Mode::Report;
        self
    }

    /// Sets the realm of challenges (RFC 9110 section 11.5). Default: `api`.
    ///
    /// # Errors
    ///
    /// If the name contains characters that are not allowed in a quoted string.
    pub fn realm(mut self, realm: &str) -> Result<Self, ConfigError> {
        self.gate.settings_mut().realm = Realm::new(realm)?;
        Ok(self)
    }

    /// Also reads tokens from the cookie `name`.
    ///
    /// Browsers send cookies with requests that other sites cause. Use a name with the prefix
    /// `__Host-` and the attributes `Secure`, `HttpOnly` and `SameSite`, and protect requests that
    /// change state against forgery (`tower_http::csrf::CsrfLayer`).
    ///
    /// # Errors
    ///
    /// If `name` is not a valid cookie name (RFC 6265 section 4.1.1).
    pub fn cookie(mut self, name: &str) -> Result<Self, ConfigError> {
        // Names of cookies and of headers have the same characters.
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(ConfigError::Setting {
                setting: "cookie",
                problem: "use a name of letters, digits, `-` and `_`, such as `__Host-token`",
            });
        }
        self.gate.settings_mut().sources.cookie = Some(name.into());
        Ok(self)
    }

    /// Also reads tokens from the header `name`. The whole value is the token.
    ///
    /// # Errors
    ///
    /// If `name` is not a valid header name, or the header has another meaning.
    pub fn header(mut self, name: &str) -> Result<Self, ConfigError> {
        let taken = ["authorization", "cookie", "host", "sec-websocket-protocol"];
        let problem = |problem| ConfigError::Header {
            name: name.to_owned(),
            problem,
        };
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| problem("use the name of a header, such as `x-access-token`"))?;
        if taken.contains(&header.as_str()) {
            return Err(problem("it has another meaning: use another header"));
        }
        self.gate.settings_mut().sources.header = Some(header);
        Ok(self)
    }

    /// Also reads tokens from `Sec-WebSocket-Protocol: bearer, <token>`, the only header that a
    /// page in a browser can set for a WebSocket. The response to the upgrade selects the
    /// subprotocol `bearer`.
    pub fn websocket_protocol(mut self) -> Self {
        self.gate.settings_mut().sources.websocket_protocol = true;
        self
    }

    /// Also reads tokens from the query parameter `name`, for example `access_token`.
    ///
    /// Proxies, browsers and access logs store URLs, and with them the token. RFC 9700 section
    /// 4.3.2 forbids this. The parameter is removed before inner services see the URL.
    ///
    /// # Errors
    ///
    /// If the name contains characters that need escapes in a query.
    pub fn dangerous_query_parameter(mut self, name: &str) -> Result<Self, ConfigError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_plain) {
            return Err(ConfigError::Setting {
                setting: "query parameter",
                problem: "use letters, digits, `-`, `_`, `.` and `~`, such as `access_token`",
            });
        }
        self.gate.settings_mut().sources.query = Some(name.into());
        Ok(self)
    }

    /// Passes CORS preflights without a token, as [`Caller::Anonymous`](crate::Caller::Anonymous):
    /// OPTIONS requests with `Origin` and `Access-Control-Request-Method`. Browsers send them
    /// without credentials.
    ///
    /// A CORS layer outside of this layer answers preflights itself and makes this setting
    /// unnecessary.
    pub fn pass_cors_preflight(mut self) -> Self {
        self.gate.settings_mut().passes_preflight = true;
        self
    }

    /// Rejects revoked tokens, cached ones included. See [`revoke`](crate::revoke).
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.gate.settings_mut().verifier.revocations = Some(revocations);
        self
    }

    /// Sets the maximum memory of the token cache in bytes. Default: 64 MiB. Zero switches the
    /// cache off.
    ///
    /// A cache hit skips the signature check, but still checks the times, revocations, and that the
    /// key is still valid. The whole token is compared. Clones of a layer share the cache.
    pub fn token_cache(mut self, max_bytes: usize) -> Self {
        let verifier = &mut self.gate.settings_mut().verifier;
        verifier.set_cache_bytes(max_bytes);
        self
    }

    /// Sets the clock for the times of tokens. Default: the system clock.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.gate.settings_mut().verifier.set_clock(clock.into());
        self
    }

    /// Switches the layer on or off. If it is off, requests pass unchanged, and inner layers find
    /// no caller.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Whether the bearer token in the `Authorization` header is in the token cache and still
    /// valid.
    ///
    /// Neither waits nor changes the request. A rate limit uses it to pass valid tokens from an
    /// address that is over its limit of failures.
    #[must_use]
    pub fn is_cached(&self, headers: &HeaderMap) -> bool {
        let verifier = &self.gate.settings().verifier;
        peek(headers).is_some_and(|token| verifier.is_cached(token))
    }

    /// Verifies a token that did not arrive in a request, such as one from a message queue.
    ///
    /// Decides as the layer decides for a request with this token: if the issuer's keys must be
    /// fetched first, or the token names an unknown key, it waits for the fetch. Dropping the
    /// future cancels no fetch.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use portcullis::{JwtAuthLayer, Reason, TestIssuer};
    ///
    /// let issuer = TestIssuer::start().await?.with_audience("orders-worker");
    /// let auth = JwtAuthLayer::from_issuer(issuer.issuer(), "orders-worker")?;
    ///
    /// let caller = auth.verify(&issuer.token("alice").sign()).await.unwrap();
    /// assert_eq!(caller.subject(), "alice");
    ///
    /// let rejection = auth.verify(&issuer.token("alice").expired().sign()).await.unwrap_err();
    /// assert_eq!(rejection.reason(), Reason::Expired);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The rejection that the layer would return for a request with this token.
    /// [`Reason::KeysUnavailable`] is temporary: try again later. [`Reason::UnknownKey`] may be
    /// temporary if the issuer has just rotated its keys: unknown keys cause at most two fetches per
    /// [`cooldown`](crate::JwksSource::cooldown), so keep a message of a queue for that long.
    pub async fn verify(&self, token: &str) -> Result<Identity, Rejection> {
        let bearer = self.bearer(token)?;
        let mut verified = self.verify_with(&bearer, LookupMode::MayWait);
        if let Err(VerifyError::Wait(waiter)) = verified {
            waiter.await;
            verified = self.verify_with(&bearer, LookupMode::Final);
        }
        verified.map_err(VerifyError::into_rejection)
    }

    /// Verifies a token with the keys that are loaded, without waiting.
    ///
    /// If the keys are due, or the token names an unknown key, a fetch starts in the background, on
    /// the tokio runtime that this is called on. Until it ends, such a token is rejected with
    /// [`Reason::KeysUnavailable`].
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub fn verify_now(&self, token: &str) -> Result<Identity, Rejection> {
        let bearer = self.bearer(token)?;
        let verified = self.verify_with(&bearer, LookupMode::MayWait);
        verified.map_err(VerifyError::into_rejection)
    }

    fn bearer(&self, token: &str) -> Result<Bearer, Rejection> {
        if token.len() > self.gate.settings().verifier.max_token_bytes {
            return Err(Reason::TokenTooLarge.into());
        }
        let authorization = HeaderValue::try_from([Bearer::SCHEME, token].concat());
        Ok(Bearer::new(
            authorization.map_err(|_| Reason::MalformedToken)?,
        ))
    }

    fn verify_with(&self, bearer: &Bearer, mode: LookupMode) -> Result<Identity, VerifyError> {
        let verifier = &self.gate.settings().verifier;
        let (identity, _) = verifier.verify(bearer, None, mode, Reading::now())?;
        Ok(identity)
    }
}

impl Describe for JwtAuthLayer {
    fn describe(&self, entry: &mut Entry) {
        if !self.enabled {
            return;
        }
        let settings = self.gate.settings();
        let optional = if settings.optional {
            ", or no token"
        } else {
            ""
        };
        for issuer in settings.verifier.issuers.iter() {
            let text = format!("tokens of {issuer}{optional}");
            entry.authenticates("jwt", settings.mode, text);
        }
    }
}

impl<S> Layer<S> for JwtAuthLayer {
    type Service = JwtAuth<S>;

    fn layer(&self, inner: S) -> Self::Service {
        JwtAuth::new(self.enabled.then(|| self.gate.clone()), inner)
    }
}
