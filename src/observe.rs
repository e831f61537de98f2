//! One event and one set of metrics per decision, whatever the layer.

#[cfg(feature = "metrics")]
mod count;
#[cfg(feature = "tracing")]
mod event;

use std::time::Duration;

use http::{Extensions, Method};

use crate::clock::Reading;
use crate::decision::{DecisionLog, DecisionRecord, Mode};
use crate::identity::Identity;
use crate::rejection::{Reason, Rejection};

/// Which layer decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Authentication,
    Authorization,
    RateLimit {
        /// Where the answer comes from.
        source: &'static str,
    },
    Propagation,
}

/// What a layer decided about one request, as events and metrics tell it.
#[cfg_attr(not(all(feature = "tracing", feature = "metrics")), allow(dead_code))]
pub(crate) struct Decision<'a> {
    pub(crate) stage: Stage,
    /// The layer's name, as configured.
    pub(crate) policy: &'a str,
    /// The name of a [`Mode`]; `optional` for authentication, what is passed on for propagation.
    pub(crate) mode: &'static str,
    /// The rule that was asked, in words.
    pub(crate) rule: Option<&'a str>,
    pub(crate) identity: Option<&'a Identity>,
    pub(crate) rejection: Option<&'a Rejection>,
    /// The counter of the outcome that happens most often.
    pub(crate) tally: Option<&'a Tally>,
}

/// A counter, and a histogram where the decision is timed, that are looked up once, for one kind of outcome.
///
/// It binds to the recorder that is installed at its first use, so install the recorder before the first request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// As it was configured, which for a tenant is not what the token says.
    #[cfg(feature = "metrics")]
    issuer: Option<std::sync::Arc<str>>,
    #[cfg(feature = "metrics")]
    counter: std::sync::OnceLock<metrics::Counter>,
    #[cfg(feature = "metrics")]
    seconds: std::sync::OnceLock<metrics::Histogram>,
}

/// Measures what a decision took.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch {
    started: Option<Reading>,
    /// Whether somebody keeps a log of this request.
    logged: bool,
}

// === impl Decision ===

impl Decision<'_> {
    fn reason(&self) -> Option<Reason> {
        self.rejection.map(Rejection::reason)
    }

    /// Whether the request was refused in earnest.
    fn is_refused(&self) -> bool {
        self.rejection.is_some() && !self.would_refuse()
    }

    /// Whether the request passes although there is a reason against it.
    fn would_refuse(&self) -> bool {
        self.mode == Mode::Report.as_str()
            && self
                .reason()
                .is_some_and(|reason| reason != Reason::NotConfigured)
    }

    fn event(&self) -> &'static str {
        let known = self.identity.is_some();
        match self.stage {
            Stage::Authentication if self.is_refused() => "auth.failure",
            Stage::Authentication if self.would_refuse() => "auth.would_fail",
            Stage::Authentication if known => "auth.success",
            Stage::Authentication => "auth.anonymous",
            Stage::Authorization if self.is_refused() => "authz.denied",
            Stage::Authorization if self.would_refuse() => "authz.would_deny",
            Stage::Authorization => "authz.allowed",
            Stage::RateLimit { .. } if self.is_refused() => "ratelimit.limited",
            Stage::RateLimit { .. } if self.would_refuse() => "ratelimit.would_limit",
            Stage::RateLimit { .. } => "ratelimit.admitted",
            Stage::Propagation if self.is_refused() => "propagation.refused",
            Stage::Propagation if known => "propagation.sent",
            Stage::Propagation => "propagation.anonymous",
        }
    }

    /// Whether the caller's token was remembered.
    fn is_cached(&self) -> bool {
        self.identity.is_some_and(Identity::is_cached)
    }

    /// What the caller lacked, in words.
    fn missing(&self) -> Option<&str> {
        self.rejection?.details()?.missing.as_deref()
    }

    #[cold]
    fn record(&self, duration: Option<Duration>) -> DecisionRecord {
        DecisionRecord {
            layer: self.stage.name(),
            event: self.event(),
            reason: self.reason(),
            mode: self.mode,
            policy: self.policy.into(),
            rule: self.rule.map(Into::into),
            missing: self.missing().map(Into::into),
            caller: self.identity.cloned(),
            cached: self.is_cached(),
            duration,
        }
    }
}

