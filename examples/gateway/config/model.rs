//! The configuration as the gateway uses it: every default filled in, every value checked, every file read.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, Method, Uri};
use ipnet::IpNet;
use portcullis::propagate::IdentityField;
use portcullis::{Algorithm, ClaimPath, Quota, Rule};

use super::secrets::Secret;

/// Everything that a configuration file says.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    /// Where requests come in.
    pub(crate) listen: SocketAddr,
    /// Where operators ask; `None` without such a listener.
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Whose `X-Forwarded-For` and `Forwarded` are believed.
    pub(crate) trusted_proxies: Vec<IpNet>,
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
    /// In the order of the file. No two overlap.
    pub(crate) routes: Vec<Route>,
}

/// Where a value was given. It shows as `gateway.toml:12`, or as the name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
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

/// The gateway's own certificate. Watch the paths: both are reloaded when they change.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) place: Place,
    /// A certificate chain in PEM.
    pub(crate) cert: File,
    /// Its private key in PEM.
    pub(crate) key: File,
}

/// An issuer, and what its tokens must be like.
#[derive(Clone, Debug)]
pub(crate) struct IssuerSettings {
    pub(crate) place: Place,
    /// Compared exactly with `iss`.
    pub(crate) issuer: String,
    pub(crate) keys: KeySource,
    /// The trust anchor, in PEM, for the places that keys are fetched from; `None` for the system's.
    pub(crate) ca: Option<File>,
    /// At least one.
    pub(crate) audiences: Vec<String>,
    /// At least one; HMAC exactly where the key is a secret.
    pub(crate) algorithms: Vec<Algorithm>,
    /// Accepted `typ`; the empty name allows its absence.
    pub(crate) token_types: Vec<String>,
    pub(crate) required_claims: Vec<String>,
    pub(crate) leeway: Duration,
    pub(crate) max_token_bytes: usize,
    pub(crate) subject_claim: ClaimPlace,
    pub(crate) roles_claim: ClaimPlace,
    pub(crate) permissions_claim: ClaimPlace,
    /// How fetched keys are kept.
    pub(crate) jwks: JwksSettings,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub(crate) enum KeySource {
    /// The issuer's metadata says where.
    Discovery,
    /// A key set behind a URL.
    JwksUri(String),
    /// A key set in a file, as JSON. It parses.
    JwksFile(File),
    /// One public key, as PEM. It parses.
    PublicKeyFile(File),
    /// An HMAC secret of 32 bytes or more.
    Secret(Secret),
}

/// How fetched keys are kept.
#[derive(Clone, Debug)]
pub(crate) struct JwksSettings {
    pub(crate) default_ttl: Duration,
    pub(crate) min_ttl: Duration,
    pub(crate) max_ttl: Duration,
    pub(crate) cooldown: Duration,
    pub(crate) timeout: Duration,
    pub(crate) max_stale: Duration,
}

/// Where a claim stands: one name, or the names that lead to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimPlace(pub(crate) Vec<String>);

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

/// Where limits are counted. Only memory is supported yet; the other settings are read and checked, and change nothing.
#[derive(Clone, Debug)]
pub(crate) struct RateLimitStore {
    pub(crate) kind: StoreKind,
    /// May hold a password.
    pub(crate) url: Secret,
    pub(crate) mode: StoreMode,
    pub(crate) on_error: OnError,
    pub(crate) expected_nodes: NonZeroU32,
}

/// Which store counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Memory,
}

/// How a shared store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreMode {
    Exact,
    Leased,
}

/// What decides while a shared store is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    Local,
    Open,
    Closed,
}

/// A path and everything below it, the service that answers there, and who may ask it.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) place: Place,
    /// Starts with `/`; ends with it only if that is all.
    pub(crate) path: String,
    /// In lower case, without a port; `None` for any.
    pub(crate) host: Option<String>,
    /// `None` for all; never empty.
    pub(crate) methods: Option<Vec<Method>>,
    /// `http` or `https`, a host, perhaps a port, and no path but `/`.
    pub(crate) upstream: Uri,
    /// The trust anchor for `https`, in PEM; `None` for the system's.
    pub(crate) upstream_ca: Option<File>,
    pub(crate) upstream_host: UpstreamHost,
    pub(crate) timeout: Duration,
    pub(crate) access: Access,
    pub(crate) consumers: ConsumerFilter,
    /// No two have the same name. On a public route all count addresses.
    pub(crate) rate_limits: Vec<RateLimit>,
    /// Never `Forward` on a public route.
    pub(crate) propagate: Propagate,
    pub(crate) mode: Mode,
}

/// Which `Host` the upstream is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamHost {
    /// Its own.
    Upstream,
    /// The client's.
    Client,
}

/// Who may pass.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// Everybody; no token is looked at.
    Public,
    /// Verified callers.
    Verified {
        /// `None` for any of them.
        require: Option<Requirement>,
        /// Replaces `require` for a method.
        require_for: Vec<(Method, Requirement)>,
    },
}

/// What a caller must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Requirement {
    Role(String),
    Scope(String),
    Permission(String),
    /// Never empty.
    Any(Vec<Requirement>),
    /// Never empty.
    All(Vec<Requirement>),
}

/// Which consumers may pass, by name. All names are in [`Configuration::consumers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConsumerFilter {
    /// Any caller, of a consumer or not.
    Any,
    /// Only these.
    Allow(Vec<String>),
    /// Any caller but these.
    Deny(Vec<String>),
}

/// A limit of one route.
#[derive(Clone, Debug)]
pub(crate) struct RateLimit {
    pub(crate) place: Place,
    /// One that `RateLimitLayer::named` accepts.
    pub(crate) name: String,
    pub(crate) key: LimitKey,
    pub(crate) allowance: Allowance,
}

/// Whom a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitKey {
    Subject,
    Client,
    Address,
}

/// How much a limit admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// The same for everybody.
    Fixed(Limit),
    /// What the plan of the caller's consumer says; no limit without one. The key is never the address.
    Plan,
}

/// What becomes of the caller's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagate {
    /// The upstream never sees it.
    None,
    /// The upstream is sent it.
    Forward,
}

/// Whether authorization and limits decide. Authentication always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Enforce,
    /// They decide, log and count, and let through.
    Report,
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

// === impl File ===

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

// === impl ClaimPlace ===

impl ClaimPlace {
    /// The same for the library.
    pub(crate) fn path(&self) -> ClaimPath {
        let names: Vec<&str> = self.0.iter().map(String::as_str).collect();
        ClaimPath::from(names.as_slice())
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

// === impl Access ===

impl Access {
    /// What a caller must have for a method; `None` where nothing is asked.
    pub(crate) fn rule(&self, method: &Method) -> Option<Rule> {
        let Self::Verified {
            require,
            require_for,
        } = self
        else {
            return None;
        };
        let own = require_for.iter().find(|(own, _)| own == method);
        let requirement = own.map(|(_, own)| own).or(require.as_ref());
        requirement.map(Requirement::rule)
    }
}

// === impl Requirement ===

impl Requirement {
    /// The same for the library.
    pub(crate) fn rule(&self) -> Rule {
        match self {
            Self::Role(name) => Rule::role(name),
            Self::Scope(name) => Rule::scope(name),
            Self::Permission(name) => Rule::permission(name),
            Self::Any(list) => Rule::any(list.iter().map(Self::rule)),
            Self::All(list) => Rule::all(list.iter().map(Self::rule)),
        }
    }
}
