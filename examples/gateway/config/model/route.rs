//! A route: the service behind a path, and who may ask it.

use std::time::Duration;

use axum::http::{Method, Uri};
use portcullis::{Mode, Rule, Rules};

use super::{ClaimPlace, File, Limit, Place};

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
    /// No two have the same name. On a public route none counts callers.
    pub(crate) rate_limits: Vec<RateLimit>,
    /// Never `Forward` on a public route.
    pub(crate) propagate: Propagate,
    /// Of authorization and limits. Authentication always decides.
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
        require: Option<Rule>,
        /// Replaces `require` for a method.
        require_for: Vec<(Method, Rule)>,
    },
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LimitKey {
    Subject,
    Client,
    Address,
    /// Everybody together.
    Route,
    /// Those whose token has the same value there, such as a tenant.
    Claim(ClaimPlace),
}

/// How much a limit admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// The same for everybody.
    Fixed(Limit),
    /// What the plan of the caller's consumer says, and this for callers without one; `None` does not limit them. The
    /// key is a caller's.
    Plan(Option<Limit>),
}

/// What becomes of the caller's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagate {
    /// The upstream never sees it.
    None,
    /// The upstream is sent it.
    Forward,
}

// === impl Access ===

impl Access {
    /// What a caller must have, by method; `None` where nobody is asked who he is.
    pub(crate) fn rules(&self) -> Option<Rules> {
        let Self::Verified {
            require,
            require_for,
        } = self
        else {
            return None;
        };
        let all = require.clone().unwrap_or_else(Rule::verified);
        let own = require_for.iter().cloned();
        Some(own.fold(Rules::from(all), |rules, (method, rule)| {
            rules.method(method, rule)
        }))
    }
}

// === impl LimitKey ===

impl LimitKey {
    /// Those that are one word.
    pub(crate) const WORDS: [(&str, Self); 4] = [
        ("subject", Self::Subject),
        ("client", Self::Client),
        ("address", Self::Address),
        ("route", Self::Route),
    ];

    /// Whether it takes a verified caller to count.
    pub(crate) const fn is_callers(&self) -> bool {
        matches!(self, Self::Subject | Self::Client | Self::Claim(_))
    }
}

// === impl Propagate ===

impl Propagate {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Forward => "forward",
        }
    }
}
