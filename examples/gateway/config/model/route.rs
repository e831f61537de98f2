//! A route: the service behind a path, and who may ask it.

use std::time::Duration;

use axum::http::{Method, Uri};
use portcullis::Rule;

use super::{File, Limit, Place};

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
