//! Limits that two gateways share through a server that stops and restarts.

use std::time::Duration;

use portcullis::Quota;
use portcullis::rate_limit::RedisStore;
use serde_json::Value;

use super::harness::{Folder, Gateway, client, issuer, outcome, section};
use super::server::Server;
use super::upstream::Upstream;

/// Gateways in front of one service, and a client.
struct Fleet {
    issuer: portcullis::TestIssuer,
    upstream: Upstream,
    client: reqwest::Client,
}

/// Outcomes of a number of requests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    admitted: u32,
    limited: u32,
    /// The server did not answer in time, and may have charged.
    unanswered: u32,
}

const SECRET: &str = "shared by all gateways only";

/// With this policy a timeout is distinguishable from both other outcomes.
const CLOSED: &str = "on_error = \"closed\"";

// === impl Fleet ===

impl Fleet {
    async fn new() -> Self {
        Self {
            issuer: issuer().await,
            upstream: Upstream::start("orders").await,
            client: client(),
        }
    }

    fn configuration(&self, server: &Server, store: &str, rest: &str) -> String {
        format!(
            "trusted_proxies = [\"127.0.0.1/32\"]\n{}[rate_limit_store]\nkind = \"redis\"\nurl = \"{}\"\nsecret = \"{SECRET}\"\n{store}\n{}",
            section(&self.issuer),
            server.url(),
            rest.replace("ORDERS", &self.upstream.url()),
        )
    }

    async fn ask(&self, gateway: &Gateway, path: &str, token: &str) -> (u16, String) {
        let request = self.client.get(gateway.url(path)).bearer_auth(token);
        outcome(request.header("x-forwarded-for", "192.0.2.1")).await
    }

    /// Sends requests to the gateways in turn.
    async fn tally(&self, gateways: &[&Gateway], path: &str, token: &str, requests: u32) -> Tally {
        let mut tally = Tally::default();
        for (_, gateway) in (0..requests).zip(gateways.iter().cycle()) {
            match self.ask(gateway, path, token).await {
                (200 | 401, _) => tally.admitted += 1,
                (429, _) => tally.limited += 1,
                (503, code) if code == "store_unavailable" => tally.unanswered += 1,
                other => panic!("{other:?}"),
            }
        }
        tally
    }

    async fn store_status(&self, gateway: &Gateway) -> Value {
        let answer = self.client.get(gateway.admin("/readyz")).send().await;
        let answer = answer.unwrap().text().await.unwrap();
        let status: Value = serde_json::from_str(&answer).unwrap();
        status["rate_limit_store"].clone()
    }
}

// === impl Tally ===

impl Tally {
    /// On a busy machine the server may answer late. Its charge is then lost.
    #[track_caller]
    fn is_exactly(&self, quota: u32) {
        let most = self.admitted + self.unanswered;
        assert!(self.admitted <= quota && quota <= most, "{self:?}");
    }
}

const LIMITS: &str = r#"
    [failed_auth_limit]
    requests = 4
    per = "1h"
    [plans.small]
    requests = 5
    per = "1h"
    [[consumers]]
    name = "acme"
    client = "acme-app"
    plan = "small"
    [[routes]]
    path = "/subject"
    upstream = "ORDERS"
    rate_limits = [{ name = "own", key = "subject", requests = 10, per = "1h" }]
    [[routes]]
    path = "/subject/too"
    upstream = "ORDERS"
    rate_limits = [{ name = "own", key = "subject", requests = 10, per = "1h" }]
    [[routes]]
    path = "/client"
    upstream = "ORDERS"
    rate_limits = [{ name = "client", key = "client", requests = 8, per = "1h" }]
    [[routes]]
    path = "/plan"
    upstream = "ORDERS"
    rate_limits = [{ name = "plan", key = "client", plan = true }]
    [[routes]]
    path = "/tenant"
    upstream = "ORDERS"
    rate_limits = [{ name = "tenant", key = { claim = ["org", "tenant"] }, requests = 6, per = "1h" }]
    [[routes]]
    path = "/route"
    upstream = "ORDERS"
    public = true
    rate_limits = [{ name = "all", key = "route", requests = 7, per = "1h" }]
    [[routes]]
    path = "/address"
    upstream = "ORDERS"
    public = true
    rate_limits = [{ name = "address", key = "address", requests = 3, per = "1h" }]
