//! Hostile responses of issuers, and clients that cause requests to issuers.

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use http::{HeaderMap, StatusCode, Uri};
use portcullis::jwks::KeySetError;
use portcullis::{JwksCache, JwksSource, KeySet, ManualClock, TestIssuer};
use serde_json::json;
use tokio::net::TcpListener;

use super::board::Board;
use super::site::{AUDIENCE, NOW, Site, Stack, auth, policy, present, stack};
use crate::forge::Forge;

pub(crate) async fn mount(board: &mut Board) {
    documents(board).await;
    discovery(board).await;
    floods(board).await;
    neighbours(board).await;
    stalls(board).await;
    freshness(board).await;
    seen_by_issuer(board).await;
}

async fn start() -> (TestIssuer, ManualClock) {
    let clock = ManualClock::at(NOW);
    let algorithm = portcullis::Algorithm::ES256;
    let issuer = TestIssuer::start_with(algorithm, clock.clone()).await;
    (issuer.unwrap().with_audience(AUDIENCE), clock)
}

fn behind(issuer: &TestIssuer, clock: &ManualClock, source: JwksSource) -> (Stack, JwksCache) {
    let source = source.clock(clock.clone());
    let keys = JwksCache::new([source]).unwrap();
    (stack(auth(policy(issuer), &keys, clock)), keys)
}

/// The answer to the first good token, and the error of the fetch:
/// `503 keys_unavailable (status)`.
async fn cold(issuer: &TestIssuer, clock: &ManualClock, source: JwksSource) -> String {
    let (stack, keys) = behind(issuer, clock, source);
    let answer = present(&stack, &issuer.token("alice").sign()).await;
    match keys.status()[0].last_error {
        None => answer,
        Some(error) => format!("{answer} ({error})"),
    }
}

fn uri(issuer: &TestIssuer) -> JwksSource {
    JwksSource::uri(issuer.issuer(), issuer.jwks_uri()).unwrap()
}

