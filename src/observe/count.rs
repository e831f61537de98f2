//! The metrics of decisions.

use std::time::Duration;

use metrics::{Counter, Histogram, SharedString, counter, histogram};

use super::{Decision, Stage};
use crate::rejection::Reason;

pub(super) fn count(decision: &Decision<'_>, elapsed: Option<Duration>) {
    // The histogram is of authentication alone.
    let elapsed = elapsed.filter(|_| decision.stage == Stage::Authentication);
    match decision.tally.filter(|_| decision.rejection.is_none()) {
        Some(tally) => {
            tally.counter.get_or_init(|| counter(decision)).increment(1);
            if let Some(elapsed) = elapsed {
                let histogram = tally.seconds.get_or_init(|| seconds(decision));
                histogram.record(elapsed);
            }
        }
        None => {
            counter(decision).increment(1);
            if let Some(elapsed) = elapsed {
                seconds(decision).record(elapsed);
            }
        }
    }
}

fn counter(decision: &Decision<'_>) -> Counter {
    let reason = decision.reason();
    let policy = SharedString::from_owned(decision.policy.to_owned());
    match decision.stage {
        Stage::Authentication => {
            let issuer = decision.tally.and_then(|tally| tally.issuer.clone());
            let issuer = issuer.map_or(SharedString::const_str(""), SharedString::from_shared);
            counter!(
                "portcullis_auth_requests_total",
                "issuer" => issuer,
                "result" => result(decision, reason),
                "reason" => reason.map_or("", Reason::code),
                "mode" => decision.mode,
            )
        }
        Stage::Authorization => counter!(
            "portcullis_authz_decisions_total",
            "policy" => policy,
            "decision" => verdict(decision),
        ),
        Stage::RateLimit { source } => counter!(
            "portcullis_ratelimit_decisions_total",
            "policy" => policy,
            "decision" => verdict(decision),
            "source" => source,
        ),
        Stage::Propagation => counter!(
            "portcullis_propagation_total",
            "mode" => decision.mode,
            "result" => match reason {
                Some(_) => "refused",
                None if decision.identity.is_some() => "sent",
                None => "anonymous",
            },
        ),
    }
}

fn verdict(decision: &Decision<'_>) -> &'static str {
    match decision.rejection {
        None => "allow",
        Some(_) if decision.would_refuse() => "would_deny",
        Some(_) => "deny",
    }
}

fn result(decision: &Decision<'_>, reason: Option<Reason>) -> &'static str {
    match reason {
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
    histogram!("portcullis_auth_duration_seconds", "cached" => cached)
}
