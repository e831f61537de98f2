//! The admin listener.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::harness::{Gateway, client, issuer, section};
use super::setup::Setup;
use super::upstream::Upstream;

#[tokio::test]
async fn admin_listener_serves_readiness_and_metrics() {
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
    // The gateway retries the key fetch without any request.
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

    // Clients reach none of these paths.
    for path in ["/readyz", "/metrics", "/routes"] {
        assert_eq!(ask(gateway.url(path)).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn routes_endpoint_lists_layers_per_route() {
    let setup = Setup::with(
        r#"ISSUER
        [identity_headers]
        x-user-id = "sub"
        x-consumer = "consumer"
        [plans.pro]
        requests = 1000
        per = "1m"
        [[consumers]]
        name = "acme"
        client = "acme-mobile"
        plan = "pro"
        [[consumers]]
        name = "zoe"
        subject = "zoe"
        [[routes]]
        path = "/orders"
        host = "api.example.com"
        methods = ["GET", "POST"]
        upstream = "ORDERS"
        timeout = "1500ms"
        require = { scope = "orders:read" }
        require_for = { POST = { any = [{ scope = "orders:write" }, { not = { acr = "low" } }] } }
        consumers = { allow = ["acme"] }
        rate_limits = [
            { name = "per-user", key = "subject", requests = 9, per = "1m", burst = 3 },
            { name = "plan", key = "client", plan = true },
        ]
        propagate = "forward"
        mode = "report"
        [[routes]]
        path = "/public"
        upstream = "OTHER"
        public = true
        rate_limits = [{ name = "per-address", key = "address", requests = 60, per = "1m" }]
        "#,
    )
    .await;
    let routes = setup.client.get(setup.gateway.admin("/routes")).send();
    let routes: Value = serde_json::from_str(&routes.await.unwrap().text().await.unwrap()).unwrap();
    let guard = |does: &str, policy: &str, what: &str| json!({ "does": does, "policy": policy, "what": what });
    let reported = |does: &str, policy: &str, what: &str| {
        let mut guard = guard(does, policy, what);
        guard["mode"] = json!("report");
        guard
    };
    let tokens = format!("tokens of {} for orders-api", setup.issuer.issuer());
    assert_eq!(
        routes,
        json!([{
            "route": "api.example.com/orders",
            "path": "/orders",
            "host": "api.example.com",
            "methods": ["GET", "POST"],
            "upstream": format!("{}/", setup.orders.url()),
            "timeout_seconds": 1.5,
            "public": false,
            "propagate": "forward",
            "mode": "report",
            "guards": [
                guard("authenticates", "jwt", &tokens),
                guard("propagates", "identity_headers", "x-user-id, x-consumer"),
                reported("limits", "per-user", "3 at once and 1 more every 6.666666667s, by subject and route"),
                reported("limits", "plan", "any number, by client and route, or the caller's own quota"),
                reported("requires", "consumers", "all requests all(any(client:acme-mobile), not(any(subject:zoe)))"),
                reported("requires", "require", "POST any(scope:orders:write, not(acr:low))"),
                reported("requires", "require", "otherwise scope:orders:read"),
            ],
        }, {
            "route": "/public",
            "path": "/public",
            "host": null,
            "methods": null,
            "upstream": format!("{}/", setup.other.url()),
            "timeout_seconds": 30.0,
            "public": true,
            "propagate": "none",
            "mode": "enforce",
            "guards": [
                guard("limits", "per-address", "60 at once and 1 more every 1s, by address and route"),
                guard("propagates", "identity_headers", "x-user-id, x-consumer"),
            ],
        }]),
        "{routes:#}"
    );
}

#[tokio::test]
async fn loopback_admin_rejects_foreign_host_names() {
    let issuer = issuer().await;
    let gateway = Gateway::start(&section(&issuer)).await;
    let ask = async |host: &str| {
        let request = client().get(gateway.admin("/healthz")).header("host", host);
        request.send().await.unwrap().status()
    };
    for host in ["localhost:9090", "LOCALHOST", "127.0.0.1:1", "[::1]:9090"] {
        assert_eq!(ask(host).await, 200, "{host}");
    }
    for host in [
        "rebind.evil.example",
        "localhost.evil.example:9090",
        "a@127.0.0.1.x",
    ] {
        assert_eq!(ask(host).await, 421, "{host}");
    }
}
