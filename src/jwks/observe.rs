//! What operators see of the keys. Nothing here comes from a token.

#[cfg(feature = "tracing")]
use std::error::Error;
#[cfg(feature = "tracing")]
use std::iter::successors;
use std::time::Duration;

use super::fetch::{Failure, FetchError};
use super::saved::NotRestored;
use super::state::Change;

/// Whose keys, by a name that was configured: that of a tenant comes from a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    Issuer(&'a str),
    /// One of many behind a pattern, so that there is no one number to show.
    Tenant {
        pattern: &'a str,
    },
}

impl<'a> Whose<'a> {
    fn label(self) -> &'a str {
        match self {
            Self::Issuer(label) | Self::Tenant { pattern: label } => label,
        }
    }
}

pub(super) fn refreshed(whose: Whose<'_>, keys: usize, skipped: usize, change: Change) {
    let issuer = whose.label();
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
        if let Whose::Issuer(issuer) = whose {
            #[allow(clippy::cast_precision_loss)] // at most 256
            metrics::gauge!("portcullis_jwks_keys", "issuer" => issuer.to_owned()).set(keys as f64);
        }
        age(whose, Duration::ZERO);
    }
    let _ = (issuer, keys, skipped, change);
}

/// Of a set that was saved: its issuer is what the file says.
pub(super) fn restored(issuer: &str, keys: Result<usize, NotRestored>) {
    #[cfg(feature = "tracing")]
    match keys {
        Ok(keys) => tracing::info!(target: "portcullis", event = "jwks.restored", issuer, keys),
        Err(unfit) => {
            let error = unfit.as_str();
            tracing::warn!(target: "portcullis", event = "jwks.not_restored", issuer, error);
        }
    }
    let _ = (issuer, keys.map_err(NotRestored::as_str));
}

/// `keys_age` is `None` while there are no keys. Failures are spaced by the backoff, so that this needs no limit of its own.
pub(super) fn failed(whose: Whose<'_>, failure: &Failure, keys_age: Option<Duration>) {
    let (issuer, error) = (whose.label(), &failure.error);
    #[cfg(feature = "tracing")]
    if matches!(whose, Whose::Tenant { .. }) && keys_age.is_none() && error.is_absence() {
        // Anybody can name a tenant that there is not.
        tracing::debug!(target: "portcullis", event = "jwks.failed", issuer, error = error.as_str());
    } else {
        let (error, cause) = (error.as_str(), cause(whose, error));
        let cause = cause.as_deref();
        tracing::warn!(target: "portcullis", event = "jwks.failed", issuer, error, cause);
    }
    #[cfg(feature = "metrics")]
    fetched(issuer, error.as_str());
    if let Some(keys_age) = keys_age {
        age(whose, keys_age);
    }
    let _ = (issuer, error);
}

/// Why there was no connection, from the outside in. What other errors say may be the other side's words, and a tenant's host
/// may have a name that a token gave.
#[cfg(feature = "tracing")]
fn cause(whose: Whose<'_>, error: &FetchError) -> Option<String> {
    /// A certificate may have many names.
    const MAX_CHARS: usize = 500;
    let (Whose::Issuer(_), FetchError::Connection(_)) = (whose, error) else {
        return None;
    };
    let causes: Vec<_> = successors(error.source(), |error| (*error).source())
        .map(ToString::to_string)
        .collect();
    Some(causes.join(": ").chars().take(MAX_CHARS).collect())
}

pub(super) fn age(whose: Whose<'_>, age: Duration) {
    #[cfg(feature = "metrics")]
    if let Whose::Issuer(issuer) = whose {
        metrics::gauge!("portcullis_jwks_age_seconds", "issuer" => issuer.to_owned()).set(age);
    }
    let _ = (whose, age);
}

pub(super) fn unknown_kid(whose: Whose<'_>) {
    #[cfg(feature = "metrics")]
    metrics::counter!("portcullis_jwks_unknown_kid_total", "issuer" => whose.label().to_owned())
        .increment(1);
    let _ = whose;
}

#[cfg(feature = "metrics")]
fn fetched(issuer: &str, result: &'static str) {
    metrics::counter!("portcullis_jwks_fetch_total", "issuer" => issuer.to_owned(), "result" => result)
        .increment(1);
}

#[cfg(all(test, feature = "aws-lc-rs", feature = "tracing", feature = "metrics"))]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::{Whose, cause};
    use crate::algorithm::Algorithm;
    use crate::jwks::fetch::FetchError;
    use crate::jwks::testing::{Answer, Issuer, keys};
    use crate::jwks::{JwksCache, JwksSource, Lookup, LookupMode};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A successful refresh, an unknown kid, and a failed refresh.
    async fn story() {
        let issuer = Issuer::new(Answer::Keys(keys(["a", "b"])));
        let cache = JwksCache::new([JwksSource::service("https://id/", issuer.clone())]).unwrap();
        cache.warm().await.unwrap();
        let find = |patience| {
            let keys = cache.issuer("https://id/").unwrap();
            keys.find(Some("kid-of-a-token"), Algorithm::ES256, patience)
        };
        if let Lookup::Wait(waiter) = find(LookupMode::MayWait) {
            waiter.await;
        }
        find(LookupMode::Final);
        issuer.answers(Answer::Status(502));
        cache.warm().await.unwrap_err();
    }

    fn run_story() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.unwrap().block_on(story());
    }

    #[test]
    fn the_cause_of_a_lost_connection_is_told_but_no_host_of_a_tenant() {
        let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "port 443 is closed");
        let lost = FetchError::Connection(Arc::new(io::Error::other(refused())));
        let own = Whose::Issuer("https://id/");
        let told = cause(own, &lost).unwrap();
        assert!(told.ends_with("port 443 is closed"), "{told}");
        let pattern = "https://{tenant}.id/";
        assert_eq!(cause(Whose::Tenant { pattern }, &lost), None);
        assert_eq!(cause(own, &FetchError::Service(Arc::new(refused()))), None);
        let long = FetchError::Connection(Arc::new(io::Error::other("é".repeat(9_999))));
        assert_eq!(cause(own, &long).unwrap().chars().count(), 500);
    }

    #[test]
    fn metrics_have_the_names_of_the_contract() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, run_story);
        let text = handle.render();
        for line in [
            r#"portcullis_jwks_fetch_total{issuer="https://id/",result="ok"} 2"#,
            r#"portcullis_jwks_fetch_total{issuer="https://id/",result="status"} 1"#,
            r#"portcullis_jwks_unknown_kid_total{issuer="https://id/"} 1"#,
            r#"portcullis_jwks_keys{issuer="https://id/"} 2"#,
            r#"portcullis_jwks_age_seconds{issuer="https://id/"} "#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("kid-of-a-token"));
    }

    #[test]
    fn events_tell_what_changed_and_what_failed_and_no_kid_of_a_token() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, run_story);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let events: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|event| event["target"] == "portcullis")
            .map(|event| {
                let field = |name: &str| {
                    event["fields"][name]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned()
                };
                let level = event["level"].as_str().unwrap_or_default().to_owned();
                (level, field("event"), field("issuer"), field("error"))
            })
            .collect();
        let expected = [
            ("INFO", "jwks.refreshed", "https://id/", ""),
            ("DEBUG", "jwks.refreshed", "https://id/", ""),
            ("WARN", "jwks.failed", "https://id/", "status"),
        ];
        let expected = expected.map(|(level, event, issuer, error)| {
            (level.into(), event.into(), issuer.into(), error.into())
        });
        assert_eq!(events, expected);
        assert!(!text.contains("kid-of-a-token"));
    }
}
