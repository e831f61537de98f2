//! What operators see of the store.

use std::time::Duration;

use crate::rate_limit::policy::Policies;

/// A call that was not answered, or with an error.
pub(super) fn failed(policies: &Policies, why: &'static str) {
    #[cfg(feature = "metrics")]
    for policy in policies.iter() {
        let name = policy.name.to_string();
        metrics::counter!("portcullis_ratelimit_store_errors_total", "policy" => name).increment(1);
    }
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "portcullis", event = "ratelimit.store_error", error = why);
    let _ = (policies, why);
}

pub(super) fn down(why: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::gauge!("portcullis_ratelimit_store_up").set(0.0);
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "portcullis", event = "ratelimit.store_down", error = why);
    let _ = why;
}

pub(super) fn up() {
    #[cfg(feature = "metrics")]
    metrics::gauge!("portcullis_ratelimit_store_up").set(1.0);
    #[cfg(feature = "tracing")]
    tracing::info!(target: "portcullis", event = "ratelimit.store_up");
}

/// All the time without the store so far. It is told while it grows: an outage may be long.
pub(super) fn degraded(so_far: Duration) {
    #[cfg(feature = "metrics")]
    metrics::gauge!("portcullis_ratelimit_store_degraded_seconds").set(so_far);
    let _ = so_far;
}
