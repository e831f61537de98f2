//! What operators ask.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::harness::{Gateway, client, issuer, section};
use super::upstream::Upstream;

#[tokio::test]
async fn operators_learn_whether_it_is_ready_and_what_it_does() {
    let (issuer, upstream) = (issuer().await, Upstream::start("orders").await);
    issuer.fail_with(axum::http::StatusCode::INTERNAL_SERVER_ERROR);
    let gateway = Gateway::start(&format!(
        r#"{}
        [[routes]]
        path = "/orders"
        methods = ["GET"]
        upstream = "{}"
        require = {{ scope = "orders:read" }}
        propagate = "forward"
        rate_limits = [{{ name = "per-user", key = "subject", requests = 9, per = "1m", burst = 3 }}]
        "#,
        section(&issuer),
        upstream.url(),
    ))
    .await;
    let client = client();
    let ask = async |url: String| {
        let answer = client.get(url).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    assert_eq!(
        ask(gateway.url("/healthz")).await,
        (StatusCode::OK, "ok\n".into())
    );
    assert_eq!(
        ask(gateway.admin("/healthz")).await,
        (StatusCode::OK, "ok\n".into())
    );
    let (status, body) = ask(gateway.admin("/readyz")).await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("\"state\":\"cold\""), "{body}");

    issuer.recover();
    // Without any request: it asks for the keys again by itself.
    for _ in 0..80 {
        if ask(gateway.admin("/readyz")).await.0 == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let (status, body) = ask(gateway.admin("/readyz")).await;
    assert_eq!(status, 200, "{body}");

    let token = issuer.token("alice").scope("orders:read").sign();
    let request = client.get(gateway.url("/orders")).bearer_auth(token);
    assert_eq!(request.send().await.unwrap().status(), 200);
    client.get(gateway.url("/orders")).send().await.unwrap();
    let request = client.request("BREW".parse().unwrap(), gateway.url("/secret"));
    request.send().await.unwrap();
    let (_, metrics) = ask(gateway.admin("/metrics")).await;
    for line in [
        "gateway_requests_total{route=\"/orders\",method=\"GET\",status=\"200\"} 1",
        "gateway_requests_total{route=\"/orders\",method=\"GET\",status=\"401\"} 1",
        "gateway_requests_total{route=\"none\",method=\"other\",status=\"404\"} 1",
        "gateway_request_duration_seconds_bucket{route=\"/orders\",le=\"10\"} 2",
        "portcullis_auth_requests_total{",
        "portcullis_authz_decisions_total{policy=\"require\",decision=\"allow\"} 1",
        "portcullis_ratelimit_decisions_total{policy=\"per-user\",decision=\"allow\",source=\"local\"} 1",
        "portcullis_jwks_keys{",
    ] {
        assert!(metrics.contains(line), "{line} not in {metrics}");
    }
    assert!(!metrics.contains("secret") && !metrics.contains("alice"));

    let (_, routes) = ask(gateway.admin("/routes")).await;
    let routes: Value = serde_json::from_str(&routes).unwrap();
    let route = &routes[0];
    for (field, value) in [
        ("path", json!("/orders")),
        ("methods", json!(["GET"])),
        ("requires", json!("scope:orders:read")),
        ("propagates", json!("forward")),
        ("mode", json!("enforce")),
        ("public", json!(false)),
    ] {
        assert_eq!(route[field], value, "{routes}");
    }
    assert_eq!(
        route["limits"][0]["admits"],
        json!({ "requests": 9, "per_seconds": 60.0, "burst": 3 })
    );
    // None of it is for clients.
    for path in ["/readyz", "/metrics", "/routes"] {
        assert_eq!(ask(gateway.url(path)).await.0, 404, "{path}");
    }
}