/// The answer to the first good token if the issuer serves this key set.
async fn documents(board: &mut Board) {
    let (issuer, clock) = start().await;
    let good = cold(&issuer, &clock, uri(&issuer)).await;
    assert_eq!(good, "200", "control");
    let key = Forge::new();
    let many: Vec<_> = (0..256).map(|at| key.jwk(&at.to_string())).collect();
    let own = issuer.jwks();
    let own = own.strip_prefix(r#"{"keys":["#).unwrap();
    let many = serde_json::to_string(&many).unwrap();
    let many = many.strip_suffix(']').unwrap();
    let many = format!(r#"{{"keys":{many},{own}"#);
    let refused = KeySet::from_json(many.as_bytes()).unwrap_err();
    assert_eq!(refused, KeySetError::TooManyKeys);
    for (id, document) in [
        (
            "page-in-place-of-keys",
            "<!doctype html><title>Sign in</title>".to_owned(),
        ),
        ("one-key-too-many", many),
        (
            "half-a-megabyte-of-keys",
            format!("{}{}", issuer.jwks(), " ".repeat(512 * 1024)),
        ),
    ] {
        issuer.serve_raw(document);
        board.row(id, cold(&issuer, &clock, uri(&issuer)).await);
    }
    issuer.recover();

    let target = issuer.jwks_uri().to_owned();
    let away = get(move || async move { Redirect::temporary(&target) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(away)).await });
    let source = JwksSource::uri(issuer.issuer(), format!("http://{address}/")).unwrap();
    let before = issuer.fetches();
    let answer = cold(&issuer, &clock, source).await;
    board.row("redirect-to-other-keys", answer);
    assert_eq!(issuer.fetches(), before);
}

async fn discovery(board: &mut Board) {
    let (issuer, clock) = start().await;
    let discover = || JwksSource::discover(issuer.issuer()).unwrap();
    let good = cold(&issuer, &clock, discover()).await;
    assert_eq!(good, "200", "control");
    let (iss, own) = (issuer.issuer(), issuer.jwks_uri());
    for (id, issuer_named, keys_at) in [
        ("metadata-of-another-issuer", "https://evil.example", own),
        ("keys-in-a-file", iss, "file:///etc/passwd"),
        (
            "keys-at-the-metadata-service-of-a-cloud",
            iss,
            "http://169.254.169.254/latest/meta-data/",
        ),
        (
            "keys-in-clear-from-another-machine",
            iss,
            "http://id.example.com/keys",
        ),
    ] {
        let document = json!({"issuer": issuer_named, "jwks_uri": keys_at});
        issuer.serve_raw_discovery(document.to_string());
        let before = issuer.fetches();
        board.row(id, cold(&issuer, &clock, discover()).await);
        assert_eq!(issuer.fetches(), before, "{id}");
    }
}

/// The answer and the number of fetches: `401 unknown_key, 2 fetches`.
fn counted(mut answers: Vec<String>, fetches: usize) -> String {
    answers.dedup();
    let plural = if fetches == 1 { "fetch" } else { "fetches" };
    format!("{}, {fetches} {plural}", answers.join(" or "))
}

async fn floods(board: &mut Board) {
    let site = Site::open().await;
    let stack = site.stack().await;
    let mut answers = Vec::new();
    let before = site.issuer.fetches();
    for _ in 0..50 {
        let forged = site.issuer.token("mallory").signed_by_stranger().sign();
        answers.push(present(&stack, &forged).await);
    }
    let fetches = site.issuer.fetches() - before;
    board.row("flood-of-forged-signatures", counted(answers, fetches));

    let mut answers = Vec::new();
    let before = site.issuer.fetches();
    for at in 0..100 {
        let junk = site
            .issuer
            .token("mallory")
            .kid(&format!("junk-{at}"))
            .sign();
        answers.push(present(&stack, &junk).await);
    }
    let fetches = site.issuer.fetches() - before;
    board.row("flood-of-key-names", counted(answers, fetches));
    site.admits(&stack).await;

    // The other refetch is left for the new key.
    let junk = site.issuer.token("mallory").kid("one-more-junk").sign();
    site.issuer.recover();
    site.clock.advance(Duration::from_secs(31));
    assert_eq!(present(&stack, &junk).await, "401 unknown_key");
    site.issuer.rotate();
    let new = site.issuer.token("alice").sign();
    board.row(
        "made-up-key-name-before-a-rotation",
        present(&stack, &new).await,
    );

    site.issuer.fail_with(StatusCode::BAD_GATEWAY);
    site.clock.advance(Duration::from_secs(31));
    let junk = site.issuer.token("mallory").kid("junk").sign();
    board.row(
        "unknown-key-name-while-the-issuer-is-down",
        present(&stack, &junk).await,
    );
    assert_eq!(present(&stack, &new).await, "200", "control");

    let (issuer, clock) = start().await;
    let (cold, _) = behind(&issuer, &clock, uri(&issuer));
    let token = issuer.token("alice").sign();
    issuer.hold();
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (stack, token) = (cold.clone(), token.clone());
            tokio::spawn(async move { present(&stack, &token).await })
        })
        .collect();
    issuer.wait_for_fetches(1).await;
    issuer.release();
    let mut answers = Vec::new();
    for answer in waiting {
        answers.push(answer.await.unwrap());
    }
    board.row(
        "crowd-at-the-first-request",
        counted(answers, issuer.fetches()),
    );
}

async fn neighbours(board: &mut Board) {
    let (issuer, clock) = start().await;
    let gone = JwksSource::uri("https://gone.example/", "http://127.0.0.1:1/keys").unwrap();
    let keys = JwksCache::new([gone, uri(&issuer)].map(|source| source.clock(clock.clone())));
    let keys = keys.unwrap();
    assert!(keys.warm().await.is_err());
    let old = issuer.rotate();
    issuer.retire(&old);
    clock.advance(Duration::from_secs(9 * 60));
    let stack = stack(auth(policy(&issuer), &keys, &clock));
    let token = issuer.token("alice").sign();
    board.row(
        "issuer-that-is-gone-beside-another",
        present(&stack, &token).await,
    );
}

