//! What operators see of the keys. Nothing here comes from a token.

use std::time::Duration;

use super::fetch::FetchError;

/// Whether a refresh brought other keys than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Changed,
    Same,
}

pub(super) fn refreshed(issuer: &str, keys: usize, skipped: usize, change: Change) {
    #[cfg(feature = "tracing")]
    match change {
        Change::Changed => {
            tracing::info!(target: "portcullis", event = "jwks.refreshed", issuer, keys, skipped);
        }
        Change::Same => {
            tracing::debug!(target: "portcullis", event = "jwks.refreshed", issuer, keys, skipped);
        }
    }
    #[cfg(feature = "metrics")]
    {
        fetched(issuer, "ok");
        #[allow(clippy::cast_precision_loss)] // at most 256
        metrics::gauge!("portcullis_jwks_keys", "issuer" => issuer.to_owned()).set(keys as f64);
        age(issuer, Duration::ZERO);
    }
    let _ = (issuer, keys, skipped, change);
}

/// `keys_age` is `None` while there are no keys. Failures are spaced by the backoff, so that this needs no limit of its own.
pub(super) fn failed(issuer: &str, error: &FetchError, keys_age: Option<Duration>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "portcullis", event = "jwks.failed", issuer, error = error.kind());
    #[cfg(feature = "metrics")]
    fetched(issuer, error.kind());
    if let Some(keys_age) = keys_age {
        age(issuer, keys_age);
    }
    let _ = (issuer, error);
}

pub(super) fn age(issuer: &str, age: Duration) {
    #[cfg(feature = "metrics")]
    metrics::gauge!("portcullis_jwks_age_seconds", "issuer" => issuer.to_owned()).set(age);
    let _ = (issuer, age);
}

pub(super) fn unknown_kid(issuer: &str) {
    #[cfg(feature = "metrics")]
    metrics::counter!("portcullis_jwks_unknown_kid_total", "issuer" => issuer.to_owned())
        .increment(1);
    let _ = issuer;
}

#[cfg(feature = "metrics")]
fn fetched(issuer: &str, result: &'static str) {
    metrics::counter!("portcullis_jwks_fetch_total", "issuer" => issuer.to_owned(), "result" => result)
        .increment(1);
}
