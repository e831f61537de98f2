//! One event, one count and one record in the request's [`DecisionLog`] per decision.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;

use super::decision::{CachedMetrics, Decision, Description, RequestView, Stopwatch, count};
use super::emit::event;
use crate::clock::Clock;
use crate::decision::DecisionLog;
use crate::identity::Caller;
use crate::rejection::{Reason, Rejection};
use crate::stage::Stage;

/// Reports the decision of `stage`. Returns whether the request is rejected: in report mode it is
/// not.
#[inline]
pub(crate) fn report(
    stage: Stage,
    description: Description<'_>,
    rejection: Option<&Rejection>,
    request: RequestView<'_>,
    watch: Stopwatch,
) -> bool {
    if rejection.is_none()
        && description
            .metrics
            .is_some_and(|metrics| count_again(metrics, watch))
    {
        return false;
    }
    report_in_full(stage, description, rejection, request, watch)
}

/// Counts an admitted request, if an earlier one registered `metrics` and no event or log wants the
/// details.
#[inline]
fn count_again(metrics: &CachedMetrics, watch: Stopwatch) -> bool {
    #[cfg(feature = "tracing")]
    if tracing::Level::DEBUG <= tracing::level_filters::LevelFilter::current() {
        return false;
    }
    !watch.logged && metrics.count_again(watch)
}

#[inline(never)]
fn report_in_full(
    stage: Stage,
    description: Description<'_>,
    rejection: Option<&Rejection>,
    request: RequestView<'_>,
    watch: Stopwatch,
) -> bool {
    let caller = description
        .has_caller
        .then(|| Caller::of(request.extensions));
    let decision = Decision {
        stage,
        identity: caller.flatten().and_then(Caller::identity),
        rejection,
        description,
    };
    let elapsed = watch.elapsed();
    count(&decision, elapsed);
    emit(&decision, request, elapsed);
    if let Some(log) = DecisionLog::of(request.extensions) {
        log.push(decision.record(elapsed));
    }
    decision.is_rejected()
}

/// Rejections that repeat for every request until an operator acts. At most one event per second
/// is loud; the others are at DEBUG.
static MISCONFIGURED: LoudOncePerSecond = LoudOncePerSecond(AtomicU64::new(0));
static OUTAGE: LoudOncePerSecond = LoudOncePerSecond(AtomicU64::new(0));

struct LoudOncePerSecond(AtomicU64);

#[allow(unused_variables)]
fn emit(decision: &Decision<'_>, request: RequestView<'_>, elapsed: Option<Duration>) {
    let reason = decision.reason();
    let details = decision.rejection.and_then(Rejection::details);
    // One arm per level, because the level is part of a callsite.
    macro_rules! emit {
        ($level:ident) => {
            event!(
                $level,
                event = decision.event(),
                code = reason.map(Reason::code),
                policy = decision.description.policy,
                rule = decision.description.rule,
                missing = decision.missing(),
                mode = decision.description.mode,
                cached = decision.is_cached(),
                issuer = decision.identity.map(|identity| identity.issuer()),
                kid = decision.identity.and_then(|identity| identity.key_id()),
                user.hash = decision.identity.map(|identity| identity.pseudonym()),
                method = known_method(request.method),
                route = request.route(),
                client.address = request.client_address().map(tracing::field::display),
                duration_us = elapsed.map(|elapsed| elapsed.as_micros() as u64),
                claim = details.and_then(|details| details.claim.as_deref()),
                error = details.and_then(|details| details.error.as_deref()),
                fix = details.and_then(|details| details.fix),
            )
        };
    }
    match reason {
        None => emit!(DEBUG),
        Some(Reason::NotConfigured) if MISCONFIGURED.is_due() => emit!(ERROR),
        Some(reason) if !reason.status().is_server_error() => emit!(INFO),
        Some(reason) if reason != Reason::NotConfigured && OUTAGE.is_due() => emit!(WARN),
        Some(_) => emit!(DEBUG),
    }
}

/// Clients may invent methods of any length; events name the registered ones.
#[cfg_attr(not(feature = "tracing"), allow(dead_code))]
fn known_method(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE"
        | "PATCH" | "QUERY") => known,
        _ => "other",
    }
}

// === impl LoudOncePerSecond ===

impl LoudOncePerSecond {
    fn is_due(&self) -> bool {
        let now = Clock::System.monotonic().as_secs();
        let next = self.0.load(Ordering::Relaxed);
        now >= next
            && self
                .0
                .compare_exchange(next, now + 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}
