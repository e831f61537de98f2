//! Rate limits: keys, plans, failed authentication, and counts across reloads.

use super::harness::{Gateway, client, issuer, outcome, section};
use super::upstream::Upstream;

async fn gateway(configuration: &str) -> (Gateway, portcullis::TestIssuer, Upstream) {
    let (issuer, upstream) = (issuer().await, Upstream::start("orders").await);
    let configuration = configuration
        .replace("ISSUER", &section(&issuer))
        .replace("ORDERS", &upstream.url());
    (Gateway::start(&configuration).await, issuer, upstream)
}

#[tokio::test]
async fn each_limit_key_counts_separately() {
    let (gateway, issuer, _upstream) = gateway(
        r#"trusted_proxies = ["127.0.0.0/8"]
        ISSUER
        [[routes]]
        path = "/subject"
        upstream = "ORDERS"
        rate_limits = [{ name = "s", key = "subject", requests = 2, per = "1h" }]
        [[routes]]
        path = "/client"
        upstream = "ORDERS"
        rate_limits = [{ name = "c", key = "client", requests = 2, per = "1h", burst = 1 }]
        [[routes]]
        path = "/tenant"
        upstream = "ORDERS"
        rate_limits = [{ name = "t", key = { claim = ["org", "tenant"] }, requests = 1, per = "1h" }]
        [[routes]]
        path = "/route"
        upstream = "ORDERS"
        rate_limits = [{ name = "r", key = "route", requests = 2, per = "1h" }]
        [[routes]]
        path = "/address"
        upstream = "ORDERS"
        public = true
        rate_limits = [{ name = "a", key = "address", requests = 1, per = "1h" }]
        [[routes]]
        path = "/address/too"
        upstream = "ORDERS"
        public = true
        rate_limits = [{ name = "a", key = "address", requests = 1, per = "1h" }]
        "#,
    )
    .await;
    let client = client();
    let ask = async |path: &str, subject: &str, app: &str, from: &str| {
        let token = issuer.token(subject).claim("azp", app);
        let token = token.claim("org", serde_json::json!({ "tenant": app }));
        let request = client.get(gateway.url(path)).bearer_auth(token.sign());
        outcome(request.header("x-forwarded-for", from)).await.0
    };
    for (path, subject, app, from, status) in [
        ("/subject", "alice", "app", "192.0.2.1", 200),
        ("/subject", "alice", "other", "192.0.2.2", 200),
        ("/subject", "alice", "app", "192.0.2.1", 429),
        ("/subject", "bob", "app", "192.0.2.1", 200),
        ("/client", "alice", "app", "192.0.2.1", 200),
        ("/client", "bob", "app", "192.0.2.1", 429),
        ("/client", "bob", "other", "192.0.2.1", 200),
        ("/tenant", "alice", "app", "192.0.2.1", 200),
        ("/tenant", "bob", "app", "192.0.2.2", 429),
        ("/tenant", "bob", "other", "192.0.2.2", 200),
        ("/route", "alice", "app", "192.0.2.1", 200),
        ("/route", "bob", "other", "192.0.2.2", 200),
        ("/route", "carol", "third", "192.0.2.3", 429),
        ("/address", "alice", "app", "192.0.2.1", 200),
        ("/address", "bob", "other", "6.6.6.6, 192.0.2.1", 429),
        ("/address", "alice", "app", "192.0.2.2", 200),
        ("/address/too", "alice", "app", "192.0.2.1", 200),
        ("/address/too", "alice", "app", "192.0.2.1", 429),
    ] {
        assert_eq!(
            ask(path, subject, app, from).await,
            status,
            "{path} {subject} {app} {from}"
        );
    }
    // Unauthenticated requests do not use up a shared quota.
    for path in ["/route", "/tenant"] {
        let stranger = client.get(gateway.url(path));
        assert_eq!(outcome(stranger).await.0, 401, "{path}");
    }
}

