//! The configuration as the gateway uses it: every default filled in, every value checked, every file read.

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

/// Everything that a configuration file says.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    /// Where requests come in.
    pub(crate) listen: SocketAddr,
    /// Where operators ask; `None` without such a listener.
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Whose `X-Forwarded-For` and `Forwarded` are believed.
    pub(crate) trusted_proxies: TrustedProxies,
    /// The protection space that challenges name.
    pub(crate) realm: String,
    /// How long a request may take where its route names no time of its own. [`Route::timeout`] has it filled in.
    pub(crate) request_timeout: Duration,
    /// How many bytes the body of a request may have.
    pub(crate) max_body: u64,
    /// What is logged: a level, or directives as `tracing_subscriber::EnvFilter` reads them.
    pub(crate) log: String,
    /// What a true preflight does on protected routes.
    pub(crate) cors_preflight: CorsPreflight,
    /// How many bytes verified tokens are remembered in; 0 for none.
    pub(crate) token_cache: u64,
    /// `None` for plain HTTP.
    pub(crate) tls: Option<Tls>,
    /// Whose tokens are accepted; no two have the same name.
    pub(crate) issuers: Vec<IssuerSettings>,
    /// Where tokens are read besides the `Authorization` header.
    pub(crate) token_sources: TokenSources,
    /// What upstreams are told of the caller, in the order of the names. Empty: nothing is owned, set or removed.
    pub(crate) identity_headers: Vec<IdentityHeader>,
    /// Applications that are known by name; no two have the same name or match the same callers.
    pub(crate) consumers: Vec<Consumer>,
    /// Limits by name. Every name that a consumer gives is here.
    pub(crate) plans: BTreeMap<String, Limit>,
    /// Where limits are counted.
    pub(crate) rate_limit_store: RateLimitStore,
    /// How many invalid tokens an address may send; `None` for any number.
    pub(crate) failed_auth_limit: Option<Limit>,
    /// Where revocations are kept; `None` where tokens are valid until they expire.
    pub(crate) revocation: Option<RevocationStore>,
    /// In the order of the file. No two overlap.
    pub(crate) routes: Vec<Route>,
    /// What may stand, but is hardly meant.
    pub(crate) warnings: Vec<Problem>,
}

/// Where a value was given. It shows as `gateway.toml:12`, `gateway.toml`, or as the name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The file as a whole.
    File(Arc<str>),
    /// A line of the file, counted from 1.
    Line { file: Arc<str>, line: usize },
    /// An environment variable.
    Variable(Arc<str>),
}

/// A file that was there and could be read when the configuration was.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Absolute, or relative to the working directory; no longer to the configuration file.
    pub(crate) path: PathBuf,
    /// May be secret, therefore never shown.
    pub(crate) content: Vec<u8>,
}

/// What OPTIONS with `Origin` and `Access-Control-Request-Method` does on protected routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CorsPreflight {
    /// It needs a token as any other request does.
    Authenticate,
    /// It goes to the upstream without one.
    Pass,
}

/// The gateway's own certificate. Watch the paths: all are reloaded when they change.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) place: Place,
    /// A certificate chain in PEM.
    pub(crate) cert: File,
    /// Its private key in PEM.
    pub(crate) key: File,
    /// Who vouches for clients, in PEM; `None` where they need no certificate.
    pub(crate) client_ca: Option<File>,
}

/// Where tokens are read besides the `Authorization` header.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenSources {
    /// The name of a cookie.
    pub(crate) cookie: Option<String>,
    /// `bearer, <token>` in `Sec-WebSocket-Protocol`.
    pub(crate) websocket_protocol: bool,
}

/// A header that tells upstreams who is calling. No client can set it.
#[derive(Clone, Debug)]
pub(crate) struct IdentityHeader {
    pub(crate) place: Place,
    /// One that `IdentityHeadersLayer::header` accepts.
    pub(crate) name: HeaderName,
    pub(crate) value: IdentityValue,
}

/// What an identity header tells.
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
    /// `consumer`: the name of the [`Consumer`], which the library knows nothing of.
    Consumer,
}

/// An application that is known by name.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    pub(crate) place: Place,
    /// Visible ASCII, no comma: it may stand in a header.
    pub(crate) name: String,
    pub(crate) callers: Callers,
    /// A name in [`Configuration::plans`].
    pub(crate) plan: Option<String>,
}

/// Which callers a consumer is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Callers {
    /// Those whose token was issued to this client.
    Client(String),
    /// The one with this subject.
    Subject(String),
}

/// How many requests, in which time, and how many at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) requests: NonZeroU32,
    /// Not zero.
    pub(crate) per: Duration,
    pub(crate) burst: NonZeroU32,
}

/// Where revocations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RevocationStore {
    /// In this process alone.
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
    /// The same for the library; `None` for the consumer's name.
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
    /// The same for the library.
    pub(crate) fn quota(&self) -> Quota {
        Quota::per(self.requests.get(), self.per).burst(self.burst.get())
    }
}
