//! What operators see of the keys: metrics and events, and nothing that comes from a token.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;

use super::testing::{Answer, Issuer, keys};
use super::{JwksCache, JwksSource, Lookup, LookupMode};
use crate::algorithm::Algorithm;
use crate::clock::ManualClock;
use crate::observe::testing::events;

/// A successful refresh, an unknown kid, and a failed refresh.
async fn story() {
    let issuer = Issuer::new(Answer::Keys(keys(["a", "b"])));
    let cache = JwksCache::new([JwksSource::service("https://id/", issuer.clone())]).unwrap();
    cache.warm().await.unwrap();
    let find = |mode| {
        let keys = cache.issuer("https://id/").unwrap();
        keys.find(Some("kid-of-a-token"), Algorithm::ES256, mode)
    };
    if let Lookup::Wait(waiter) = find(LookupMode::MayWait) {
        waiter.await;
    }
    find(LookupMode::Final);
    issuer.answers(Answer::Status(502));
    cache.warm().await.unwrap_err();
}

fn run(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(story);
}

/// The metrics that `story` leaves, in Prometheus' text format.
fn metrics_of(story: impl Future<Output = ()>) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || run(story));
    recorder.handle().render()
}

#[test]
fn metrics_have_their_documented_names() {
    let text = metrics_of(story());
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
fn age_grows_without_requests_and_without_status() {
    let text = metrics_of(async {
        let (issuer, clock) = (Issuer::new(Answer::Keys(keys(["a"]))), ManualClock::at(0));
        let source = JwksSource::service("https://id/", issuer.clone()).clock(clock.clone());
        let cache = JwksCache::new([source]).unwrap();
        for _ in 0..3 {
            cache.warm().await.unwrap();
        }
        issuer.answers(Answer::Status(502));
        cache.warm().await.unwrap_err();
        clock.advance(Duration::from_secs(53));
        tokio::time::sleep(Duration::from_secs(20)).await;
    });
    let line = r#"portcullis_jwks_age_seconds{issuer="https://id/"} 53"#;
    assert!(text.contains(line), "{text}");
}

#[tokio::test(start_paused = true)]
async fn age_report_ends_with_fetch_or_cache() {
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let issuer = Issuer::new(Answer::Keys(keys(["a"])));
    let cache = JwksCache::new([JwksSource::service("https://id/", issuer)]).unwrap();
    for _ in 0..5 {
        cache.warm().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(tasks(), 1);
    }
    drop(cache);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(tasks(), 0);
}

#[test]
fn events_name_changes_and_failures_but_no_kid() {
    let events = events(|| run(story()));
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
    assert_eq!(
        (&events[2]["step"], &events[2]["status"]),
        (&"fetch".into(), &502.into())
    );
    assert!(!format!("{events:?}").contains("kid-of-a-token"));
}
