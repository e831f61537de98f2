//! Cached tokens: accepted without a signature check, and rejected as soon as they are no longer
//! valid.

use std::time::{Duration, UNIX_EPOCH};

use portcullis::revoke::{Kind, Revocation};
use portcullis::{Algorithm, Caller, DecisionLog, JwksCacheLayer, ManualClock, Revocations};

use super::*;

pub(super) struct Bench {
    pub(super) issuer: TestIssuer,
    pub(super) clock: ManualClock,
    pub(super) keys: JwksCache,
    pub(super) auth: JwtAuthLayer,
}

pub(super) async fn bench() -> Bench {
    let clock = ManualClock::at(1_800_000_000);
    let issuer = TestIssuer::start_with(Algorithm::ES256, clock.clone()).await;
    let issuer = issuer.unwrap().with_audience(AUDIENCE);
    let source = JwksSource::uri(issuer.issuer(), issuer.jwks_uri()).unwrap();
    let keys = JwksCache::new([source.clock(clock.clone())]).unwrap();
    let policy = Issuer::new(issuer.issuer()).audience(AUDIENCE);
    let auth = JwtAuthLayer::new([policy]).unwrap().with_keys(keys.clone());
    let auth = auth.unwrap().clock(clock.clone());
    Bench {
        issuer,
        clock,
        keys,
        auth,
    }
}

/// The code of the rejection, or whether the token was cached.
async fn ask(stack: &Stack, token: &str) -> Result<bool, String> {
    let log = DecisionLog::default();
    let mut request = request(Some(token));
    request.extensions_mut().insert(log.clone());
    let answer = send(stack, request).await;
    match answer.status.as_u16() {
        200 => Ok(log.records()[0].cached),
        _ => Err(answer.json()["code"].as_str().unwrap().to_owned()),
    }
}

fn refused(code: &str) -> Result<bool, String> {
    Err(code.to_owned())
}

#[tokio::test]
async fn a_token_is_verified_once() {
    let bench = bench().await;
    let stack = stack(bench.auth.clone());
    let token = bench.issuer.token("alice").sign();
    assert_eq!(ask(&stack, &token).await, Ok(false));
    assert_eq!(ask(&stack, &token).await, Ok(true));
    let other = bench.issuer.token("alice").sign();
    assert_eq!(ask(&stack, &other).await, Ok(false));

    let off = super::stack(bench.auth.token_cache(0));
    assert_eq!(ask(&off, &token).await, Ok(false));
    assert_eq!(ask(&off, &token).await, Ok(false));
}

#[tokio::test]
async fn a_cached_token_expires_and_starts_in_time() {
    let bench = bench().await;
    let stack = stack(bench.auth);
    let token = bench
        .issuer
        .token("alice")
        .expires_in(Duration::from_secs(100))
        .sign();
    assert_eq!(ask(&stack, &token).await, Ok(false));
    // 60 seconds of leeway.
    bench.clock.advance(Duration::from_secs(159));
    assert_eq!(ask(&stack, &token).await, Ok(true));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&stack, &token).await, refused("expired"));

    let token = bench.issuer.token("alice").sign();
    let token_with_start = bench
        .issuer
        .token("alice")
        .not_before_in(Duration::from_secs(30))
        .sign();
    assert_eq!(ask(&stack, &token).await, Ok(false));
    assert_eq!(ask(&stack, &token_with_start).await, Ok(false));
    // An operator sets the clock back.
    bench
        .clock
        .set_unix_time(Duration::from_secs(1_800_000_000 - 3600));
    assert_eq!(ask(&stack, &token).await, refused("not_yet_valid"));
    assert_eq!(
        ask(&stack, &token_with_start).await,
        refused("not_yet_valid")
    );
}

#[tokio::test]
async fn a_cached_token_ends_with_its_key() {
    let bench = bench().await;
    let stack = stack(bench.auth);
    let old = bench.issuer.token("alice").sign();
    assert_eq!(ask(&stack, &old).await, Ok(false));
    let old_kid = bench.issuer.rotate();
    let new = bench.issuer.token("alice").sign();
    assert_eq!(ask(&stack, &new).await, Ok(false));
    // The old key is still published.
    assert_eq!(ask(&stack, &old).await, Ok(true));
    bench.issuer.retire(&old_kid);
    bench.keys.warm().await.unwrap();
    assert_eq!(ask(&stack, &old).await, refused("unknown_key"));
    assert_eq!(ask(&stack, &new).await, Ok(true));

    bench.keys.purge(
        bench.issuer.issuer(),
        &bench.issuer.key_ring().signing_kid(),
    );
    assert_eq!(ask(&stack, &new).await, refused("unknown_key"));
}