// === impl Tally ===

impl Tally {
    /// Counts the callers of an issuer, or of a pattern of issuers.
    pub(crate) fn of_issuer(issuer: &std::sync::Arc<str>) -> Self {
        #[cfg(feature = "metrics")]
        return Self {
            issuer: Some(std::sync::Arc::clone(issuer)),
            ..Self::default()
        };
        #[cfg(not(feature = "metrics"))]
        {
            let _ = issuer;
            Self::default()
        }
    }

    /// Counts one more like those before it. Says whether it did: the first of its kind has to be described.
    fn count_again(&self, watch: Stopwatch) -> bool {
        #[cfg(feature = "metrics")]
        {
            let Some(counter) = self.counter.get() else {
                return false;
            };
            if watch.started.is_some() {
                let Some(seconds) = self.seconds.get() else {
                    return false;
                };
                seconds.record(watch.elapsed().unwrap_or_default());
            }
            counter.increment(1);
        }
        let _ = watch;
        true
    }
}

// === impl Stage ===

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Authorization => "authorization",
            Self::RateLimit { .. } => "rate_limit",
            Self::Propagation => "propagation",
        }
    }
}

// === impl Stopwatch ===

impl Stopwatch {
    /// Reading the clock costs more than some of the gates, so only those start it whose duration is always reported, and the
    /// others where somebody keeps a log of this request or reads the events of all.
    pub(crate) fn start(timed: bool, extensions: &Extensions) -> Self {
        let logged = DecisionLog::of(extensions).is_some();
        Self {
            started: (timed || logged || is_told()).then(Reading::now),
            logged,
        }
    }

    /// When the request came, for a gate that decides by the time.
    pub(crate) fn reading(self) -> Reading {
        self.started.unwrap_or_else(Reading::now)
    }

    fn elapsed(self) -> Option<Duration> {
        self.started.map(Reading::elapsed)
    }
}

/// Whether somebody reads the events of decisions that nobody need act on.
fn is_told() -> bool {
    #[cfg(feature = "tracing")]
    return tracing::enabled!(target: "portcullis", tracing::Level::DEBUG);
    #[cfg(not(feature = "tracing"))]
    false
}

/// Counts a request that passed as those before it did, where nobody wants to know more of it. Says whether that was so: if
/// not, it has to be [reported](report).
pub(crate) fn count_again(tally: &Tally, watch: Stopwatch) -> bool {
    #[cfg(feature = "tracing")]
    if tracing::Level::DEBUG <= tracing::level_filters::LevelFilter::current() {
        return false;
    }
    !watch.logged && tally.count_again(watch)
}

/// Reports one decision.
pub(crate) fn report(
    decision: &Decision<'_>,
    method: &Method,
    extensions: &Extensions,
    watch: Stopwatch,
) {
    let elapsed = watch.elapsed();
    #[cfg(feature = "metrics")]
    count::count(decision, elapsed);
    #[cfg(feature = "tracing")]
    event::emit(decision, method, extensions, elapsed);
    if let Some(log) = DecisionLog::of(extensions) {
        log.push(decision.record(elapsed));
    }
    let _ = method;
}

/// A limit of failed authentications by address is put to use, and believes no proxy.
pub(crate) fn no_trusted_proxy() {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        target: "portcullis",
        event = "ratelimit.no_trusted_proxy",
        fix = "failed authentications are counted by the connection's address: if a proxy or load balancer stands in front, name it with trusted_proxies, or its clients lock each other out",
    );
}
