//! Fetching and caching of keys: each setting of `[issuers.jwks]`, and `ca`.
//!
//! Two issuers differ in one setting only. One value is short, and its effect is awaited; the other
//! is too long to have an effect during the test. The result does not depend on the speed of the
//! machine.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use portcullis::TestIssuer;

use super::authority::Authority;
use super::harness::{AUDIENCE, Folder, Gateway, client, issuer, outcome, section};
use super::upstream::Upstream;

/// Two issuers, and a gateway that accepts both.
struct Pair {
    short: TestIssuer,
    long: TestIssuer,
    gateway: Gateway,
}

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

// === impl Pair ===

impl Pair {
    /// Calls `prepare` for both issuers before the first request.
    async fn with(short: &str, long: &str, prepare: impl Fn(&TestIssuer)) -> Self {
        let issuers = [issuer().await, issuer().await];
        let upstream = Upstream::start("orders").await;
        issuers.iter().for_each(prepare);
        let sections = issuers.iter().zip([short, long]);
        let sections =
            sections.map(|(own, lines)| format!("{}[issuers.jwks]\n{lines}\n", section(own)));
        let configuration = format!(
            "{}[[routes]]\npath = \"/\"\nupstream = \"{}\"\n",
            sections.collect::<String>(),
            upstream.url()
        );
        let gateway = Gateway::start(&configuration).await;
        let [short, long] = issuers;
        Self {
            short,
            long,
            gateway,
        }
    }

    /// Status and code of a request with a valid token.
    async fn ask(&self, issuer: &TestIssuer) -> (u16, String) {
        self.send(issuer.token("alice").sign()).await
    }

    async fn send(&self, token: String) -> (u16, String) {
        outcome(client().get(self.gateway.url("/")).bearer_auth(token)).await
    }

