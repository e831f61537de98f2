//! A route: a path, its upstream service, and its access rules.

use std::time::Duration;

use axum::http::{Method, Uri};
use portcullis::{Mode, Rule, Rules};

use super::{ClaimPlace, File, Limit, Place};

/// A path and everything below it, its upstream service, and its access rules.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) place: Place,
    /// Starts with `/`. Ends with `/` only if it is the root.
    pub(crate) path: String,
    /// Lower case, without a port; `None` for any host.
    pub(crate) host: Option<String>,
    /// `None` for all methods; never empty.
    pub(crate) methods: Option<Vec<Method>>,
    /// `http` or `https`, a host, an optional port, and no path except `/`.
    pub(crate) upstream: Uri,
    /// The trust anchor for `https`, in PEM; `None` for the system's.
    pub(crate) upstream_ca: Option<File>,
    pub(crate) upstream_host: UpstreamHost,
    pub(crate) timeout: Duration,
    pub(crate) access: Access,
    pub(crate) consumers: ConsumerFilter,
    /// Names are unique. On a public route no limit counts callers.
    pub(crate) rate_limits: Vec<RateLimit>,
    /// Never `Forward` on a public route.
    pub(crate) propagate: Propagate,
    /// The mode of authorization and limits. Authentication is always enforced.
    pub(crate) mode: Mode,
}

/// Which `Host` the upstream receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamHost {
    /// The upstream's own.
    Upstream,
    /// The client's.
    Client,
}

/// The access rules of a route.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// Everyone. Tokens are not verified.
    Public,
    /// Verified callers.
    Verified {
        /// `None` admits any verified caller.
        require: Option<Rule>,
        /// Replaces `require` for a method.
        require_for: Vec<(Method, Rule)>,
    },
}

/// The consumers that may use a route, by name. All are in [`Configuration::consumers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConsumerFilter {
    /// Any caller, with or without a consumer.
    Any,
    /// These consumers only.
    Allow(Vec<String>),
    /// Any caller except these consumers.
    Deny(Vec<String>),
}

/// A rate limit of a route.
#[derive(Clone, Debug)]
pub(crate) struct RateLimit {
    pub(crate) place: Place,
    /// A name that `RateLimitLayer::named` accepts.
    pub(crate) name: String,
    pub(crate) key: LimitKey,
    pub(crate) allowance: Allowance,
}

/// What a limit counts by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LimitKey {
    Subject,
    Client,
    Address,
    /// All requests of the route together.
    Route,
    /// Callers with the same value of a claim, such as a tenant.
    Claim(ClaimPlace),
}

/// How much a limit admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// The same for every caller.
    Fixed(Limit),
    /// The plan of the caller's consumer, and this limit for callers without one (`None`:
    /// unlimited). The key must identify a caller.
    Plan(Option<Limit>),
}

/// What happens to the caller's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagate {
    /// The upstream does not receive it.
    None,
    /// The upstream receives it.
    Forward,
}

// === impl Access ===

impl Access {
    /// The rules per method; `None` on public routes.
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
    /// Keys that are one word.
    pub(crate) const WORDS: [(&str, Self); 4] = [
        ("subject", Self::Subject),
        ("client", Self::Client),
        ("address", Self::Address),
        ("route", Self::Route),
    ];

    /// Whether counting needs a verified caller.
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
