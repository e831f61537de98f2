//! The gateway without its demonstration, with a service and an issuer of the test.

use std::net::SocketAddr;

use axum::Router;
use portcullis::TestIssuer;
use tokio::net::TcpListener;

use super::super::process::{Running, run};

/// A gateway and an issuer.
pub(crate) struct Standalone {
    pub(crate) gateway: SocketAddr,
    pub(crate) process: Running,
    pub(crate) token: String,
    pub(crate) client: reqwest::Client,
    _issuer: TestIssuer,
}

/// Whether the key URL is configured or discovered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    Discovered,
    Configured,
}

#[test]
fn incomplete_arguments_are_rejected() {
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
fn insecure_issuer_is_rejected() {
    let upstream = ["--upstream", "http://127.0.0.1:1", "--audience", "a"];
    let issuer = ["--issuer", "http://id.example.com/"];
    let ended = run("gateway", &[&issuer[..], &upstream].concat());
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("https"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[tokio::test]
async fn every_path_requires_a_token() {
    for keys in [Keys::Discovered, Keys::Configured] {
        let upstream = serve(Router::new().fallback(async || "hello")).await;
        let standalone = Standalone::before(upstream, keys).await;
        for path in ["/", "/a", "/a/b/"] {
            let url = standalone.url(path);
            let answer = standalone.client.get(&url).send().await.unwrap();
            assert_eq!(answer.status(), 401, "{path}");
            let answer = standalone.client.get(&url).bearer_auth(&standalone.token);
            let answer = answer.send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.text().await.unwrap(), "hello");
        }
        standalone.ends_at("INT");
    }
}

#[tokio::test]
async fn sigterm_stops_it() {
    let upstream = serve(Router::new()).await;
    Standalone::before(upstream, Keys::Configured)
        .await
        .ends_at("TERM");
}

// === impl Standalone ===

impl Standalone {
    pub(crate) async fn before(upstream: SocketAddr, keys: Keys) -> Self {
        let issuer = TestIssuer::start().await.unwrap();
        let upstream = format!("http://{upstream}");
        let keys_at = issuer.jwks_uri().to_owned();
        let mut arguments = vec!["--issuer", issuer.issuer(), "--audience", "orders-api"];
        arguments.extend(["--upstream", &upstream, "--listen", "127.0.0.1:0"]);
        if keys == Keys::Configured {
            arguments.extend(["--jwks-uri", &keys_at]);
        }
        let mut process = Running::start("gateway", &arguments);
        let line = process.line().expect("the line with the address");
        let gateway = line.strip_prefix("listening on http://");
        let gateway = gateway.expect("only that line").parse().unwrap();
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
        assert_eq!(ended.stdout, "", "expected exactly one line");
    }
}

pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}
