//! Events and metrics besides decisions: keys, stores, propagation, caches, revocations.

use std::error::Error;
use std::fmt::Display;
use std::iter::successors;
use std::sync::OnceLock;
use std::time::Duration;

use super::metric::{Counter, Label};
use super::names;

/// An event of this crate; nothing without the feature `tracing`.
#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $($fields:tt)+) => {
        tracing::event!(target: "portcullis", tracing::Level::$level, $($fields)+)
    };
}
#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($($ignored:tt)+) => {
        ()
    };
}
pub(super) use event;

// === keys ===

/// The configured name of the issuer whose keys are meant. The name of a tenant comes from a token
/// and is never reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IssuerLabel<'a> {
    Issuer(&'a str),
    /// One of many issuers behind a pattern, so gauges have no single value to show.
    Tenant {
        pattern: &'a str,
    },
}

/// Whether a refresh changed the key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyChange {
    Changed,
    Same,
}

/// Why keys could not be fetched.
#[derive(Clone, Copy)]
pub(crate) struct FetchFailure<'a> {
    /// The fixed word for the kind of failure.
    pub(crate) kind: &'static str,
    /// `discovery`, `fetch` or `parse`.
    pub(crate) step: &'static str,
    /// The HTTP status of the answer, if that is the failure.
    pub(crate) status: Option<u16>,
    /// The URL of the request, without its query.
    pub(crate) url: Option<&'a str>,
    /// The local cause of a lost connection. Never text that the issuer sent.
    pub(crate) cause: Option<&'a dyn Error>,
    /// Whether the issuer answered that it does not exist, as for an invented tenant.
    pub(crate) is_absence: bool,
}

impl<'a> IssuerLabel<'a> {
    fn name(self) -> &'a str {
        match self {
            Self::Issuer(name) | Self::Tenant { pattern: name } => name,
        }
    }

    /// The label of gauges, which tenants do not have.
    fn of_gauge(self) -> Option<Label<'a>> {
        match self {
            Self::Issuer(name) => Some(Label::Text(name)),
            Self::Tenant { .. } => None,
        }
    }
}

/// A fetch succeeded.
pub(crate) fn jwks_refreshed(
    issuer: IssuerLabel<'_>,
    keys: usize,
    skipped: usize,
    change: KeyChange,
) {
    let name = issuer.name();
    match change {
        KeyChange::Changed => {
            event!(
                INFO,
                event = names::event::JWKS_REFRESHED,
                issuer = name,
                keys,
                skipped
            );
        }
        KeyChange::Same => {
            event!(
                DEBUG,
                event = names::event::JWKS_REFRESHED,
                issuer = name,
                keys,
                skipped
            );
        }
    }
    let _ = skipped;
    count_fetch(name, "ok");
    if let Some(label) = issuer.of_gauge() {
        #[allow(clippy::cast_precision_loss)] // at most 256
        names::JWKS_KEYS.set([label], keys as f64);
    }
    jwks_age(issuer, Duration::ZERO);
}

/// A fetch failed. `keys_age` is `None` while there are no keys. The backoff spaces failures, so
/// events need no further limit.
pub(crate) fn jwks_failed(
    issuer: IssuerLabel<'_>,
    failure: FetchFailure<'_>,
    keys_age: Option<Duration>,
) {
    let name = issuer.name();
    let is_tenant = matches!(issuer, IssuerLabel::Tenant { .. });
    let FetchFailure {
        kind: error,
        step,
        status,
        ..
    } = failure;
    if is_tenant && keys_age.is_none() && failure.is_absence {
        // Clients can invent tenants.
        event!(
            DEBUG,
            event = names::event::JWKS_FAILED,
            issuer = name,
            error,
            step,
            status
        );
    } else {
        // The host and the path of a tenant may come from a token.
        let cause = failure.cause.filter(|_| !is_tenant).map(cause_text);
        let (cause, url) = (cause.as_deref(), failure.url.filter(|_| !is_tenant));
        event!(
            WARN,
            event = names::event::JWKS_FAILED,
            issuer = name,
            error,
            step,
            status,
            url,
            cause
        );
        let _ = (cause, url);
    }
    let _ = (step, status);
    count_fetch(name, error);
    if let Some(age) = keys_age {
        jwks_age(issuer, age);
    }
}

/// A saved key set was restored, or why not.
pub(crate) fn jwks_restored(issuer: &str, keys: Result<usize, &'static str>) {
    match keys {
        Ok(keys) => {
            event!(INFO, event = names::event::JWKS_RESTORED, issuer, keys);
            let _ = keys;
        }
        Err(error) => {
            event!(WARN, event = names::event::JWKS_NOT_RESTORED, issuer, error);
            let _ = error;
        }
    }
    let _ = issuer;
}

