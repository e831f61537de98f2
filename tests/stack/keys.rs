//! Keys that rotate, disappear and stall, behind a stack of layers.

use std::time::Duration;

use futures_util::FutureExt;
use portcullis::{ManualClock, Reason};

use super::*;

/// A stack with a clock that only the test advances.
async fn clocked() -> (TestIssuer, ManualClock, Stack, JwksCache) {
    let (issuer, clock, auth, keys) = clocked_auth().await;
    (issuer, clock, stack(auth), keys)
}

async fn clocked_auth() -> (TestIssuer, ManualClock, JwtAuthLayer, JwksCache) {
    let clock = ManualClock::at(1_800_000_000);
    let issuer = TestIssuer::start_with(portcullis::Algorithm::ES256, clock.clone()).await;
    let issuer = issuer.unwrap().with_audience(AUDIENCE);
    let source = JwksSource::uri(issuer.issuer(), issuer.jwks_uri()).unwrap();
    let keys = JwksCache::new([source.clock(clock.clone())]).unwrap();
    let policy = Issuer::new(issuer.issuer()).audience(AUDIENCE);
    let auth = JwtAuthLayer::new([policy])
        .unwrap()
        .with_keys(keys.clone())
        .unwrap();
    (issuer, clock.clone(), auth.clock(clock), keys)
}

async fn status(stack: &Stack, token: &str) -> u16 {
    send(stack, request(Some(token))).await.status.as_u16()
}

#[tokio::test]
async fn a_hundred_first_requests_cause_one_fetch() {
    let (issuer, _, stack, _) = clocked().await;
    let token = issuer.token("alice").sign();
    issuer.hold();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (stack, token) = (stack.clone(), token.clone());
            tokio::spawn(async move { status(&stack, &token).await })
        })
        .collect();
    issuer.wait_for_fetches(1).await;
    issuer.release();
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), 200);
    }
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn a_cancelled_request_does_not_cancel_the_fetch() {
    let (issuer, _, stack, _) = clocked().await;
    let token = issuer.token("alice").sign();
    issuer.hold();
    let quitter = tokio::spawn({
        let (stack, token) = (stack.clone(), token.clone());
        async move { status(&stack, &token).await }
    });
    issuer.wait_for_fetches(1).await;
    let patient = tokio::spawn({
        let (stack, token) = (stack.clone(), token.clone());
        async move { status(&stack, &token).await }
    });
    quitter.abort();
    issuer.release();
    assert_eq!(patient.await.unwrap(), 200);
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn a_new_key_is_fetched_once() {
    let (issuer, _, stack, keys) = clocked().await;
    let old = issuer.token("alice").sign();
    assert_eq!(status(&stack, &old).await, 200);

    let old_kid = issuer.rotate();
    let new = issuer.token("alice").sign();
    assert_eq!(status(&stack, &new).await, 200);
    assert_eq!(status(&stack, &old).await, 200);
    assert_eq!(issuer.fetches(), 2);

    issuer.retire(&old_kid);
    assert_eq!(
        status(&stack, &old).await,
        200,
        "nobody has asked the issuer since"
    );
    keys.warm().await.unwrap();
    let answer = send(&stack, request(Some(&old))).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["code"].as_str()),
        (401, Some("unknown_key"))
    );
    assert_eq!(status(&stack, &new).await, 200);
}

