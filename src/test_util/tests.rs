use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};

use super::{TestIssuer, TestToken};
use crate::algorithm::{Algorithm, Algorithms};
use crate::clock::{Clock, ManualClock};
use crate::identity::Identity;
use crate::jwks::KeySet;

const NOW: u64 = 1_800_000_000;

async fn issuer() -> TestIssuer {
    let clock = ManualClock::at(NOW);
    TestIssuer::start_with(Algorithm::ES256, clock)
        .await
        .unwrap()
}

async fn get(url: &str) -> reqwest::Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(url).send().await.unwrap()
}

fn part(token: &str, index: usize) -> Value {
    let segment = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).unwrap()).unwrap()
}

fn header(token: TestToken) -> Value {
    part(&token.sign(), 0)
}

fn claims(token: TestToken) -> Value {
    part(&token.sign(), 1)
}

/// Verifies a token with the key that the issuer publishes under its kid.
fn verifies(issuer: &TestIssuer, token: &str) -> bool {
    let set = KeySet::from_json(issuer.jwks().as_bytes()).unwrap();
    let header = part(token, 0);
    let algorithm = issuer.key_ring().signing_key().algorithm();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    set.find(header["kid"].as_str(), algorithm)
        .is_some_and(|key| key.verify(algorithm, message.as_bytes(), &signature))
}

#[tokio::test]
async fn discovery_leads_to_the_keys() {
    let issuer = issuer().await;
    let url = format!("{}/.well-known/openid-configuration", issuer.issuer());
    let document: Value = serde_json::from_str(&get(&url).await.text().await.unwrap()).unwrap();
    assert_eq!(document["issuer"], issuer.issuer());
    let keys = get(document["jwks_uri"].as_str().unwrap()).await;
    assert_eq!(keys.headers()["content-type"], "application/json");
    assert!(!keys.headers().contains_key("cache-control"));
    assert_eq!(keys.text().await.unwrap(), issuer.jwks());
    assert_eq!((issuer.discoveries(), issuer.fetches()), (1, 1));
}

#[tokio::test]
async fn plain_token_is_complete_and_verifies() {
    let issuer = issuer().await;
    let token = issuer.token("alice").sign();
    assert!(verifies(&issuer, &token));
    let expected = json!({
        "iss": issuer.issuer(), "aud": "test-audience", "sub": "alice",
        "iat": NOW, "exp": NOW + 300, "jti": "token-1",
    });
    assert_eq!(part(&token, 1), expected);
    assert_eq!(claims(issuer.token("alice"))["jti"], "token-2");
    assert_eq!(
        part(&token, 0),
        json!({ "alg": "ES256", "kid": issuer.key_ring().signing_kid(), "typ": "at+jwt" })
    );
}

#[tokio::test]
async fn each_setter_changes_one_thing() {
    let issuer = issuer().await.with_audience("orders-api");
    let token = || issuer.token("alice");
    assert_eq!(claims(token())["aud"], "orders-api");
    assert_eq!(claims(token().audience("b"))["aud"], "b");
    assert_eq!(claims(token().issued_by("x"))["iss"], "x");
    assert_eq!(
        claims(token().role("a").roles(["b", "c"]))["roles"],
        json!(["a", "b", "c"])
    );
    assert_eq!(claims(token().scope("a b").scope("c"))["scope"], "a b c");
    assert_eq!(claims(token().permission("p"))["permissions"], json!(["p"]));
    assert_eq!(
        claims(token().claim("aud", ["a", "b"]))["aud"],
        json!(["a", "b"])
    );
    assert_eq!(claims(token().without("exp")).get("exp"), None);
    assert_eq!(
        claims(token().expires_in(Duration::from_secs(7)))["exp"],
        NOW + 7
    );
    assert_eq!(claims(token().expired())["exp"], NOW - 3600);
    assert_eq!(
        claims(token().not_before_in(Duration::from_secs(7)))["nbf"],
        NOW + 7
    );
    assert_eq!(header(token().kid("k"))["kid"], "k");
    assert_eq!(header(token().without_kid()).get("kid"), None);
    assert_eq!(header(token().typ("JWT"))["typ"], "JWT");
    assert_eq!(header(token().without_header("typ")).get("typ"), None);
    assert_eq!(
        header(token().header("crit", ["b64"]))["crit"],
        json!(["b64"])
    );
    assert!(verifies(&issuer, &token().header("crit", ["b64"]).sign()));
}

#[tokio::test]
async fn bad_tokens_differ_in_the_signature_only() {
    let issuer = issuer().await;
    let tampered = issuer.token("alice").tampered().sign();
    assert_eq!(part(&tampered, 1)["tampered"], true);
    assert!(!verifies(&issuer, &tampered));

    let stranger = issuer.token("alice").signed_by_stranger().sign();
    assert_eq!(part(&stranger, 0)["kid"], issuer.key_ring().signing_kid());
    assert!(!verifies(&issuer, &stranger));

    let none = issuer.token("alice").alg_none().sign();
    assert_eq!(part(&none, 0)["alg"], "none");
    assert!(none.ends_with('.') && none.split('.').count() == 3);
}