pub(crate) fn jwks_age(issuer: IssuerLabel<'_>, age: Duration) {
    if let Some(label) = issuer.of_gauge() {
        names::JWKS_AGE.set([label], age.as_secs_f64());
    }
}

pub(crate) fn jwks_unknown_kid(issuer: IssuerLabel<'_>) {
    let label = Label::Text(issuer.name());
    names::JWKS_UNKNOWN_KID.counter([label]).add(1);
}

fn count_fetch(issuer: &str, result: &'static str) {
    let labels = [Label::Text(issuer), Label::Fixed(result)];
    names::JWKS_FETCH.counter(labels).add(1);
}

/// The chain of causes, outermost first, cut because a certificate error may list many names.
fn cause_text(error: &dyn Error) -> String {
    const MAX_CHARS: usize = 500;
    let causes: Vec<_> = successors(Some(error), |&error| error.source())
        .map(ToString::to_string)
        .collect();
    causes.join(": ").chars().take(MAX_CHARS).collect()
}

// === the token cache ===

/// Counters of the token cache, looked up at their first use.
#[derive(Debug, Default)]
pub(crate) struct TokenCacheMetrics {
    hit: OnceLock<Counter>,
    miss: OnceLock<Counter>,
    evicted: OnceLock<Counter>,
}

impl TokenCacheMetrics {
    pub(crate) fn hit(&self) {
        Self::add(&self.hit, "hit", 1);
    }

    pub(crate) fn miss(&self) {
        Self::add(&self.miss, "miss", 1);
    }

    pub(crate) fn evicted(&self, tokens: u64) {
        if tokens > 0 {
            Self::add(&self.evicted, "evicted", tokens);
        }
    }

    fn add(counter: &OnceLock<Counter>, result: &'static str, times: u64) {
        let register = || names::TOKEN_CACHE.counter([Label::Fixed(result)]);
        counter.get_or_init(register).add(times);
    }
}

// === rate limits ===

/// A limit of failed authentications counts by client address and trusts no proxy.
pub(crate) fn limit_trusts_no_proxy() {
    event!(
        WARN,
        event = names::event::RATELIMIT_NO_TRUSTED_PROXY,
        fix = "failed authentications are counted by the address of the connection: if a proxy or \
               load balancer stands in front, name it with `trusted_proxies`, or clients behind it \
               lock each other out",
    );
}

// === propagation ===

/// Whether a request to another service carries the caller's token. `withheld` is the reason why
/// it does not.
pub(crate) fn propagated(withheld: Option<&'static str>, origin: Option<&dyn Display>) {
    let (event, result) = match withheld {
        None => (names::event::PROPAGATION_SENT, "sent"),
        Some("anonymous") => (names::event::PROPAGATION_WITHHELD, "anonymous"),
        Some(_) => (names::event::PROPAGATION_WITHHELD, "withheld"),
    };
    let reason = withheld
        .filter(|_| result == "withheld")
        .unwrap_or_default();
    let labels = ["forward", result, reason].map(Label::Fixed);
    names::PROPAGATION.counter(labels).add(1);
    event!(
        DEBUG,
        event,
        mode = "forward",
        code = withheld.unwrap_or("sent"),
        origin = origin.map(tracing::field::display),
    );
    let _ = (event, origin);
}

/// A request to an allowed origin was made outside of the scope of a caller.
pub(crate) fn propagation_without_caller() {
    event!(
        WARN,
        event = names::event::PROPAGATION_NO_CALLER,
        fix = "a request to an allowed origin carries no token, because its task has no caller: \
               serve with JwtAuthLayer, and start spawned tasks with with_caller",
    );
}

// === revocations ===

/// A token of `issuer` lives longer than the revocation of a subject or client is kept.
#[allow(unused_variables)] // without events
pub(crate) fn token_outlives_revocations(issuer: &str, lifetime: Duration, max: Duration) {
    event!(
        WARN,
        event = names::event::REVOKE_LIFETIME,
        issuer,
        lifetime = lifetime.as_secs(),
        max = max.as_secs(),
        fix = "raise `Revocations::max_token_lifetime` to the longest life of the issuer's tokens: \
               the revocation of a subject ends before such a token expires",
    );
}

pub(crate) fn revocation_added(kind: &'static str) {
    names::REVOKED.counter([Label::Fixed(kind)]).add(1);
}
