//! Metrics and events: one of each per decision, and never a token.

use std::cell::RefCell;
use std::sync::LazyLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis::{Quota, RateLimitLayer, RequireRoleLayer};
use serde_json::json;

use super::*;

/// The recorder of this process. Each test counts under its own policy names.
static METRICS: LazyLock<PrometheusHandle> =
    LazyLock::new(|| PrometheusBuilder::new().install_recorder().unwrap());

/// The subscriber of this process, at every level.
static EVENTS: LazyLock<()> = LazyLock::new(|| {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(|| Lines)
        .init();
});

thread_local! {
    /// The lines of this thread, so that a test on a single-threaded runtime reads its own events.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Lines;

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Installs the subscriber.
pub(super) fn start_logging() {
    LazyLock::force(&EVENTS);
}

/// The events since the last call.
pub(super) fn take_events() -> Vec<Value> {
    let text = String::from_utf8(LOGGED.take()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[track_caller]
fn scraped(line: &str) {
    let page = METRICS.render();
    assert!(page.lines().any(|own| own == line), "no {line} in\n{page}");
}

#[tokio::test]
async fn every_decision_is_counted() {
    LazyLock::force(&METRICS);
    let (issuer, auth) = warm_auth().await;
    let require = RequireRoleLayer::any(["admin"])
        .named("counted-role")
        .unwrap();
    let limit = RateLimitLayer::new(Quota::per_hour(3)).by_subject();
    let limit = limit.named("counted-limit").unwrap();
    let stack = stack((auth, limit, require));

    let admin = issuer.token("alice").role("admin").sign();
    let guest = issuer.token("alice").role("guest").sign();
    let expired = issuer.token("alice").expired().sign();
    for (token, status) in [
        (Some(&admin), 200),
        (Some(&admin), 200),
        (Some(&guest), 403),
        (Some(&admin), 429),
        (Some(&expired), 401),
        (None, 401),
    ] {
        assert_eq!(
            send(&stack, request(token.map(String::as_str)))
                .await
                .status,
            status
        );
    }

    let issuer = issuer.issuer();
    scraped(&format!(
        r#"portcullis_auth_requests_total{{issuer="{issuer}",result="ok",reason="",mode="enforce"}} 4"#
    ));
    scraped(r#"portcullis_authz_decisions_total{policy="counted-role",decision="allow"} 2"#);
    scraped(r#"portcullis_authz_decisions_total{policy="counted-role",decision="deny"} 1"#);
    scraped(
        r#"portcullis_ratelimit_decisions_total{policy="counted-limit",decision="allow",source="local"} 3"#,
    );
    scraped(
        r#"portcullis_ratelimit_decisions_total{policy="counted-limit",decision="deny",source="local"} 1"#,
    );
    scraped(&format!(
        r#"portcullis_jwks_fetch_total{{issuer="{issuer}",result="ok"}} 1"#
    ));
    scraped(&format!(r#"portcullis_jwks_keys{{issuer="{issuer}"}} 1"#));

    let page = METRICS.render();
    for reason in ["expired", "missing_token"] {
        let result = if reason == "expired" {
            "invalid"
        } else {
            "missing"
        };
        let labels = format!(r#"issuer="",result="{result}",reason="{reason}",mode="enforce""#);
        assert!(page.contains(&labels), "no {labels} in\n{page}");
    }
    assert!(page.contains("portcullis_auth_duration_seconds"));
    for secret in ["alice", admin.as_str()] {
        assert!(!page.contains(secret), "a label contains {secret}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn each_decision_is_one_event_without_token() {
    LazyLock::force(&EVENTS);
    let (issuer, auth) = warm_auth().await;
    let require = RequireRoleLayer::any(["admin"]);
    let limit = RateLimitLayer::new(Quota::per_hour(2)).by_subject();
    let stack = stack((auth, limit, require));
    let admin = issuer.token("alice-the-subject").role("admin").sign();
    let guest = issuer.token("alice-the-subject").role("guest").sign();
    let expired = issuer.token("alice-the-subject").expired().sign();
    take_events();

    for (token, events) in [
        (
            &admin,
            &[
                ("auth.success", "DEBUG"),
                ("ratelimit.admitted", "DEBUG"),
                ("authz.allowed", "DEBUG"),
            ][..],
        ),
        (
            &guest,
            &[
                ("auth.success", "DEBUG"),
                ("ratelimit.admitted", "DEBUG"),
                ("authz.denied", "INFO"),
            ],
        ),
        (
            &admin,
            &[("auth.success", "DEBUG"), ("ratelimit.limited", "INFO")],
        ),
        (&expired, &[("auth.failure", "INFO")]),
    ] {
        send(&stack, request(Some(token))).await;
        let logged = take_events();
        let text = format!("{logged:?}");
        let signature = token.rsplit('.').next().unwrap();
        for secret in [token.as_str(), signature, "alice-the-subject"] {
            assert!(!text.contains(secret), "{text} contains {secret}");
        }
        let ours: Vec<_> = logged
            .iter()
            .filter(|line| line["target"] == "portcullis")
            .collect();
        let seen: Vec<_> = ours
            .iter()
            .map(|line| {
                (
                    line["event"].as_str().unwrap(),
                    line["level"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(seen, events);
        assert!(
            ours.iter()
                .all(|line| line["method"] == "GET" && line["mode"] == "enforce")
        );
        if seen[0].0 == "auth.success" {
            assert_eq!(ours[0]["issuer"], issuer.issuer());
            assert!(ours[0]["duration_us"].is_u64());
            assert_eq!(ours[0]["user.hash"].as_str().unwrap().len(), 16);
        } else {
            assert_eq!(ours[0]["code"], "expired");
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn event_of_a_rejection_has_all_fields() {
    LazyLock::force(&EVENTS);
    let (issuer, auth) = warm_auth().await;
    let require = RequireRoleLayer::any(["admin", "owner"])
        .named("back-office")
        .unwrap();
    let stack = stack((auth, require));
    let token = issuer.token("alice").role("clerk").sign();
    for cached in [false, true] {
        take_events();
        send(&stack, request(Some(&token))).await;
        let event = take_events().pop().unwrap();
        for (field, expected) in [
            ("event", json!("authz.denied")),
            ("code", json!("insufficient_scope")),
            ("policy", json!("back-office")),
            ("rule", json!("any(role:admin, role:owner)")),
            ("missing", json!("role:admin")),
            ("mode", json!("enforce")),
            ("cached", json!(cached)),
        ] {
            assert_eq!(event[field], expected, "{field} of {event}");
        }
        assert!(!event["kid"].as_str().unwrap().is_empty());
        assert!(event["duration_us"].is_u64());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn misconfiguration_is_loud_once_per_second() {
    LazyLock::force(&EVENTS);
    take_events();
    let stack = stack(RequireRoleLayer::any(["admin"]));
    let (mut loud, mut quiet) = (0, 0);
    // Another test may have emitted the error of this second; this many requests take several.
    for _ in 0..100_000 {
        send(&stack, request(None)).await;
        let [logged] = &take_events()[..] else {
            panic!("one event for each decision");
        };
        let fix = logged["fix"].as_str().unwrap();
        assert!(fix.contains("put JwtAuthLayer above it"));
        match logged["level"].as_str() {
            Some("ERROR") => loud += 1,
            Some("DEBUG") => quiet += 1,
            other => panic!("{other:?}"),
        }
        if loud > 0 && quiet > 0 {
            return;
        }
    }
    panic!("{loud} errors and {quiet} quiet events");
}

#[tokio::test(flavor = "current_thread")]
async fn failures_limit_without_proxy_warns_once() {
    LazyLock::force(&EVENTS);
    take_events();
    let warnings = |layer: RateLimitLayer| {
        let service = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        drop((layer.layer(service), layer.clone().layer(service)));
        let logged = take_events();
        let ours = logged
            .iter()
            .filter(|line| line["event"] == "ratelimit.no_trusted_proxy");
        let levels: Vec<_> = ours
            .map(|line| line["level"].as_str().unwrap().to_owned())
            .collect();
        levels
    };
    let limit = || RateLimitLayer::new(Quota::per_minute(20));
    assert_eq!(warnings(limit().failures_only()), ["WARN"]);
    let behind_a_proxy = limit().failures_only().trusted_proxies(["10.0.0.0/8"]);
    assert!(warnings(behind_a_proxy.unwrap()).is_empty());
    assert!(warnings(limit().failures_only().enabled(false)).is_empty());
    assert!(warnings(limit()).is_empty());
}

#[tokio::test]
async fn the_log_names_the_claim_that_failed() {
    LazyLock::force(&EVENTS);
    let (issuer, auth) = warm_auth().await;
    let stack = stack(auth);
    let token = || issuer.token("alice");
    for (token, claim) in [
        (token().audience("another-api"), "aud"),
        (token().expired(), "exp"),
        (token().claim("sub", 7), "sub"),
        (token().claim("roles", json!([7])), "roles"),
        (token().claim("iss", "https://example.com/"), "iss"),
    ] {
        take_events();
        assert_eq!(send(&stack, request(Some(&token.sign()))).await.status, 401);
        let events = take_events();
        let claims: Vec<_> = events
            .iter()
            .filter_map(|event| event.get("claim"))
            .collect();
        assert_eq!(claims, [claim], "{events:?}");
    }
}

#[tokio::test]
async fn tokens_that_outlive_revocations_are_reported_once() {
    LazyLock::force(&EVENTS);
    let (issuer, auth) = warm_auth().await;
    let stack = stack(auth.revocations(portcullis::Revocations::new()));
    let day = std::time::Duration::from_secs(24 * 3600);
    let mut reports = Vec::new();
    for lifetime in [day, 7 * day, 7 * day] {
        take_events();
        let token = issuer.token("alice").expires_in(lifetime).sign();
        assert_eq!(send(&stack, request(Some(&token))).await.status, 200);
        let events = take_events();
        reports.push(
            events
                .iter()
                .filter(|event| event["event"] == "revoke.lifetime")
                .count(),
        );
    }
    assert_eq!(reports, [0, 1, 0]);
}