#[tokio::test]
async fn plan_determines_the_quota() {
    let (gateway, issuer, _upstream) = gateway(
        r#"ISSUER
        [plans.small]
        requests = 1
        per = "1h"
        [plans.large]
        requests = 9
        per = "1h"
        burst = 3
        [[consumers]]
        name = "acme"
        client = "acme-app"
        plan = "small"
        [[consumers]]
        name = "zoe"
        subject = "zoe"
        plan = "large"
        [[routes]]
        path = "/"
        upstream = "ORDERS"
        rate_limits = [{ name = "plan", key = "client", plan = true }]
        [[routes]]
        path = "/all"
        upstream = "ORDERS"
        rate_limits = [{ name = "plan", key = "client", plan = true, requests = 5, per = "1h", burst = 2 }]
        "#,
    )
    .await;
    let client = client();
    for (path, subject, app, admitted) in [
        ("/", "alice", "acme-app", 1),
        ("/", "zoe", "zoe-app", 3),
        ("/", "bob", "free", 10),
        ("/all", "alice", "acme-app", 1),
        ("/all", "zoe", "zoe-app", 3),
        ("/all", "bob", "free", 2),
        ("/all", "carol", "other", 2),
    ] {
        for count in 0..10 {
            let token = issuer.token(subject).claim("azp", app).sign();
            let answer = outcome(client.get(gateway.url(path)).bearer_auth(token)).await;
            let expected = if count < admitted { 200 } else { 429 };
            assert_eq!(answer.0, expected, "{path}, {subject}, request {count}");
        }
    }
    // `/routes` lists both limits; the limit without a default quota also caused a warning at
    // start-up.
    let routes = client.get(gateway.admin("/routes")).send().await.unwrap();
    let routes = routes.text().await.unwrap();
    let others = "2 at once and 1 more every 720s, by client and route, or the caller's own quota";
    assert!(routes.contains(others), "{others} in {routes}");
    let lines = gateway.lines();
    let warned = lines.iter().filter(|line| line.contains("without a plan"));
    let warned: Vec<_> = warned.collect();
    assert_eq!(warned.len(), 1, "{lines:#?}");
    assert!(warned[0].contains("routes[0].rate_limits[0].plan"));
}

#[tokio::test]
async fn failed_authentications_are_limited_per_address() {
    let (gateway, issuer, upstream) = gateway(
        r#"trusted_proxies = ["127.0.0.1/32"]
        ISSUER
        [failed_auth_limit]
        requests = 3
        per = "1h"
        [[routes]]
        path = "/"
        upstream = "ORDERS"
        [[routes]]
        path = "/admin"
        upstream = "ORDERS"
        require = { role = "admin" }
        "#,
    )
    .await;
    let client = client();
    let ask = async |path: &str, token: Option<String>, from: &str| {
        let mut request = client
            .get(gateway.url(path))
            .header("x-forwarded-for", from);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        outcome(request).await.0
    };
    let good = || Some(issuer.token("alice").sign());
    let known = good();
    let bad = || Some(issuer.token("alice").tampered().sign());
    let expired = || Some(issuer.token("alice").expired().sign());
    // A missing token, an expired token and a missing role are no failed authentications.
    for _ in 0..5 {
        assert_eq!(ask("/", None, "192.0.2.1").await, 401);
        assert_eq!(ask("/", expired(), "192.0.2.1").await, 401);
        assert_eq!(ask("/admin", good(), "192.0.2.1").await, 403);
        assert_eq!(ask("/", known.clone(), "192.0.2.1").await, 200);
    }
    // All routes share the count.
    for path in ["/", "/admin", "/"] {
        assert_eq!(ask(path, bad(), "192.0.2.1").await, 401);
    }
    assert_eq!(ask("/", bad(), "192.0.2.1").await, 429);
    // A new token is not verified any more. A token in the token cache still passes.
    let new = || Some(issuer.token("carol").sign());
    assert_eq!(ask("/", new(), "192.0.2.1").await, 429);
    assert_eq!(ask("/", known.clone(), "192.0.2.1").await, 200);
    assert_eq!(ask("/", new(), "192.0.2.2").await, 200);
    assert_eq!(upstream.hits(), 7);
    // Without trusted proxies there may still be one, and its clients would share one quota.
    let is_warned = |gateway: &Gateway| {
        let lines = gateway.lines();
        lines.iter().any(|line| line.contains("trusted_proxies"))
    };
    assert!(!is_warned(&gateway), "{:?}", gateway.lines());
    let alone = "[failed_auth_limit]\nrequests = 3\nper = \"1h\"\n[[routes]]\npath = \"/\"\n";
    let alone = format!(
        "{}{alone}upstream = \"{}\"\n",
        section(&issuer),
        upstream.url()
    );
    assert!(is_warned(&Gateway::start(&alone).await));
}

#[tokio::test]
async fn reload_keeps_counts() {
    let configuration = r#"ISSUER
        [[routes]]
        path = "/"
        upstream = "ORDERS"
        rate_limits = [{ name = "one", key = "subject", requests = 1, per = "1h" }]
        "#;
    let (gateway, issuer, upstream) = gateway(configuration).await;
    let client = client();
    let ask = async || {
        let token = issuer.token("alice").sign();
        outcome(client.get(gateway.url("/")).bearer_auth(token))
            .await
            .0
    };
    assert_eq!(ask().await, 200);
    let configuration = configuration
        .replace("ISSUER", &section(&issuer))
        .replace("ORDERS", &upstream.url());
    gateway.reconfigure(&format!("{configuration}timeout = \"9s\"\n"));
    gateway.signal("HUP");
    gateway
        .wait_for_line(|line| line.contains("\"reloaded\""))
        .await;
    assert_eq!(ask().await, 429);
    assert_eq!(issuer.fetches(), 1, "the keys are kept too");
}