    /// Sends requests to both until the keys of the short one were fetched this many times.
    async fn until_fetched(&self, times: usize) {
        let asking = async {
            while self.short.fetches() < times {
                for issuer in [&self.short, &self.long] {
                    assert_eq!(self.ask(issuer).await.0, 200);
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let asked = tokio::time::timeout(PATIENCE, asking).await;
        assert!(asked.is_ok(), "fetched {} times", self.short.fetches());
    }
}

#[tokio::test]
async fn default_ttl_applies_without_cache_control() {
    let short = "default_ttl = \"1s\"\nmin_ttl = \"1s\"";
    let pair = Pair::with(short, "min_ttl = \"1s\"", |_| {}).await;
    pair.until_fetched(3).await;
    assert_eq!(pair.long.fetches(), 1);
}

#[tokio::test]
async fn min_and_max_ttl_bound_cache_control() {
    let sends = |value: &'static str| move |issuer: &TestIssuer| issuer.cache_control(value);
    let pair = Pair::with("min_ttl = \"1s\"", "min_ttl = \"10m\"", sends("max-age=0")).await;
    pair.until_fetched(3).await;
    assert_eq!(pair.long.fetches(), 1);

    let short = "min_ttl = \"1s\"\nmax_ttl = \"1s\"";
    let pair = Pair::with(short, "min_ttl = \"1s\"", sends("max-age=3600")).await;
    pair.until_fetched(3).await;
    assert_eq!(pair.long.fetches(), 1);
}

#[tokio::test]
async fn cooldown_limits_fetches_for_unknown_kids() {
    let pair = Pair::with("cooldown = \"1s\"", "cooldown = \"1h\"", |_| {}).await;
    for issuer in [&pair.short, &pair.long] {
        assert_eq!(pair.ask(issuer).await.0, 200);
    }
    let mut strangers = 0..;
    let asking = async {
        while pair.short.fetches() < 6 {
            let number = strangers.next().unwrap();
            for issuer in [&pair.short, &pair.long] {
                let token = issuer
                    .token("alice")
                    .kid(&format!("stranger-{number}"))
                    .sign();
                assert_eq!(pair.send(token).await, (401, "unknown_key".into()));
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap();
    // The first fetch, and two for unknown kids.
    assert_eq!(pair.long.fetches(), 3);
    for issuer in [&pair.short, &pair.long] {
        assert_eq!(pair.ask(issuer).await.0, 200);
    }
}

#[tokio::test]
async fn timeout_ends_a_fetch_that_hangs() {
    let pair = Pair::with("timeout = \"200ms\"", "timeout = \"60s\"", TestIssuer::hold).await;
    let mut waiting = Box::pin(pair.ask(&pair.long));
    let asked = tokio::select! {
        answer = &mut waiting => panic!("no keys, and an answer: {answer:?}"),
        asked = pair.ask(&pair.short) => asked,
    };
    assert_eq!(asked, (503, "keys_unavailable".into()));
    pair.long.release();
    assert_eq!(waiting.await.0, 200);
}

#[tokio::test]
async fn max_stale_limits_use_of_old_keys() {
    let ttl = "default_ttl = \"1s\"\nmin_ttl = \"1s\"";
    let short = format!("{ttl}\nmax_stale = \"0s\"");
    let pair = Pair::with(&short, ttl, |_| {}).await;
    for issuer in [&pair.short, &pair.long] {
        assert_eq!(pair.ask(issuer).await.0, 200);
        issuer.fail_with(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let asking = async {
        while pair.ask(&pair.short).await != (503, "keys_unavailable".into()) {
            tokio::time::sleep(PAUSE).await;
        }
        // The other issuer's keys are due as well, and their fetch fails.
        while pair.long.fetches() < 2 {
            assert_eq!(pair.ask(&pair.long).await.0, 200);
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap();
    assert_eq!(pair.ask(&pair.long).await.0, 200);
}

#[tokio::test]
async fn private_ca_applies_to_its_issuer() {
    let (keys, upstream) = (issuer().await, Upstream::start("orders").await);
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = Folder::new();
    folder.write("ca.pem", authority.pem());
    folder.write("stranger.pem", stranger.pem());
    let jwks = keys.jwks();
    let serves = Router::new().route("/keys", get(async || jwks));
    let site = authority
        .issue()
        .serve(&[b"http/1.1"], serves.clone())
        .await;
    // A site that serves its own metadata.
    let telling = authority.issue();
    let own = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let received = std::sync::Arc::clone(&own);
    let metadata = get(async move || {
        let site = received.get().unwrap();
        serde_json::json!({ "issuer": site, "jwks_uri": format!("{site}/keys") }).to_string()
    });
    let router = serves.route("/.well-known/openid-configuration", metadata);
    let discovered = telling.serve(&[b"h2", b"http/1.1"], router).await;
    own.set(discovered.clone()).unwrap();

    let section = |issuer: &str, lines: &str| {
        format!("[[issuers]]\nissuer = \"{issuer}\"\naudiences = [\"{AUDIENCE}\"]\n{lines}\n")
    };
    let uri = format!("jwks_uri = \"{site}/keys\"");
    let configuration = [
        section("https://named.example/", &format!("{uri}\nca = \"ca.pem\"")),
        section(
            "https://stranger.example/",
            &format!("{uri}\nca = \"stranger.pem\""),
        ),
        section("https://system.example/", &uri),
        section(&discovered, "ca = \"ca.pem\""),
        format!(
            "[[routes]]\npath = \"/\"\nupstream = \"{}\"\n",
            upstream.url()
        ),
    ];
    let gateway = Gateway::start_in(folder, &configuration.concat()).await;
    let unavailable = (503, "keys_unavailable".to_owned());
    for (issuer, expected) in [
        ("https://named.example/", (200, String::new())),
        (&discovered, (200, String::new())),
        ("https://stranger.example/", unavailable.clone()),
        ("https://system.example/", unavailable),
    ] {
        let token = keys.token("alice").issued_by(issuer).sign();
        let request = client().get(gateway.url("/")).bearer_auth(token);
        assert_eq!(outcome(request).await, expected, "{issuer}");
    }
    // The authority is replaced, and its file with it.
    gateway.folder.write("stranger.pem", authority.pem());
    gateway
        .wait_for_line(|line| line.contains("\"reloaded\""))
        .await;
    let token = keys
        .token("alice")
        .issued_by("https://stranger.example/")
        .sign();
    let request = client().get(gateway.url("/")).bearer_auth(token);
    assert_eq!(outcome(request).await.0, 200);
}
