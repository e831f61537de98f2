//! The layer, which is its own builder.

use http::{HeaderName, HeaderValue};
use tower::Layer;

use super::issuer::Issuer;
use super::service::{JwtAuth, JwtGate};
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

/// Authenticates every request by its bearer token. See the [module](super).
#[derive(Clone, Debug)]
#[must_use]
pub struct JwtAuthLayer {
    gate: JwtGate,
    enabled: bool,
}

impl JwtAuthLayer {
    /// Accepts the tokens of one issuer that are meant for `audience`.
    ///
    /// The issuer's keys are discovered at the first request (OpenID Connect Discovery, else RFC 8414) and kept fresh
    /// from then on; nothing is fetched here, so a service starts while its identity provider is down.
    ///
    /// # Errors
    ///
    /// If the issuer is no `https` URL (a loopback address may be `http`), or the audience is empty.
    #[cfg(feature = "reqwest")]
    pub fn from_issuer(
        issuer: impl AsRef<str>,
        audience: impl AsRef<str>,
    ) -> Result<Self, ConfigError> {
        let keys = JwksCache::from_issuer(issuer.as_ref())?;
        Self::new([Issuer::new(issuer).audience(audience).with_keys(keys)])
    }

    /// Accepts the tokens of several issuers; a token is checked by the policy of the issuer that it names.
    ///
    /// # Errors
    ///
    /// If there is no issuer, an issuer has no audience, one is named twice, or its algorithms do not fit its keys.
    pub fn new(issuers: impl IntoIterator<Item = Issuer>) -> Result<Self, ConfigError> {
        let verifier = Verifier::new(issuers.into_iter().collect())?;
        Ok(Self {
            gate: JwtGate::new(verifier),
            enabled: true,
        })
    }

    /// Verifies with the keys of `cache`, for issuers that have none of their own.
    ///
    /// # Errors
    ///
    /// If `cache` holds no keys of such an issuer.
    pub fn with_keys(mut self, cache: JwksCache) -> Result<Self, ConfigError> {
        self.gate.settings_mut().verifier.share(cache)?;
        Ok(self)
    }

    /// Lets requests without a token pass as [`Caller::Anonymous`](crate::Caller::Anonymous). A bad token never passes.
    pub fn optional(mut self) -> Self {
        self.gate.settings_mut().optional = true;
        self
    }

    /// Refuses nothing and reports what it would refuse: for trying an issuer's settings on real traffic.
    ///
    /// **Every request passes.** One that would be refused passes as [`Caller::Anonymous`](crate::Caller::Anonymous), never
    /// with what its token claims, and without the token. A layer below that asks for a caller refuses it then; a handler
    /// that asks nobody serves everybody. A misconfiguration is refused still.
    pub fn dangerous_report_authentication(mut self) -> Self {
        self.gate.settings_mut().mode = Mode::Report;
        self
    }

    /// The protection space that challenges name (RFC 9110 section 11.5). The default: `api`.
    ///
    /// # Errors
    ///
    /// If it could not stand between quotes.
    pub fn realm(mut self, realm: &str) -> Result<Self, ConfigError> {
        self.gate.settings_mut().realm = Realm::new(realm)?;
        Ok(self)
    }

    /// Reads tokens from the cookie `name` too.
    ///
    /// Browsers send cookies along with requests that other sites cause. Use a name that starts with `__Host-`, the
    /// attributes `Secure`, `HttpOnly` and `SameSite`, and guard what changes state against forgery
    /// (`tower_http::csrf::CsrfLayer`).
    ///
    /// # Errors
    ///
    /// If it is no name of a cookie (RFC 6265 section 4.1.1).
    pub fn cookie(mut self, name: &str) -> Result<Self, ConfigError> {
        // The names of cookies and of headers are made of the same characters.
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(ConfigError::Setting {
                setting: "cookie",
                problem: "use a name of letters, digits, `-` and `_`, such as `__Host-token`",
            });
        }
        self.gate.settings_mut().sources.cookie = Some(name.into());
        Ok(self)
    }

    /// Reads tokens from the header `name` too, as its whole value.
    ///
    /// # Errors
    ///
    /// If it is no name of a header, or one that has a meaning of its own.
    pub fn header(mut self, name: &str) -> Result<Self, ConfigError> {
        let taken = ["authorization", "cookie", "host", "sec-websocket-protocol"];
        let problem = |problem| ConfigError::Header {
            name: name.to_owned(),
            problem,
        };
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| problem("use the name of a header, such as `x-access-token`"))?;
        if taken.contains(&header.as_str()) {
            return Err(problem("it has a meaning of its own; name another"));
        }
        self.gate.settings_mut().sources.header = Some(header);
        Ok(self)
    }

    /// Reads tokens from `Sec-WebSocket-Protocol: bearer, <token>` too, which is the only header that a browser lets
    /// a page set on a WebSocket. The announcement is echoed when the connection is upgraded.
    pub fn websocket_protocol(mut self) -> Self {
        self.gate.settings_mut().sources.websocket_protocol = true;
        self
    }

    /// Reads tokens from the query parameter `name` too, `access_token` for example.
    ///
    /// Whoever writes URLs down, as every proxy, browser and access log on the way does, writes down the token. RFC 9700
    /// section 4.3.2 forbids it. The parameter is taken out before the layers below see the URL.
    ///
    /// # Errors
    ///
    /// If the name holds what would have to be escaped.
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

    /// Lets true CORS preflights pass without a token, as [`Caller::Anonymous`](crate::Caller::Anonymous): OPTIONS with
    /// `Origin` and `Access-Control-Request-Method`, into which browsers put no credentials.
    ///
    /// A CORS layer outside of this one answers them itself and makes this unnecessary.
    pub fn pass_cors_preflight(mut self) -> Self {
        self.gate.settings_mut().passes_preflight = true;
        self
    }

    /// Refuses tokens that were revoked, remembered ones too: see [`revoke`](crate::revoke).
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.gate.settings_mut().verifier.revocations = Some(revocations);
        self
    }

    /// Remembers verified tokens in at most so many bytes: 64 MiB by default, none for 0.
    ///
    /// A token that comes again is compared whole and its signature is not verified again. Its times, and whether its key is still
    /// in force, are checked each time. Clones of a layer remember together.
    pub fn token_cache(mut self, max_bytes: usize) -> Self {
        self.gate.settings_mut().verifier.remember_in(max_bytes);
        self
    }

    /// Judges the times in a token by this clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.gate.settings_mut().verifier.set_clock(clock);
        self
    }

    /// Switched off, it lets every request pass untouched, and layers below find no caller.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Verifies a token that did not arrive in a request, such as one from a message queue.
    ///
    /// Decides as the layer decides for a request with this token: if the issuer's keys must be fetched first, or the
    /// token names an unknown key, it waits for the fetch. Dropping the future cancels no fetch.
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
    /// The rejection that the layer answers a request with this token with. [`Reason::KeysUnavailable`] is temporary:
    /// try the token again later.
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
    /// If the keys are due, or the token names an unknown key, a fetch starts in the background, on the tokio runtime
    /// that this is called on. Until it ends, such a token is rejected with [`Reason::KeysUnavailable`].
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
        let verified = verifier.verify(bearer, None, mode, Reading::now());
        Ok(verified?.identity)
    }
}

impl Describe for JwtAuthLayer {
    fn describe(&self, entry: &mut Entry) {
        if !self.enabled {
            return;
        }
        let settings = self.gate.settings();
        let optional = if settings.optional { ", or nobody" } else { "" };
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