"#;

#[tokio::test]
async fn gateways_with_same_store_share_counts() {
    let Some(server) = Server::start() else {
        return;
    };
    let fleet = Fleet::new().await;
    let exact = fleet.configuration(&server, &format!("mode = \"exact\"\n{CLOSED}"), LIMITS);
    let one = Gateway::start(&exact).await;
    // The same store, from the environment and from a file next to the configuration.
    let url = server.url();
    let less = exact.replace(&format!("url = \"{url}\"\n"), "");
    let less = less.replace(&format!("secret = \"{SECRET}\"\n"), "");
    assert!(!less.contains("secret") && !less.contains(&*url));
    let folder = Folder::new();
    folder.write("secret", format!("{SECRET}\n"));
    let variables = [
        ("PORTCULLIS__RATE_LIMIT_STORE__URL", &*url),
        ("PORTCULLIS__RATE_LIMIT_STORE__SECRET_FILE", "secret"),
    ];
    let other = Gateway::start_with(folder, &less, &variables).await;
    let both = [&one, &other];
    let token = || fleet.issuer.token("alice").claim("azp", "acme-app");
    let good = token().claim("org", serde_json::json!({ "tenant": "t-1" }));
    let good = good.sign();
    for (path, quota) in [
        ("/subject", 10),
        // Limits of different routes are separate, even with the same name.
        ("/subject/too", 10),
        ("/client", 8),
        ("/plan", 5),
        ("/tenant", 6),
        ("/route", 7),
        ("/address", 3),
    ] {
        let tally = fleet.tally(&both, path, &good, quota + 6).await;
        tally.is_exactly(quota);
        // Other callers are unaffected where the key distinguishes them.
        let bob = fleet.issuer.token("bob").claim("azp", "bobs").sign();
        let is_shared = ["/route", "/address"].contains(&path);
        let passed = fleet.tally(&both, path, &bob, 2).await.admitted;
        assert!(if is_shared { passed == 0 } else { passed > 0 }, "{path}");
    }
    let metrics = fleet.client.get(one.admin("/metrics")).send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    let line =
        "portcullis_ratelimit_decisions_total{policy=\"own\",decision=\"allow\",source=\"exact\"}";
    assert!(metrics.contains(line), "{metrics}");

    // A rejection at one gateway counts at the other. The charge is asynchronous.
    let bad = token().tampered().sign();
    for _ in 0..40 {
        if fleet.tally(&both, "/subject", &bad, 2).await.limited == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    for gateway in both {
        assert_eq!(fleet.ask(gateway, "/plan", &bad).await.0, 429);
    }

    let secret = exact.replace(SECRET, "the secret of another fleet");
    let stranger = Gateway::start(&secret).await;
    let tally = fleet.tally(&[&stranger], "/subject", &good, 16).await;
    tally.is_exactly(10);
    // The server stores no names of callers.
    let keys = server.ask("KEYS *");
    assert!(keys.contains("pc1:"), "{keys}");
    assert!(
        !keys.contains("alice") && !keys.contains("192.0.2"),
        "{keys}"
    );
}

#[tokio::test]
async fn leases_overshoot_at_most_as_documented() {
    let Some(server) = Server::start() else {
        return;
    };
    let fleet = Fleet::new().await;
    let configuration = fleet.configuration(
        &server,
        &format!("mode = \"leased\"\n{CLOSED}"),
        r#"[[routes]]
        path = "/"
        upstream = "ORDERS"
        rate_limits = [{ name = "own", key = "subject", requests = 200, per = "24h" }]
        "#,
    );
    let one = Gateway::start(&configuration).await;
    let other = Gateway::start(&configuration).await;
    let token = fleet.issuer.token("alice").sign();
    let tally = fleet.tally(&[&one, &other], "/", &token, 300).await;
    let store = RedisStore::new(&server.url(), SECRET).unwrap();
    let quota = Quota::per(200, Duration::from_secs(24 * 60 * 60)).burst(200);
    let bound = store.bound(&quota, Duration::from_secs(600));
    assert!(u64::from(tally.admitted) <= bound, "{tally:?} {bound}");
    // Some permits are held by a gateway without requests, or were lost with a late answer.
    assert!(tally.admitted + tally.unanswered >= 100, "{tally:?}");
    assert!(server.calls() < 200, "{} calls", server.calls());
    let metrics = fleet.client.get(one.admin("/metrics")).send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    let line =
        "portcullis_ratelimit_decisions_total{policy=\"own\",decision=\"allow\",source=\"leased\"}";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn outage_policies_apply_until_store_returns() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let fleet = Fleet::new().await;
    let rest = r#"[[routes]]
        path = "/"
        upstream = "ORDERS"
        rate_limits = [{ name = "own", key = "subject", requests = 40, per = "24h" }]
        "#;
    let policies = [
        ("on_error = \"local\"\nexpected_nodes = 4", 10, 200),
        ("on_error = \"open\"", 30, 200),
        ("on_error = \"closed\"", 0, 503),
    ];
    let mut gateways = Vec::new();
    for (policy, ..) in policies {
        let store = format!("mode = \"exact\"\n{policy}");
        let configuration = fleet.configuration(&server, &store, rest);
        gateways.push(Gateway::start(&configuration).await);
    }
    let token = fleet.issuer.token("alice").sign();
    for gateway in &gateways {
        assert_eq!(fleet.ask(gateway, "/", &token).await.0, 200);
        assert_eq!(fleet.store_status(gateway).await["up"], true);
    }
    server.kill();
    for (gateway, (policy, admitted, _)) in gateways.iter().zip(policies) {
        let token = fleet.issuer.token("bob").sign();
        let tally = fleet.tally(&[gateway], "/", &token, 30).await;
        assert_eq!(tally.admitted, admitted, "{policy}: {tally:?}");
        let status = fleet.store_status(gateway).await;
        assert_eq!(status["up"], false, "{policy}");
        assert!(status["errors"].as_u64().unwrap() >= 5, "{status}");
        // A store that is down does not make the gateway unready.
        let ready = fleet.client.get(gateway.admin("/readyz")).send().await;
        assert_eq!(ready.unwrap().status(), 200, "{policy}");
    }
    let request = fleet.client.get(gateways[2].url("/")).bearer_auth(&token);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(answer.status(), 503);

    server.restart();
    for (gateway, (policy, ..)) in gateways.iter().zip(policies) {
        for i in 0.. {
            assert!(i < 1_000, "{policy} never comes back");
            fleet.ask(gateway, "/", &token).await;
            if fleet.store_status(gateway).await["up"] == true {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn reload_changes_the_store() {
    let Some(server) = Server::start() else {
        return;
    };
    let fleet = Fleet::new().await;
    let rest = r#"[[routes]]
        path = "/"
        upstream = "ORDERS"
        rate_limits = [{ name = "own", key = "subject", requests = 5, per = "24h" }]
        "#;
    let shared = fleet.configuration(&server, &format!("mode = \"exact\"\n{CLOSED}"), rest);
    let gateway = Gateway::start(&shared).await;
    let token = fleet.issuer.token("alice").sign();
    fleet.tally(&[&gateway], "/", &token, 9).await.is_exactly(5);
    for (reloads, (configuration, is_shared)) in [
        (
            shared.replace("kind = \"redis\"", "kind = \"memory\""),
            false,
        ),
        (shared.clone(), true),
    ]
    .iter()
    .enumerate()
    {
        gateway.reconfigure(configuration);
        gateway.signal("HUP");
        let is_done = |line: &str| line.contains("\"reloaded\"");
        while gateway.lines().iter().filter(|line| is_done(line)).count() <= reloads {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(fleet.store_status(&gateway).await.is_object(), *is_shared);
        let expected = if *is_shared { 0 } else { 5 };
        let tally = fleet.tally(&[&gateway], "/", &token, 9).await;
        assert_eq!(tally.admitted, expected, "{tally:?}");
    }
}
