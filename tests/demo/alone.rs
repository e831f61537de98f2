//! The gateway alone, before a service and an issuer of the test.

use std::net::SocketAddr;

use axum::Router;
use portcullis::TestIssuer;
use tokio::net::TcpListener;

use super::process::{Running, run};

/// A gateway, an issuer and what else a test of them needs.
pub(crate) struct Alone {
    pub(crate) gateway: SocketAddr,
    pub(crate) process: Running,
    pub(crate) token: String,
    pub(crate) client: reqwest::Client,
    _issuer: TestIssuer,
}

/// Whether the gateway is told where the keys are, or asks the issuer's metadata.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    Discovered,
    Told,
}

#[test]
fn half_of_the_arguments_are_refused() {
    #[track_caller]
    fn check(arguments: &[&str]) {
        let ended = run("gateway", arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    const ISSUER: [&str; 2] = ["--issuer", "https://id.example.com/"];
    const AUDIENCE: [&str; 2] = ["--audience", "orders-api"];
    const UPSTREAM: [&str; 2] = ["--upstream", "http://127.0.0.1:1"];
    check(&ISSUER);
    check(&AUDIENCE);
    check(&UPSTREAM);
    check(&[ISSUER, AUDIENCE].concat());
    check(&[ISSUER, UPSTREAM].concat());
    check(&[AUDIENCE, UPSTREAM].concat());
    check(&["--listen", "127.0.0.1:0"]);
    check(&["--jwks-uri", "https://id.example.com/keys"]);
    check(&["--break", "auth"]);
    check(&["--demo-check", "--break", "everything"]);
    check(&[&ISSUER[..], &AUDIENCE, &UPSTREAM, &["--demo-check"]].concat());
    check(&[&ISSUER[..], &AUDIENCE, &["--upstream", "http://a/below"]].concat());
    check(&[&ISSUER[..], &AUDIENCE, &["--upstream", "http://me@a"]].concat());
}

#[test]
fn a_setting_that_protects_nothing_ends_it() {
    let upstream = ["--upstream", "http://127.0.0.1:1", "--audience", "a"];
    let issuer = ["--issuer", "http://id.example.com/"];
    let ended = run("gateway", &[&issuer[..], &upstream].concat());
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("https"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[tokio::test]
async fn every_path_asks_for_a_token_of_the_issuer() {
    for keys in [Keys::Discovered, Keys::Told] {
        let upstream = serve(Router::new().fallback(async || "hello")).await;
        let alone = Alone::before(upstream, keys).await;
        for path in ["/", "/a", "/a/b/"] {
            let url = alone.url(path);
            let answer = alone.client.get(&url).send().await.unwrap();
            assert_eq!(answer.status(), 401, "{path}");
            let answer = alone.client.get(&url).bearer_auth(&alone.token);
            let answer = answer.send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.text().await.unwrap(), "hello");
        }
        alone.ends_at("INT");
    }
}

#[tokio::test]
async fn sigterm_ends_it() {
    let upstream = serve(Router::new()).await;
    Alone::before(upstream, Keys::Told).await.ends_at("TERM");
}

// === impl Alone ===

impl Alone {
    pub(crate) async fn before(upstream: SocketAddr, keys: Keys) -> Self {
        let issuer = TestIssuer::start().await.unwrap();
        let upstream = format!("http://{upstream}");
        let keys_at = issuer.jwks_uri().to_owned();
        let mut arguments = vec!["--issuer", issuer.issuer(), "--audience", "orders-api"];
        arguments.extend(["--upstream", &upstream, "--listen", "127.0.0.1:0"]);
        if keys == Keys::Told {
            arguments.extend(["--jwks-uri", &keys_at]);
        }
        let mut process = Running::start("gateway", &arguments);
        let line = process.line().expect("the line that says where");
        let gateway = line.strip_prefix("listening on http://");
        let gateway = gateway.expect("that line alone").parse().unwrap();
        let token = issuer.token("alice").audience("orders-api").role("admin");
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        Self {
            gateway,
            process,
            token: token.sign(),
            client: client.build().unwrap(),
            _issuer: issuer,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway)
    }

    #[track_caller]
    fn ends_at(self, signal: &str) {
        drop(self.client);
        self.process.signal(signal);
        let ended = self.process.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.stdout, "", "one line is all it says");
    }
}

pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}
