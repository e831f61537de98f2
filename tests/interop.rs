//! Interoperability: tokens of other libraries verified by this crate, and tokens of this crate
//! verified by other libraries.
//!
//! Each peer is an issuer in a separate process, with joserfc or jwcrypto (Python) or jose (Node).
//! For every token it states the expected result. The tokens go through an axum service and through
//! the example `gateway`.
//!
//! `tests/interop/install` fetches the libraries. Without them the tests are skipped with a
//! message; `PORTCULLIS_REQUIRE_ALL=1` makes that a failure.

use std::env;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Router, http::HeaderMap};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use portcullis::{
    Algorithm, Clock, Identity, Issuer, JwksCache, JwksSource, JwtAuthLayer, RequireRoleLayer,
    TestIssuer,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

const AUDIENCE: &str = "orders-api";
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
enum Peer {
    Joserfc,
    Jwcrypto,
    Jose,
    /// The clients `@connectrpc/connect-web` and `grpc-web`.
    GrpcWeb,
}

/// The first output of a peer.
#[derive(Deserialize)]
struct Offer {
    issuer: String,
    jwks_uri: String,
    tokens: Vec<Token>,
}

#[derive(Deserialize)]
struct Token {
    name: String,
    alg: String,
    token: String,
    /// `accept`, or the code of the reason.
    expect: String,
    /// The subject of an accepted token.
    subject: Option<String>,
    /// As in common tutorials: the subject is in `userId`, the roles are in `role`.
    #[serde(default)]
    tutorial: bool,
}

/// A program that is killed, and whose standard input is closed, on drop.
struct Running(#[allow(dead_code)] Child);

#[tokio::test]
async fn axum_service_agrees_with_joserfc() {
    axum_agrees_with(Peer::Joserfc).await;
}

#[tokio::test]
async fn axum_service_agrees_with_jwcrypto() {
    axum_agrees_with(Peer::Jwcrypto).await;
}

#[tokio::test]
async fn axum_service_agrees_with_jose() {
    axum_agrees_with(Peer::Jose).await;
}

#[tokio::test]
async fn gateway_agrees_with_joserfc() {
    gateway_agrees_with(Peer::Joserfc).await;
}

#[tokio::test]
async fn gateway_agrees_with_jwcrypto() {
    gateway_agrees_with(Peer::Jwcrypto).await;
}

#[tokio::test]
async fn gateway_agrees_with_jose() {
    gateway_agrees_with(Peer::Jose).await;
}

#[tokio::test]
async fn joserfc_verifies_our_tokens() {
    verifies_our_tokens(Peer::Joserfc).await;
}

#[tokio::test]
async fn jose_verifies_our_tokens() {
    verifies_our_tokens(Peer::Jose).await;
}

#[tokio::test]
async fn grpc_web_clients_read_the_status_of_rejections() {
    let Some(mut peer) = Peer::GrpcWeb.command() else {
        return;
    };
    let issuer = TestIssuer::start().await.unwrap().with_audience(AUDIENCE);
    let auth = JwtAuthLayer::from_issuer(issuer.issuer(), AUDIENCE).unwrap();
    let layers = (auth, RequireRoleLayer::any(["reader"]));
    let service = Router::new().route("/shop.Orders/Get", post(empty_grpc_web_message));
    let url = listen(service.route_layer(layers)).await;

    let reader = issuer.token("alice").role("reader").sign();
    let guest = issuer.token("bob").sign();
    let credentials = "credentials are required";
    let rule = "the caller does not satisfy the rule for this request";
    for (token, status, message) in [
        ("", 16, credentials),
        (guest.as_str(), 7, rule),
        (reader.as_str(), 0, ""),
    ] {
        let output = peer.arg(&url).arg(token).kill_on_drop(true).output();
        let output = timeout(PATIENCE, output).await.expect("an end in time");
        let output = String::from_utf8(output.unwrap().stdout).unwrap();
        let lines = output
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let expected = ["connect-web", "grpc-web binary", "grpc-web text"]
            .map(|client| json!({ "client": client, "status": status, "message": message }));
        assert_eq!(lines.collect::<Vec<Value>>(), expected);
        peer = Peer::GrpcWeb.command().unwrap();
    }
}

/// An empty message and the status 0, in the format of the request.
async fn empty_grpc_web_message(headers: HeaderMap) -> impl axum::response::IntoResponse {
    let body = b"\0\0\0\0\0\x80\0\0\0\x0fgrpc-status:0\r\n";
    let content_type = headers["content-type"].clone();
    let is_text = content_type == "application/grpc-web-text";
    let body = match is_text {
        true => BASE64.encode(body).into_bytes(),
        false => body.to_vec(),
    };
    ([("content-type", content_type)], body)
}

/// Through two routes: one with default settings, one configured for the claims of tutorials.
async fn axum_agrees_with(peer: Peer) {
    let Some((_peer, offer)) = peer.start().await else {
        return;
    };
    let plain = match peer {
        Peer::Joserfc => JwtAuthLayer::from_issuer(&offer.issuer, AUDIENCE),
        Peer::Jwcrypto | Peer::Jose | Peer::GrpcWeb => JwtAuthLayer::new([offer.policy()]),
    };
    let tutorial = offer.policy().subject_claim("userId").roles_claim("role");
    let tutorial = JwtAuthLayer::new([tutorial]).unwrap();
    let admins = RequireRoleLayer::any(["admin"]);

    let subject = get(|me: Identity| async move { me.subject().to_owned() });
    let service = Router::new()
        .route("/plain", subject.clone().layer(plain.unwrap()))
        .route("/tutorial", subject.layer((tutorial, admins)));
    let url = listen(service).await;

    let client = client();
    let mut wrong = Vec::new();
    for token in &offer.tokens {
        let route = if token.tutorial { "tutorial" } else { "plain" };
        let (status, body) = ask(&client, &format!("{url}/{route}"), &token.token).await;
        let subject = token.subject.as_deref();
        if !token.is_answered(&token.expect, status, &body)
            || status == 200 && Some(&*body) != subject
        {
            wrong.push(token.complaint(&token.expect, status, &body));
        }
    }
    assert!(wrong.is_empty(), "{peer:?}:\n{}", wrong.join("\n"));
}

async fn gateway_agrees_with(peer: Peer) {
    let Some((_peer, offer)) = peer.start().await else {
        return;
    };
    let whom = async |headers: HeaderMap| match headers.get("x-user-id") {
        Some(subject) => subject.as_bytes().to_vec(),
        None => b"nobody".to_vec(),
    };
    let upstream = listen(Router::new().fallback(whom)).await;
    let (_gateway, url) = start_gateway(&offer.issuer, &upstream).await;

    let client = client();
    let mut wrong = Vec::new();
    for token in &offer.tokens {
        // The gateway reads the subject from `sub` only.
        let expected = if token.tutorial {
            "invalid_claim"
        } else {
            &token.expect
        };
        let (status, body) = ask(&client, &format!("{url}/orders"), &token.token).await;
        let subject = token.subject.as_deref();
        if !token.is_answered(expected, status, &body) || status == 200 && Some(&*body) != subject {
            wrong.push(token.complaint(expected, status, &body));
        }
    }
    assert!(wrong.is_empty(), "{peer:?}:\n{}", wrong.join("\n"));
}

async fn verifies_our_tokens(peer: Peer) {
    let Some(mut verifier) = peer.command() else {
        return;
    };
    let mut questions = Vec::new();
    let mut accepted = Vec::new();
    for algorithm in [
        Algorithm::RS256,
        Algorithm::PS256,
        Algorithm::ES256,
        Algorithm::EdDSA,
    ] {
        let issuer = TestIssuer::start_with(algorithm, Clock::System);
        let issuer = issuer.await.unwrap().with_audience(AUDIENCE);
        let before = issuer.token("alice").sign();
        issuer.rotate();
        for (name, token, accept) in [
            ("good", issuer.token("alice").sign(), true),
            ("good, of the key before", before, true),
            ("expired", issuer.token("alice").expired().sign(), false),
            ("tampered", issuer.token("alice").tampered().sign(), false),
            (
                "stranger",
                issuer.token("alice").signed_by_stranger().sign(),
                false,
            ),
            (
                "wrong audience",
                issuer.token("alice").audience("billing-api").sign(),
                false,
            ),
        ] {
            let jwks: Value = serde_json::from_str(&issuer.jwks()).unwrap();
            questions.push(json!({
                "jwks": jwks, "token": token, "issuer": issuer.issuer(), "audience": AUDIENCE,
            }));
            accepted.push((algorithm, name, accept));
        }
    }

    let mut child = spawn(verifier.arg("verify"));
    let mut stdin = child.stdin.take().unwrap();
    for question in questions {
        stdin
            .write_all(format!("{question}\n").as_bytes())
            .await
            .unwrap();
    }
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await;
    let output = String::from_utf8(output.expect("an end in time").unwrap().stdout).unwrap();
    assert_eq!(output.lines().count(), accepted.len(), "{output}");
    for (answer, (algorithm, name, accept)) in output.lines().zip(accepted) {
        let answer: Value = serde_json::from_str(answer).unwrap();
        let as_expected = match accept {
            true => answer["sub"] == "alice",
            false => answer["error"].is_string(),
        };
        assert!(as_expected, "{peer:?}, {algorithm}, {name}: {answer}");
    }
}

// === impl Peer ===

impl Peer {
    async fn start(self) -> Option<(Running, Offer)> {
        let (running, offer) = start(&mut self.command()?, "{").await;
        let offer: Offer = serde_json::from_str(&format!("{{{offer}")).unwrap();
        assert!(offer.tokens.len() > 50, "{self:?}: too few tokens");
        Some((running, offer))
    }

    /// The command of this peer; `None` if its library is not installed.
    fn command(self) -> Option<Command> {
        let home = Path::new(env!("CARGO_MANIFEST_DIR"));
        let installed = home.join("target/interop");
        let (name, stamp) = match self {
            Self::Joserfc => ("joserfc", "python.stamp"),
            Self::Jwcrypto => ("jwcrypto", "python.stamp"),
            Self::Jose => ("jose", "node.stamp"),
            Self::GrpcWeb => ("grpc_web", "node.stamp"),
        };
        if !installed.join(stamp).exists() {
            let skipped = format!("SKIPPED interop ({name}): tests/interop/install");
            let required = env::var_os("PORTCULLIS_REQUIRE_ALL").is_some_and(|all| all == "1");
            assert!(!required, "{skipped}");
            // The print macros would be captured by the test harness.
            let line = format!("{skipped}\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
        if let Self::Jose | Self::GrpcWeb = self {
            let mut node = Command::new("node");
            node.arg("--preserve-symlinks-main");
            node.arg(installed.join(format!("node/{name}_peer.mjs")));
            return Some(node);
        }
        let mut python = Command::new(installed.join("python/bin/python"));
        python.arg("-B"); // writes no compiled files next to the source
        python.arg(home.join(format!("tests/interop/{name}_peer.py")));
        Some(python)
    }
}

// === impl Offer ===

impl Offer {
    fn policy(&self) -> Issuer {
        let source = JwksSource::uri(&self.issuer, &self.jwks_uri).unwrap();
        Issuer::new(&self.issuer)
            .audience(AUDIENCE)
            .with_keys(JwksCache::new([source]).unwrap())
    }
}

// === impl Token ===

impl Token {
    fn is_answered(&self, expected: &str, status: u16, body: &str) -> bool {
        let code = || serde_json::from_str::<Value>(body).map(|body| body["code"] == expected);
        match expected {
            "accept" => status == 200,
            "insufficient_scope" => status == 403 && code().unwrap_or(false),
            _ => status == 401 && code().unwrap_or(false),
        }
    }

    fn complaint(&self, expected: &str, status: u16, body: &str) -> String {
        let Self { name, alg, .. } = self;
        format!("{alg}, {name}: expected {expected}, got {status} {body}")
    }
}

/// The example's program, which Cargo builds with the tests; it is built here if only this test was
/// requested.
async fn start_gateway(issuer: &str, upstream: &str) -> (Running, String) {
    let test = env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let named = |profile: &Path| {
        let gateway = profile.join("examples/gateway");
        gateway.with_extension(env::consts::EXE_EXTENSION)
    };
    let mut gateway = named(profile);
    if !gateway.exists() {
        let target = profile.parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", "gateway", "--target-dir"]);
        cargo.arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
        let built = cargo.status().await.unwrap();
        assert!(built.success(), "the example `gateway` does not build");
        gateway = named(&target.join("debug"));
    }
    let mut command = Command::new(gateway);
    command.args(["--issuer", issuer, "--audience", AUDIENCE]);
    command.args(["--upstream", upstream, "--listen", "127.0.0.1:0"]);
    start(&mut command, "listening on ").await
}

/// Starts a program and waits for its line that starts with `prefix`; returns the rest of that
/// line.
async fn start(command: &mut Command, prefix: &str) -> (Running, String) {
    let mut child = spawn(command);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = async {
        loop {
            let line = lines.next_line().await.unwrap();
            let line =
                line.unwrap_or_else(|| panic!("{command:?} ended before it said {prefix:?}"));
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
    };
    let said = timeout(PATIENCE, said).await.expect("a line in time");
    // Later output is read too, or the program would block on a full pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (Running(child), said)
}

fn spawn(command: &mut Command) -> Child {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = command.kill_on_drop(true).spawn();
    child.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

async fn listen(service: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, service).into_future());
    url
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn ask(client: &reqwest::Client, url: &str, token: &str) -> (u16, String) {
    let answer = client.get(url).bearer_auth(token).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}