#[tokio::test]
async fn verify_waits_for_a_rotated_key() {
    let (issuer, _, auth, _) = clocked_auth().await;
    let old = issuer.token("alice").sign();
    assert_eq!(auth.verify(&old).await.unwrap().subject(), "alice");

    issuer.rotate();
    let new = issuer.token("bob").sign();
    assert_eq!(auth.verify(&new).await.unwrap().subject(), "bob");
    assert_eq!(auth.verify(&old).await.unwrap().subject(), "alice");
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn verify_now_fetches_a_rotated_key_in_the_background() {
    let (issuer, _, auth, keys) = clocked_auth().await;
    let reason = |token: &str| auth.verify_now(token).unwrap_err().reason();
    let old = issuer.token("alice").sign();
    assert_eq!(reason(&old), Reason::KeysUnavailable, "nothing was fetched");
    keys.warm().await.unwrap();
    assert!(auth.verify_now(&old).is_ok());

    issuer.rotate();
    let new = issuer.token("bob").sign();
    let rejection = auth.verify_now(&new).unwrap_err();
    assert_eq!(rejection.reason(), Reason::KeysUnavailable);
    assert!(rejection.retry_after().is_some());
    issuer.wait_for_fetches(2).await;
    auth.verify(&new).await.unwrap(); // until the fetch ends
    assert_eq!(auth.verify_now(&new).unwrap().subject(), "bob");
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn unknown_kids_in_verify_share_the_cooldown() {
    let (issuer, _, auth, keys) = clocked_auth().await;
    keys.warm().await.unwrap();
    for at in 0..100 {
        let junk = issuer.token("mallory").kid(&format!("junk-{at}")).sign();
        let rejection = auth.verify(&junk).await.unwrap_err();
        assert_eq!(rejection.reason(), Reason::UnknownKey);
        assert!(auth.verify_now(&junk).is_err());
    }
    assert_eq!(issuer.fetches(), 3);
}

#[tokio::test]
async fn forged_tokens_never_reach_the_issuer() {
    let (issuer, _, stack, _) = clocked().await;
    assert_eq!(status(&stack, &issuer.token("alice").sign()).await, 200);
    for at in 0..200 {
        let forged = issuer.token("mallory").signed_by_stranger().sign();
        assert_eq!(status(&stack, &forged).await, 401);
        let unnamed = issuer
            .token("mallory")
            .without_kid()
            .signed_by_stranger()
            .sign();
        assert_eq!(status(&stack, &unnamed).await, 401);
        let junk = issuer.token("mallory").kid(&format!("junk-{at}")).sign();
        assert_eq!(status(&stack, &junk).await, 401);
    }
    assert!(issuer.fetches() <= 3, "{} fetches", issuer.fetches());
    assert_eq!(
        status(&stack, &issuer.token("alice").without_kid().sign()).await,
        200
    );
}

#[tokio::test]
async fn a_flood_of_unknown_kids_costs_two_fetches() {
    let (issuer, clock, stack, keys) = clocked().await;
    keys.warm().await.unwrap();
    for cooldown in 1..=5 {
        for at in 0..300 {
            let junk = issuer.token("mallory").kid(&format!("{cooldown}-{at}"));
            assert_eq!(status(&stack, &junk.sign()).await, 401);
            let good = issuer.token("alice").sign();
            let answer = status(&stack, &good).now_or_never();
            assert_eq!(answer, Some(200), "a good token does not wait");
        }
        assert_eq!(issuer.fetches(), 1 + 2 * cooldown);
        clock.advance(Duration::from_secs(30));
    }
}

#[tokio::test]
async fn known_keys_serve_an_outage_until_max_stale() {
    let (issuer, clock, stack, _) = clocked().await;
    assert_eq!(status(&stack, &issuer.token("alice").sign()).await, 200);
    issuer.fail_with(StatusCode::BAD_GATEWAY);
    for minutes in [9, 20, 30] {
        clock.advance(Duration::from_secs(minutes * 60));
        assert_eq!(
            status(&stack, &issuer.token("alice").sign()).await,
            200,
            "{minutes}"
        );
    }
    // The TTL of 10 minutes and `max_stale` of an hour are over.
    clock.advance(Duration::from_secs(15 * 60));
    let answer = send(&stack, request(Some(&issuer.token("alice").sign()))).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["code"], "keys_unavailable");
    issuer.recover();
    clock.advance(Duration::from_secs(61));
    assert_eq!(status(&stack, &issuer.token("alice").sign()).await, 200);
}

#[tokio::test]
async fn a_purged_key_is_refused_at_once() {
    let (issuer, _, stack, keys) = clocked().await;
    let token = issuer.token("alice").sign();
    assert_eq!(status(&stack, &token).await, 200);
    keys.purge(issuer.issuer(), &issuer.key_ring().signing_kid());
    assert_eq!(status(&stack, &token).await, 401);
}

#[test]
fn a_secret_verifies_only_its_own_signatures() {
    const ISS: &str = "https://id.example.com/";
    let (secret, other) = ([7_u8; 64], [8_u8; 64]);
    let claims =
        serde_json::json!({"iss": ISS, "aud": AUDIENCE, "sub": "alice", "exp": 4_000_000_000_u64});
    let policy = Issuer::new(ISS)
        .with_secret(&secret)
        .unwrap()
        .audience(AUDIENCE);
    let auth = JwtAuthLayer::new([policy]).unwrap();
    for algorithm in ["HS256", "HS384", "HS512"] {
        assert!(
            auth.verify_now(&hmac_token(algorithm, &secret, &claims))
                .is_ok(),
            "{algorithm}"
        );
        let forged = hmac_token(algorithm, &other, &claims);
        assert_eq!(
            auth.verify_now(&forged).unwrap_err().reason(),
            portcullis::Reason::BadSignature
        );
    }
    assert!(Issuer::new(ISS).with_secret(&secret[..31]).is_err());

    let short = Issuer::new(ISS)
        .with_secret(&secret[..32])
        .unwrap()
        .audience(AUDIENCE);
    let short = JwtAuthLayer::new([short]).unwrap();
    assert!(
        short
            .verify_now(&hmac_token("HS256", &secret[..32], &claims))
            .is_ok()
    );
    let refused = short
        .verify_now(&hmac_token("HS512", &secret[..32], &claims))
        .unwrap_err();
    assert_eq!(refused.reason(), portcullis::Reason::AlgorithmNotAllowed);

    let mixed = [portcullis::Algorithm::HS256, portcullis::Algorithm::RS256];
    for issuer in [
        Issuer::new(ISS),
        Issuer::new(ISS).with_secret(&secret).unwrap(),
    ] {
        let mixed = issuer.audience(AUDIENCE).algorithms(mixed);
        assert!(JwtAuthLayer::new([mixed]).is_err());
    }
}

fn hmac_token(algorithm: &str, secret: &[u8], claims: &Value) -> String {
    use aws_lc_rs::hmac;
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
    let hash = match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        _ => hmac::HMAC_SHA512,
    };
    let header = BASE64.encode(format!(r#"{{"alg":"{algorithm}"}}"#));
    let signed = format!("{header}.{}", BASE64.encode(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hash, secret), signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(tag))
}

#[tokio::test]
async fn each_issuer_verifies_its_own_tokens_only() {
    let first = TestIssuer::start().await.unwrap().with_audience(AUDIENCE);
    let second = TestIssuer::start().await.unwrap().with_audience(AUDIENCE);
    let keys = JwksCache::new([
        JwksSource::discover(first.issuer()).unwrap(),
        JwksSource::discover(second.issuer()).unwrap(),
    ]);
    let issuers = [first.issuer(), second.issuer()].map(|iss| Issuer::new(iss).audience(AUDIENCE));
    let stack = stack(
        JwtAuthLayer::new(issuers)
            .unwrap()
            .with_keys(keys.unwrap())
            .unwrap(),
    );
    for (signer, named, expected) in [
        (&first, &first, 200),
        (&second, &second, 200),
        (&first, &second, 401),
        (&second, &first, 401),
    ] {
        let token = signer.token("alice").issued_by(named.issuer()).sign();
        assert_eq!(status(&stack, &token).await, expected);
    }
}

#[tokio::test]
async fn broken_metadata_keeps_the_known_jwks_url() {
    let issuer = TestIssuer::start().await.unwrap();
    let keys = JwksCache::from_issuer(issuer.issuer()).unwrap();
    keys.warm().await.unwrap();
    issuer.fail_with(StatusCode::BAD_GATEWAY);
    assert!(keys.warm().await.is_err());
    issuer.recover();
    issuer.serve_raw_discovery("no metadata");
    keys.warm().await.unwrap();
}

#[tokio::test]
async fn fetches_unconditionally_after_a_refused_condition() {
    let ring = portcullis::KeyRing::generate(portcullis::Algorithm::ES256).unwrap();
    let jwks = ring.jwks();
    let serve = axum::routing::get(move |headers: HeaderMap| {
        let conditional = headers.contains_key("if-none-match");
        let status = if conditional { 400 } else { 200 };
        let answer = Response::builder().status(status).header("etag", "\"1\"");
        std::future::ready(answer.body(Body::from(jwks.clone())).unwrap())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/keys", listener.local_addr().unwrap());
    let app = axum::Router::new().route("/keys", serve);
    let server = tokio::spawn(axum::serve(listener, app).into_future());

    let source = JwksSource::uri("https://id.example.com/", uri).unwrap();
    let keys = JwksCache::new([source]).unwrap();
    keys.warm().await.unwrap();
    assert!(keys.warm().await.is_err());
    keys.warm().await.unwrap();
    server.abort();
}