#[tokio::test]
async fn rotation_shows_in_the_document() {
    let issuer = issuer().await;
    let before = issuer.token("alice").sign();
    let old = issuer.rotate();
    assert!(verifies(&issuer, &before) && verifies(&issuer, &issuer.token("alice").sign()));
    issuer.retire(&old);
    assert!(!verifies(&issuer, &before));
    let next = issuer.stage();
    assert_ne!(header(issuer.token("alice"))["kid"], next.as_str());
    issuer.promote();
    assert_eq!(header(issuer.token("alice"))["kid"], next.as_str());
    assert!(
        get(issuer.jwks_uri())
            .await
            .text()
            .await
            .unwrap()
            .contains(&next)
    );
}

#[tokio::test]
async fn faults_end_when_the_issuer_recovers() {
    let issuer = issuer().await;
    let discovery = format!("{}/.well-known/openid-configuration", issuer.issuer());
    issuer.fail_with(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(issuer.jwks_uri()).await.status(), 503);
    assert_eq!(get(&discovery).await.status(), 503);

    issuer.recover();
    issuer.cache_control("max-age=60");
    issuer.serve_raw("not json");
    issuer.serve_raw_discovery("[]");
    let raw = get(issuer.jwks_uri()).await;
    assert_eq!(raw.headers()["cache-control"], "max-age=60");
    assert_eq!(raw.text().await.unwrap(), "not json");
    assert_eq!(get(&discovery).await.text().await.unwrap(), "[]");

    issuer.recover();
    assert_eq!(
        get(issuer.jwks_uri()).await.text().await.unwrap(),
        issuer.jwks()
    );
    assert_eq!((issuer.discoveries(), issuer.fetches()), (2, 3));
}

#[tokio::test]
async fn answers_304_for_an_unchanged_document() {
    let issuer = issuer().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let etag = get(issuer.jwks_uri()).await.headers()["etag"].clone();
    let again = || {
        client
            .get(issuer.jwks_uri())
            .header("if-none-match", &etag)
            .send()
    };
    let unchanged = again().await.unwrap();
    assert_eq!(unchanged.status(), 304);
    assert_eq!(unchanged.headers()["etag"], etag);

    issuer.stage();
    assert_eq!(again().await.unwrap().status(), 200);
    assert_eq!((issuer.fetches(), issuer.not_modified()), (3, 1));
}

#[tokio::test]
async fn held_request_is_counted_and_answered_on_release() {
    let issuer = issuer().await;
    issuer.hold();
    let uri = issuer.jwks_uri().to_owned();
    let fetch = tokio::spawn(async move { get(&uri).await.status() });
    issuer.wait_for_fetches(1).await;
    assert!(!fetch.is_finished());
    issuer.release();
    assert_eq!(fetch.await.unwrap(), 200);
}

#[tokio::test]
async fn server_ends_with_its_last_handle() {
    let issuer = issuer().await;
    let clone = issuer.clone();
    let uri = issuer.jwks_uri().to_owned();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    drop(issuer);
    assert!(client.get(&uri).send().await.is_ok());

    clone.hold();
    let held = tokio::spawn(client.get(&uri).send());
    clone.wait_for_fetches(2).await;
    drop(clone);
    assert!(held.await.unwrap().is_ok());
    while client.get(&uri).send().await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn refuses_an_hmac_algorithm() {
    let error = TestIssuer::start_with(Algorithm::HS256, ManualClock::at(NOW))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[tokio::test]
#[should_panic(expected = "is the signing key: promote another key")]
async fn retiring_the_signing_key_panics() {
    let issuer = issuer().await;
    issuer.retire(&issuer.key_ring().signing_kid());
}

#[test]
fn offline_tokens_verify_with_the_key_set() {
    for algorithm in Algorithms::ASYMMETRIC.iter() {
        let issuer = TestIssuer::offline_with(algorithm, ManualClock::at(NOW)).unwrap();
        assert!(
            verifies(&issuer, &issuer.token("alice").sign()),
            "{algorithm}"
        );
        let old = issuer.token("alice").sign();
        let kid = issuer.rotate();
        assert!(verifies(&issuer, &issuer.token("alice").sign()));
        issuer.retire(&kid);
        assert!(!verifies(&issuer, &old));
    }
    let error = TestIssuer::offline_with(Algorithm::HS256, Clock::System).unwrap_err();
    assert!(error.to_string().contains("shared secret"), "{error}");
}

#[test]
fn identity_has_the_claims_of_its_token() {
    let alice = super::identity("alice")
        .roles([String::from("reader")])
        .roles(["admin"])
        .scope("orders:read")
        .permission("orders.delete")
        .claim("client_id", "shop")
        .claim("plan", "gold")
        .into_identity();
    assert_eq!(alice.subject(), "alice");
    assert_eq!(alice.issuer(), "https://issuer.test");
    assert_eq!(alice.client(), Some("shop"));
    assert!(alice.roles().contains("admin") && alice.roles().contains("reader"));
    assert!(alice.scopes().contains("orders:read"));
    assert!(alice.permissions().contains("orders.delete"));
    assert_eq!(alice.claim("plan"), Some(&json!("gold")));
    let token = TestIssuer::offline_with(Algorithm::EdDSA, ManualClock::at(NOW));
    let bob = token.unwrap().token("bob").audience("other").into_caller();
    assert_eq!(bob.identity().map(Identity::subject), Some("bob"));
}

#[test]
#[should_panic(expected = "the token makes no identity: expired")]
fn invalid_token_makes_no_identity() {
    let _ = super::identity("alice").expired().into_identity();
}