async fn stalls(board: &mut Board) {
    let (issuer, clock) = start().await;
    let token = issuer.token("alice").sign();
    issuer.hold();
    let hasty = uri(&issuer).timeout(Duration::from_millis(50));
    let answer = cold(&issuer, &clock, hasty).await;
    board.row("issuer-that-never-answers", answer);

    let (cold, _) = behind(&issuer, &clock, uri(&issuer));
    let asked = issuer.fetches();
    let quitter = tokio::spawn({
        let (stack, token) = (cold.clone(), token.clone());
        async move { present(&stack, &token).await }
    });
    issuer.wait_for_fetches(asked + 1).await;
    let patient = tokio::spawn(async move { present(&cold, &token).await });
    quitter.abort();
    issuer.release();
    board.row("first-client-hangs-up", patient.await.unwrap());

    let site = Site::open().await;
    let stack = site.stack().await;
    let asked = site.issuer.fetches();
    site.issuer.hold();
    site.clock.advance(Duration::from_secs(9 * 60));
    let mut answers = Vec::new();
    for _ in 0..10 {
        let known = site.issuer.token("alice").sign();
        answers.push(present(&stack, &known).await);
    }
    site.issuer.wait_for_fetches(asked + 1).await;
    let fetches = site.issuer.fetches() - asked;
    board.row("issuer-that-stalls-a-refresh", counted(answers, fetches));
}

/// What an issuer learns about the token whose key is fetched.
async fn seen_by_issuer(board: &mut Board) {
    const KID: &str = "k?a=1&b=2#c%0d%0aX-Injected: 1";
    let key = Forge::new();
    let heard = Arc::<Mutex<String>>::default();
    let (jwks, line) = (json!({"keys": [key.jwk("forge")]}), heard.clone());
    let listen = get(move |uri: Uri, headers: HeaderMap| async move {
        writeln!(line.lock().unwrap(), "{uri} {headers:?}").unwrap();
        jwks.to_string()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(listen)).await });

    let (issuer, clock) = start().await;
    let source = JwksSource::uri(issuer.issuer(), format!("http://{address}/keys")).unwrap();
    let (stack, keys) = behind(&issuer, &clock, source);
    keys.warm().await.unwrap();
    let junk = issuer.token("mallory").kid(KID).sign();
    assert_eq!(present(&stack, &junk).await, "401 unknown_key");
    let heard = heard.lock().unwrap();
    let requests: Vec<_> = heard.lines().collect();
    let [first, second] = requests[..] else {
        panic!("{requests:?}")
    };
    let same = first == second && first.starts_with("/keys {");
    let outcome = if same { "nothing sent" } else { second };
    board.row("key-name-for-the-issuer-to-read", outcome);
}

async fn freshness(board: &mut Board) {
    let site = Site::open().await;
    let stack = site.stack().await;
    site.issuer.serve_raw(r#"{"keys":[]}"#);
    assert!(site.keys.warm().await.is_err());
    let token = site.issuer.token("alice").sign();
    board.row("keys-replaced-by-none", present(&stack, &token).await);

    let eager = Site::open().await;
    eager.issuer.cache_control("no-store, max-age=0");
    eager.keys.warm().await.unwrap();
    let stack = eager.stack().await;
    let before = eager.issuer.fetches();
    let mut answers = Vec::new();
    for _ in 0..50 {
        answers.push(present(&stack, &eager.issuer.token("alice").sign()).await);
    }
    let fetches = eager.issuer.fetches() - before;
    board.row("keys-that-may-not-be-kept", counted(answers, fetches));

    let lasting = Site::open().await;
    lasting.issuer.recover();
    lasting.issuer.cache_control("max-age=31536000");
    lasting.keys.warm().await.unwrap();
    let stack = super::site::stack(lasting.auth.clone());
    let old_kid = lasting.issuer.rotate();
    lasting.issuer.retire(&old_kid);
    let asked = lasting.issuer.fetches();
    lasting.clock.advance(Duration::from_secs(3600));
    let old = lasting.issuer.token("alice").kid(&old_kid).sign();
    // Signed by the new key under the kid of the old key. The kid is known, so only a refresh
    // replaces the key.
    assert_eq!(present(&stack, &old).await, "401 bad_signature");
    lasting.issuer.wait_for_fetches(asked + 1).await;
    // Joins the refresh that the token caused, if it has not ended.
    lasting.keys.warm().await.unwrap();
    board.row(
        "keys-that-may-be-kept-for-a-year",
        present(&stack, &old).await,
    );
}
