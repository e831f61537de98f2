//! What a layer decided about a request, and its metrics.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Extensions, HeaderMap, Method, Request, Uri};

use super::metric::{self, Counter, Histogram, Label};
use super::names;
use crate::client_address::ClientAddress;
use crate::clock::Reading;
use crate::decision::{DecisionLog, DecisionRecord, Mode};
use crate::identity::Identity;
use crate::protocol::Protocol;
use crate::rejection::{Reason, Rejection};
use crate::route::{self, RouteTemplate};
use crate::stage::Stage;

/// How a layer describes its decision.
pub(crate) struct Description<'a> {
    /// The configured name of the layer.
    pub(crate) policy: &'a str,
    /// The word of a [`Mode`], `optional` for authentication, `headers` or `off` for propagation.
    pub(crate) mode: &'static str,
    /// The authorization rule, as text.
    pub(crate) rule: Option<&'a str>,
    /// For rate limits: where the answer comes from.
    pub(crate) source: &'static str,
    /// Whether the caller in the request's extensions took part in the decision.
    pub(crate) has_caller: bool,
    /// The metrics of requests that are admitted as this one is.
    pub(crate) metrics: Option<&'a CachedMetrics>,
}

/// One decision of one stage.
pub(super) struct Decision<'a> {
    pub(super) stage: Stage,
    pub(super) identity: Option<&'a Identity>,
    pub(super) rejection: Option<&'a Rejection>,
    pub(super) description: Description<'a>,
}

/// The parts of a request that events name.
#[derive(Clone, Copy)]
pub(crate) struct RequestView<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) extensions: &'a Extensions,
}

/// A counter and a histogram for one kind of outcome, looked up at their first use.
///
/// They stay bound to the recorder that is installed then, so the recorder must be installed
/// before the first request.
#[derive(Clone, Debug, Default)]
pub(crate) struct CachedMetrics {
    /// The configured name of the issuer: a pattern for tenants, never the `iss` of a token.
    issuer: Option<Arc<str>>,
    counter: OnceLock<Counter>,
    seconds: OnceLock<Histogram>,
}

/// Measures the duration of a decision.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch {
    started: Option<Reading>,
    /// Whether the request has a [`DecisionLog`].
    pub(super) logged: bool,
}

// === impl Decision ===

impl Decision<'_> {
    pub(super) fn reason(&self) -> Option<Reason> {
        self.rejection.map(Rejection::reason)
    }

    /// Whether the request is not passed on.
    pub(super) fn is_rejected(&self) -> bool {
        self.rejection.is_some() && !self.would_reject()
    }

    /// Whether the request passes only because the layer reports instead of enforcing.
    fn would_reject(&self) -> bool {
        self.description.mode == Mode::Report.as_str()
            && self
                .reason()
                .is_some_and(|reason| reason != Reason::NotConfigured)
    }

    pub(super) fn event(&self) -> &'static str {
        use names::event::*;
        let [rejected, would_reject, known, anonymous] = match self.stage {
            Stage::Authentication => [AUTH_FAILURE, AUTH_WOULD_FAIL, AUTH_SUCCESS, AUTH_ANONYMOUS],
            Stage::RateLimit => [
                RATELIMIT_LIMITED,
                RATELIMIT_WOULD_LIMIT,
                RATELIMIT_ADMITTED,
                RATELIMIT_ADMITTED,
            ],
            Stage::Propagation => [
                PROPAGATION_REFUSED,
                PROPAGATION_REFUSED,
                PROPAGATION_SENT,
                PROPAGATION_ANONYMOUS,
            ],
            _ => [AUTHZ_DENIED, AUTHZ_WOULD_DENY, AUTHZ_ALLOWED, AUTHZ_ALLOWED],
        };
        match (self.rejection, self.identity) {
            (Some(_), _) if self.would_reject() => would_reject,
            (Some(_), _) => rejected,
            (None, Some(_)) => known,
            (None, None) => anonymous,
        }
    }

    /// Whether the token was found in the token cache.
    pub(super) fn is_cached(&self) -> bool {
        self.identity.is_some_and(Identity::is_cached)
    }

    /// What the caller lacked, as text.
    pub(super) fn missing(&self) -> Option<&str> {
        self.rejection?.details()?.missing.as_deref()
    }

    /// The layer in a [`DecisionRecord`]: an extractor decides about authorization.
    fn layer(&self) -> &'static str {
        match self.stage {
            Stage::Extractor => Stage::Authorization.as_str(),
            stage => stage.as_str(),
        }
    }

    #[cold]
    pub(super) fn record(&self, duration: Option<Duration>) -> DecisionRecord {
        DecisionRecord {
            layer: self.layer(),
            event: self.event(),
            reason: self.reason(),
            mode: self.description.mode,
            policy: self.description.policy.into(),
            rule: self.description.rule.map(Into::into),
            missing: self.missing().map(Into::into),
            caller: self.identity.cloned(),
            cached: self.is_cached(),
            duration,
        }
    }
}

// === impl RequestView ===

