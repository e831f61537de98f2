//! What operators see of the keys: metrics and events, and nothing that comes from a token.

use metrics_exporter_prometheus::PrometheusBuilder;

use super::testing::{Answer, Issuer, keys};
use super::{JwksCache, JwksSource, Lookup, LookupMode};
use crate::algorithm::Algorithm;
use crate::observe::capture;

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
fn metrics_have_their_documented_names() {
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
fn events_name_changes_and_failures_but_no_kid() {
    let events = capture::events(run_story);
    let seen: Vec<_> = events
        .iter()
        .map(|event| ["level", "event", "issuer", "error"].map(|name| event[name].as_str()))
        .collect();
    let expected = [
        ["INFO", "jwks.refreshed", "https://id/", ""],
        ["DEBUG", "jwks.refreshed", "https://id/", ""],
        ["WARN", "jwks.failed", "https://id/", "status"],
    ];
    let expected = expected.map(|event| event.map(|field| (!field.is_empty()).then_some(field)));
    assert_eq!(seen, expected);
    assert!(!format!("{events:?}").contains("kid-of-a-token"));
}