#[tokio::test]
async fn a_cached_token_ends_with_expired_keys() {
    let bench = bench().await;
    let stack = stack(bench.auth);
    let token = bench
        .issuer
        .token("alice")
        .expires_in(Duration::from_secs(86_400))
        .sign();
    assert_eq!(ask(&stack, &token).await, Ok(false));
    bench.issuer.fail_with(StatusCode::BAD_GATEWAY);
    bench.clock.advance(Duration::from_secs(30 * 60));
    assert_eq!(ask(&stack, &token).await, Ok(true));
    bench.clock.advance(Duration::from_secs(45 * 60));
    assert_eq!(ask(&stack, &token).await, refused("keys_unavailable"));
}

/// A second process that restores the keys that the first process saved an hour ago.
async fn restarted(bench: &Bench, max_age: Duration) -> (JwksCache, Stack) {
    bench.keys.warm().await.unwrap();
    let saved = bench.keys.save();
    bench.clock.advance(Duration::from_secs(3600));
    let source = JwksSource::uri(bench.issuer.issuer(), bench.issuer.jwks_uri()).unwrap();
    let keys = JwksCache::new([source.clock(bench.clock.clone())]).unwrap();
    bench.issuer.fail_with(StatusCode::BAD_GATEWAY);
    assert_eq!(keys.restore(&saved, max_age), Ok(1));
    let policy = Issuer::new(bench.issuer.issuer()).audience(AUDIENCE);
    let auth = JwtAuthLayer::new([policy.with_keys(keys.clone())]).unwrap();
    (keys, stack(auth.clock(bench.clock.clone())))
}

fn lasting(bench: &Bench) -> String {
    let token = bench.issuer.token("alice");
    token.expires_in(Duration::from_secs(86_400)).sign()
}

#[tokio::test]
async fn a_cached_token_ends_with_expired_restored_keys() {
    let bench = bench().await;
    let (_, stack) = restarted(&bench, Duration::from_secs(2 * 3600)).await;
    let token = lasting(&bench);
    assert_eq!(ask(&stack, &token).await, Ok(false));
    assert_eq!(ask(&stack, &token).await, Ok(true));
    bench.clock.advance(Duration::from_secs(3599));
    assert_eq!(ask(&stack, &token).await, Ok(true));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&stack, &token).await, refused("keys_unavailable"));
}

#[tokio::test]
async fn a_cached_token_survives_a_fetch_after_restore() {
    let bench = bench().await;
    let old = lasting(&bench);
    let old_kid = bench.issuer.rotate();
    let (keys, stack) = restarted(&bench, Duration::from_secs(2 * 3600)).await;
    let new = lasting(&bench);
    for token in [&old, &new] {
        assert_eq!(ask(&stack, token).await, Ok(false));
        assert_eq!(ask(&stack, token).await, Ok(true));
    }
    // Revoked between two requests.
    bench.issuer.retire(&old_kid);
    bench.issuer.recover();
    keys.warm().await.unwrap();
    assert_eq!(ask(&stack, &old).await, refused("unknown_key"));
    assert_eq!(ask(&stack, &new).await, Ok(true));
}

#[tokio::test]
async fn a_cached_token_ends_with_a_purged_restored_key() {
    let bench = bench().await;
    let (keys, stack) = restarted(&bench, Duration::from_secs(2 * 3600)).await;
    let token = lasting(&bench);
    assert_eq!(ask(&stack, &token).await, Ok(false));
    assert_eq!(ask(&stack, &token).await, Ok(true));
    let kid = bench.issuer.key_ring().signing_kid();
    assert!(keys.purge(bench.issuer.issuer(), &kid));
    assert_eq!(ask(&stack, &token).await, refused("unknown_key"));
    bench.issuer.recover();
    keys.warm().await.unwrap();
    assert_eq!(ask(&stack, &token).await, refused("unknown_key"));
}

#[tokio::test]
async fn layers_with_other_settings_share_no_cache() {
    let bench = bench().await;
    let lax = stack(bench.auth.clone());
    let token = bench.issuer.token("alice").sign();
    assert_eq!(ask(&lax, &token).await, Ok(false));
    // Layers with equal settings share a cache.
    assert_eq!(ask(&stack(bench.auth.clone()), &token).await, Ok(true));

    let policy = Issuer::new(bench.issuer.issuer())
        .audience(AUDIENCE)
        .required_claims(["tenant"]);
    let strict = JwtAuthLayer::new([policy.with_keys(bench.keys.clone())]).unwrap();
    assert_eq!(
        ask(&stack(strict.clock(bench.clock.clone())), &token).await,
        refused("invalid_claim")
    );

    // The same layer under another clock, by which the token has expired.
    let later = ManualClock::at(1_900_000_000);
    assert_eq!(
        ask(&stack(bench.auth.clock(later)), &token).await,
        refused("expired")
    );
}

