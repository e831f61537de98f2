//! Every metric and every event, once.

use super::metric::{Kind, Metric};

macro_rules! metrics_table {
    ($($NAME:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[allow(dead_code)]
        pub(super) static $NAME: Metric<{ <[&str]>::len(&[$($label),*]) }> =
            Metric::new($name, [$($label),*]);)*

        /// Kind, name, labels and description of every metric.
        #[cfg_attr(not(any(test, feature = "metrics")), allow(dead_code))]
        pub(super) const METRICS: &[(Kind, &str, &[&str], &str)] =
            &[$((Kind::$kind, $name, &[$($label),*], $help),)*];
    };
}

macro_rules! events_table {
    ($($NAME:ident: $name:literal;)*) => {
        /// The names of events.
        #[allow(dead_code)]
        pub(super) mod event {
            $(pub(in crate::observe) const $NAME: &str = $name;)*

            #[cfg(test)]
            pub(in crate::observe) const ALL: &[&str] = &[$($name,)*];
        }
    };
}

metrics_table! {
    AUTH_REQUESTS: Counter "portcullis_auth_requests_total" ["issuer", "result", "reason", "mode"]
        "Authentication decisions.";
    AUTH_DURATION: Histogram "portcullis_auth_duration_seconds" ["cached"]
        "Duration of authentication decisions in seconds. A wait for keys is included.";
    TOKEN_CACHE: Counter "portcullis_token_cache_total" ["result"]
        "Lookups in the cache of verified tokens, and evictions from it.";
    JWKS_FETCH: Counter "portcullis_jwks_fetch_total" ["issuer", "result"]
        "Fetches of key sets.";
    JWKS_AGE: Gauge "portcullis_jwks_age_seconds" ["issuer"]
        "Age of the key set in use, in seconds.";
    JWKS_KEYS: Gauge "portcullis_jwks_keys" ["issuer"]
        "Usable keys in the key set in use.";
    JWKS_UNKNOWN_KID: Counter "portcullis_jwks_unknown_kid_total" ["issuer"]
        "Lookups of key IDs that the key set in use does not have.";
    AUTHZ_DECISIONS: Counter "portcullis_authz_decisions_total" ["policy", "decision"]
        "Authorization decisions.";
    RATELIMIT_DECISIONS: Counter "portcullis_ratelimit_decisions_total"
        ["policy", "decision", "source"]
        "Rate limit decisions.";
    RATELIMIT_STORE_ERRORS: Counter "portcullis_ratelimit_store_errors_total" ["policy"]
        "Calls to the shared store that failed or timed out.";
    RATELIMIT_STORE_UP: Gauge "portcullis_ratelimit_store_up" []
        "1 if the shared store is used, 0 while it is bypassed after failures.";
    RATELIMIT_STORE_DEGRADED: Gauge "portcullis_ratelimit_store_degraded_seconds" []
        "Total time without the shared store since the process started, in seconds.";
    PROPAGATION: Counter "portcullis_propagation_total" ["mode", "result", "reason"]
        "Requests to upstream services, by whether they carry the caller's identity.";
    REVOKED: Counter "portcullis_revoked_total" ["kind"]
        "Entries added to the revocation list.";
}

events_table! {
    AUTH_SUCCESS: "auth.success";
    AUTH_ANONYMOUS: "auth.anonymous";
    AUTH_FAILURE: "auth.failure";
    AUTH_WOULD_FAIL: "auth.would_fail";
    AUTHZ_ALLOWED: "authz.allowed";
    AUTHZ_DENIED: "authz.denied";
    AUTHZ_WOULD_DENY: "authz.would_deny";
    RATELIMIT_ADMITTED: "ratelimit.admitted";
    RATELIMIT_LIMITED: "ratelimit.limited";
    RATELIMIT_WOULD_LIMIT: "ratelimit.would_limit";
    RATELIMIT_NO_TRUSTED_PROXY: "ratelimit.no_trusted_proxy";
    RATELIMIT_STORE_ERROR: "ratelimit.store_error";
    RATELIMIT_STORE_DOWN: "ratelimit.store_down";
    RATELIMIT_STORE_UP: "ratelimit.store_up";
    PROPAGATION_SENT: "propagation.sent";
    PROPAGATION_ANONYMOUS: "propagation.anonymous";
    PROPAGATION_WITHHELD: "propagation.withheld";
    PROPAGATION_REFUSED: "propagation.refused";
    PROPAGATION_NO_CALLER: "propagation.no_caller";
    JWKS_REFRESHED: "jwks.refreshed";
    JWKS_FAILED: "jwks.failed";
    JWKS_RESTORED: "jwks.restored";
    JWKS_NOT_RESTORED: "jwks.not_restored";
    REVOKE_LIFETIME: "revoke.lifetime";
}

/// Registers the unit and the description of every metric with the installed recorder.
///
/// Exporters show the description (`# HELP` in Prometheus). Call it once, after the recorder was
/// installed. Without it, the metrics have the same values and no description.
///
/// ```
/// use metrics_exporter_prometheus::PrometheusBuilder;
///
/// let recorder = PrometheusBuilder::new().install_recorder()?;
/// portcullis::describe_metrics();
/// # drop(recorder);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    metrics::with_recorder(|recorder| {
        for (kind, name, _, help) in METRICS {
            let unit = name.ends_with("_seconds").then_some(metrics::Unit::Seconds);
            let (name, help) = ((*name).into(), (*help).into());
            match kind {
                Kind::Counter => recorder.describe_counter(name, unit, help),
                Kind::Gauge => recorder.describe_gauge(name, unit, help),
                Kind::Histogram => recorder.describe_histogram(name, unit, help),
            }
        }
    });
}