impl<'a> RequestView<'a> {
    pub(crate) fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// The template of the route, or the method of a gRPC request.
    #[cfg_attr(not(feature = "tracing"), allow(dead_code))]
    pub(super) fn route(&self) -> Option<&'a str> {
        let is_grpc = matches!(Protocol::new(self.method, self.headers), Protocol::Grpc(_));
        let inserted = || {
            self.extensions
                .get::<RouteTemplate>()
                .map(|route| &*route.0)
        };
        let grpc_method = is_grpc.then(|| route::grpc_method(self.uri)).flatten();
        // Below tonic's router, axum's template is `/package.Service/{*rest}`.
        match grpc_method {
            Some(method) => inserted().or(Some(method)),
            None => route::template(self.extensions),
        }
    }

    #[cfg_attr(not(feature = "tracing"), allow(dead_code))]
    pub(super) fn client_address(&self) -> Option<IpAddr> {
        Some(ClientAddress::of(self.extensions)?.ip())
    }

    #[cfg(feature = "axum")]
    pub(crate) fn of_parts(parts: &'a http::request::Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            extensions: &parts.extensions,
        }
    }
}

// === impl CachedMetrics ===

impl CachedMetrics {
    /// Metrics of the callers of an issuer, or of a pattern of issuers.
    pub(crate) fn of_issuer(issuer: &Arc<str>) -> Self {
        Self {
            issuer: Some(Arc::clone(issuer)),
            ..Self::default()
        }
    }

    #[inline]
    pub(super) fn count_again(&self, watch: Stopwatch) -> bool {
        if !metric::ENABLED {
            return true;
        }
        let Some(counter) = self.counter.get() else {
            return false;
        };
        if watch.started.is_some() {
            let Some(seconds) = self.seconds.get() else {
                return false;
            };
            seconds.record(watch.elapsed().unwrap_or_default());
        }
        counter.add(1);
        true
    }
}

// === impl Stopwatch ===

impl Stopwatch {
    /// Starts only if the duration will be read, because reading the clock costs more than some
    /// decisions: `always`, or where the request has a log, or while debug events are read.
    #[inline]
    pub(crate) fn start(always: bool, extensions: &Extensions) -> Self {
        let logged = DecisionLog::of(extensions).is_some();
        Self {
            started: (always || logged || reads_debug_events()).then(Reading::now),
            logged,
        }
    }

    /// The time of the request, for gates that decide by time.
    #[inline]
    pub(crate) fn reading(self) -> Reading {
        self.started.unwrap_or_else(Reading::now)
    }

    pub(super) fn elapsed(self) -> Option<Duration> {
        self.started.map(Reading::elapsed)
    }
}

fn reads_debug_events() -> bool {
    #[cfg(feature = "tracing")]
    return tracing::enabled!(target: "portcullis", tracing::Level::DEBUG);
    #[cfg(not(feature = "tracing"))]
    false
}

// === metrics ===

pub(super) fn count(decision: &Decision<'_>, elapsed: Option<Duration>) {
    if !metric::ENABLED {
        return;
    }
    let elapsed = elapsed.filter(|_| decision.stage == Stage::Authentication);
    match decision
        .description
        .metrics
        .filter(|_| decision.rejection.is_none())
    {
        Some(cached) => {
            cached.counter.get_or_init(|| counter(decision)).add(1);
            if let Some(elapsed) = elapsed {
                let histogram = cached.seconds.get_or_init(|| seconds(decision));
                histogram.record(elapsed);
            }
        }
        None => {
            counter(decision).add(1);
            if let Some(elapsed) = elapsed {
                seconds(decision).record(elapsed);
            }
        }
    }
}

fn counter(decision: &Decision<'_>) -> Counter {
    let reason = Label::Fixed(decision.reason().map_or("", Reason::code));
    let policy = Label::Text(decision.description.policy);
    let verdict = Label::Fixed(verdict(decision));
    match decision.stage {
        Stage::Authentication => {
            let issuer = decision
                .description
                .metrics
                .and_then(|cached| cached.issuer.as_ref());
            names::AUTH_REQUESTS.counter([
                issuer.map_or(Label::Fixed(""), Label::Shared),
                Label::Fixed(auth_result(decision)),
                reason,
                Label::Fixed(decision.description.mode),
            ])
        }
        Stage::RateLimit => {
            let source = Label::Fixed(decision.description.source);
            names::RATELIMIT_DECISIONS.counter([policy, verdict, source])
        }
        Stage::Propagation => {
            let result = match decision.rejection {
                Some(_) => "refused",
                None if decision.identity.is_some() => "sent",
                None => "anonymous",
            };
            let mode = Label::Fixed(decision.description.mode);
            names::PROPAGATION.counter([mode, Label::Fixed(result), reason])
        }
        _ => names::AUTHZ_DECISIONS.counter([policy, verdict]),
    }
}

fn verdict(decision: &Decision<'_>) -> &'static str {
    match decision.rejection {
        None => "allow",
        Some(_) if decision.would_reject() => "would_deny",
        Some(_) => "deny",
    }
}

fn auth_result(decision: &Decision<'_>) -> &'static str {
    match decision.reason() {
        None if decision.identity.is_some() => "ok",
        None | Some(Reason::MissingToken) => "missing",
        Some(reason) if reason.status().is_server_error() => "unavailable",
        Some(_) => "invalid",
    }
}

fn seconds(decision: &Decision<'_>) -> Histogram {
    let cached = if decision.is_cached() {
        "true"
    } else {
        "false"
    };
    names::AUTH_DURATION.histogram([Label::Fixed(cached)])
}