#[tokio::test]
async fn keys_from_above_count_for_their_requests_only() {
    let bench = bench().await;
    let auth = JwtAuthLayer::new([Issuer::new(bench.issuer.issuer()).audience(AUDIENCE)]).unwrap();
    let auth = auth.clock(bench.clock.clone());
    let stranger = portcullis::KeyRing::generate(Algorithm::ES256).unwrap();
    let strange = portcullis::KeySet::from_json(stranger.jwks().as_bytes()).unwrap();
    let strange = JwksCache::new([JwksSource::keys(bench.issuer.issuer(), strange)]).unwrap();
    let token = bench.issuer.token("alice").sign();
    let own = stack((JwksCacheLayer::new(bench.keys), auth.clone()));
    assert_eq!(ask(&own, &token).await, Ok(false));
    assert_eq!(ask(&own, &token).await, Ok(true));
    let other = stack((JwksCacheLayer::new(strange), auth));
    assert_eq!(ask(&other, &token).await, refused("unknown_key"));
}

#[tokio::test]
async fn a_cached_token_ends_when_it_is_revoked() {
    let second = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let until = second + Duration::from_secs(300);
    let bench = bench().await;
    let iss = bench.issuer.issuer().to_owned();
    let kid = bench.issuer.key_ring().signing_kid();
    for revocation in [
        Revocation::token(&iss, "t-1", until),
        Revocation::session(&iss, "s-1", until),
        Revocation::subject(&iss, "alice", second),
        Revocation::client(&iss, "app", second),
        Revocation::issuer(&iss, second),
        Revocation::key(&iss, &kid, until),
    ] {
        let revocations = Revocations::new().clock(bench.clock.clone());
        let stack = stack(bench.auth.clone().revocations(revocations.clone()));
        let token = |subject: &str| {
            let token = bench
                .issuer
                .token(subject)
                .claim("jti", "t-1")
                .claim("sid", "s-1");
            token.claim("azp", "app").sign()
        };
        let alice = token("alice");
        assert!(ask(&stack, &alice).await.is_ok());
        assert_eq!(ask(&stack, &alice).await, Ok(true));
        revocations.revoke(revocation.clone()).unwrap();
        assert_eq!(
            ask(&stack, &alice).await,
            refused("revoked"),
            "{revocation:?}"
        );
        assert_eq!(
            ask(&stack, &alice).await,
            refused("revoked"),
            "{revocation:?}"
        );
        // Other tokens are refused only if the revocation covers them.
        let other = bench.issuer.token("bob").claim("iat", 1_800_000_001);
        let expected = match revocation.kind() {
            Kind::Key => refused("revoked"),
            _ => Ok(false),
        };
        assert_eq!(ask(&stack, &other.sign()).await, expected, "{revocation:?}");
    }
}

#[tokio::test]
async fn another_text_with_the_same_end_is_another_token() {
    let bench = bench().await;
    let stack = stack(bench.auth);
    let token = bench.issuer.token("alice").sign();
    assert_eq!(ask(&stack, &token).await, Ok(false));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let mallory = bench.issuer.token("mallory").sign();
    let payload = mallory.split('.').nth(1).unwrap();
    assert_eq!(
        ask(&stack, &format!("{header}.{payload}.{signature}")).await,
        refused("bad_signature")
    );
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let twin = format!("{signed}.{first}{}", &signature[1..]);
    assert_eq!(ask(&stack, &twin).await, refused("bad_signature"));
    assert_eq!(ask(&stack, signature).await, refused("malformed_token"));
}

#[tokio::test]
async fn a_cache_hit_has_the_same_identity() {
    let bench = bench().await;
    let service = bench
        .auth
        .layer(service_fn(|request: Request<Body>| async move {
            let caller = request.extensions().get::<Caller>().unwrap();
            let subject = caller.identity().unwrap().subject().to_owned();
            Ok::<_, Infallible>(Response::new(Body::from(subject)))
        }));
    let names: Vec<String> = (0..200).map(|at| format!("user-{at}")).collect();
    let tokens: Vec<String> = names
        .iter()
        .map(|name| bench.issuer.token(name).sign())
        .collect();
    for _ in 0..3 {
        for (name, token) in names.iter().zip(&tokens) {
            let response = service.clone().oneshot(request(Some(token))).await.unwrap();
            assert_eq!(
                response.into_body().collect().await.unwrap().to_bytes(),
                name.as_str()
            );
        }
    }
}
