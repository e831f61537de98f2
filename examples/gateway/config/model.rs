//! The configuration as the gateway uses it: defaults filled in, values checked, files read.

mod issuer;
mod route;
mod store;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderName;
pub(crate) use portcullis::Mode;
use portcullis::Quota;
use portcullis::client_address::TrustedProxies;
use portcullis::propagate::IdentityField;

use super::problems::Problem;
pub(crate) use issuer::{ClaimPlace, IssuerSettings, JwksSettings, KeySource};
pub(crate) use route::{
    Access, Allowance, ConsumerFilter, LimitKey, Propagate, RateLimit, Route, UpstreamHost,
};
pub(crate) use store::{OnError, RateLimitStore, RedisSettings, StoreMode};

/// A complete configuration.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    /// The address of the public listener.
    pub(crate) listen: SocketAddr,
    /// The address of the admin listener; `None` if there is none.
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Proxies whose `X-Forwarded-For` and `Forwarded` are trusted.
    pub(crate) trusted_proxies: TrustedProxies,
    /// The realm in challenges.
    pub(crate) realm: String,
    /// The default of [`Route::timeout`], which is already filled in there.
    pub(crate) request_timeout: Duration,
    /// The maximum size of a request body in bytes.
    pub(crate) max_body: u64,
    /// A log level, or directives of `tracing_subscriber::EnvFilter`.
    pub(crate) log: String,
    /// How protected routes handle a CORS preflight.
    pub(crate) cors_preflight: CorsPreflight,
    /// The size of the token cache in bytes; 0 disables it.
    pub(crate) token_cache: u64,
    /// `None` for plain HTTP.
    pub(crate) tls: Option<Tls>,
    /// Accepted issuers, with unique names.
    pub(crate) issuers: Vec<IssuerSettings>,
    /// Sources of tokens besides the `Authorization` header.
    pub(crate) token_sources: TokenSources,
    /// Identity headers for upstreams, sorted by name. If empty, no header is removed or set.
    pub(crate) identity_headers: Vec<IdentityHeader>,
    /// Named applications. Names are unique, and no two match the same callers.
    pub(crate) consumers: Vec<Consumer>,
    /// Limits by name. Contains every plan that a consumer refers to.
    pub(crate) plans: BTreeMap<String, Limit>,
    /// Where limits are counted.
    pub(crate) rate_limit_store: RateLimitStore,
    /// The limit of rejected tokens per address; `None` disables it.
    pub(crate) failed_auth_limit: Option<Limit>,
    /// The revocation store; `None` disables revocation.
    pub(crate) revocation: Option<RevocationStore>,
    /// In the order of the file. No two routes overlap.
    pub(crate) routes: Vec<Route>,
    /// Valid but suspicious settings.
    pub(crate) warnings: Vec<Problem>,
}

/// The place of a value. Displays as `gateway.toml:12`, `gateway.toml`, or the name of an
/// environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The whole file.
    File(Arc<str>),
    /// A line of the file, counted from 1.
    Line { file: Arc<str>, line: usize },
    /// An environment variable.
    Variable(Arc<str>),
}

/// The path and content of a file that the configuration names.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Absolute, or relative to the working directory, not to the configuration file.
    pub(crate) path: PathBuf,
    /// Redacted in output, because it may be secret.
    pub(crate) content: Vec<u8>,
}

/// How protected routes handle OPTIONS with `Origin` and `Access-Control-Request-Method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CorsPreflight {
    /// Requires a token, as for any other request.
    Authenticate,
    /// Forwards the preflight without a token.
    Pass,
}

/// The gateway's certificate. All files are reloaded when they change.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) place: Place,
    /// The certificate chain, in PEM.
    pub(crate) cert: File,
    /// The private key, in PEM.
    pub(crate) key: File,
    /// Authorities for client certificates, in PEM; `None` if clients need no certificate.
    pub(crate) client_ca: Option<File>,
}

/// Sources of tokens besides the `Authorization` header.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenSources {
    /// The name of a cookie.
    pub(crate) cookie: Option<String>,
    /// `bearer, <token>` in `Sec-WebSocket-Protocol`.
    pub(crate) websocket_protocol: bool,
}

/// An identity header for upstreams. Clients cannot set it.
#[derive(Clone, Debug)]
pub(crate) struct IdentityHeader {
    pub(crate) place: Place,
    /// A name that `IdentityHeadersLayer::header` accepts.
    pub(crate) name: HeaderName,
    pub(crate) value: IdentityValue,
}

/// The value of an identity header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdentityValue {
    /// `sub`.
    Subject,
    /// `iss`.
    Issuer,
    /// `client`.
    Client,
    /// `roles`.
    Roles,
    /// `scope`.
    Scopes,
    /// `permissions`.
    Permissions,
    /// Any other name, or a path: a claim.
    Claim(ClaimPlace),
    /// `consumer`: the name of the [`Consumer`]. The library does not know consumers.
    Consumer,
}

/// A named application.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    pub(crate) place: Place,
    /// Visible ASCII without commas, because it may be sent in a header.
    pub(crate) name: String,
    pub(crate) callers: Callers,
    /// A name in [`Configuration::plans`].
    pub(crate) plan: Option<String>,
}

/// The callers that belong to a consumer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Callers {
    /// Callers whose token was issued to this client.
    Client(String),
    /// The caller with this subject.
    Subject(String),
}

/// A rate and a burst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) requests: NonZeroU32,
    /// Not zero.
    pub(crate) per: Duration,
    pub(crate) burst: NonZeroU32,
}

/// The revocation store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RevocationStore {
    /// In this process only.
    Memory,
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::File(name) | Self::Variable(name) => f.write_str(name),
        }
    }
}

// === impl File ===

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

// === impl IdentityValue ===

impl IdentityValue {
    /// The library's equivalent; `None` for the consumer's name.
    pub(crate) fn field(&self) -> Option<IdentityField> {
        Some(match self {
            Self::Subject => IdentityField::Subject,
            Self::Issuer => IdentityField::Issuer,
            Self::Client => IdentityField::Client,
            Self::Roles => IdentityField::Roles,
            Self::Scopes => IdentityField::Scopes,
            Self::Permissions => IdentityField::Permissions,
            Self::Claim(place) => IdentityField::Claim(place.path()),
            Self::Consumer => return None,
        })
    }
}

// === impl Limit ===

impl Limit {
    /// The library's equivalent.
    pub(crate) fn quota(&self) -> Quota {
        Quota::per(self.requests.get(), self.per).burst(self.burst.get())
    }
}
