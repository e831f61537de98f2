//! What the layers cost beyond the decision itself: allocations, and bytes of the future.

use std::alloc::System;
use std::convert::Infallible;
use std::future::{Ready, ready};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use http::{HeaderValue, Request, Response};
use portcullis::require::Predicate;
use portcullis::{
    Caller, Identity, Issuer, JwksCache, JwksSource, JwtAuthLayer, Quota, RateLimitLayer,
    RequireLayer, RequireRoleLayer, Rule, TestIssuer,
};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio_test::{assert_ready_ok, task};
use tower::{Service, ServiceBuilder, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The number of allocations of `work`. This file has only one test, so no other thread allocates.
fn allocations<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let region = Region::new(ALLOCATOR);
    let value = work();
    (region.change().allocations, value)
}

fn inner(_: Request<()>) -> Ready<Result<Response<()>, Infallible>> {
    ready(Ok(Response::new(())))
}

fn request(token: &str) -> Request<()> {
    let mut request = Request::new(());
    let value = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", value);
    request.extensions_mut().insert("a prior extension");
    request
}

/// The allocations of one call from the request to the response, after two calls to warm up.
fn cost<S, R>(service: &mut S, token: &str) -> usize
where
    S: Service<Request<()>, Response = Response<R>, Error = Infallible>,
{
    let mut once = || {
        let request = request(token);
        assert_ready_ok!(task::spawn(std::future::poll_fn(|cx| service.poll_ready(cx))).poll());
        let (count, status) = allocations(|| {
            let mut future = std::pin::pin!(service.call(request));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            match future.as_mut().poll(&mut cx) {
                std::task::Poll::Ready(Ok(response)) => response.status(),
                other => panic!("{:?}", other.is_pending()),
            }
        });
        assert_eq!(status, 200);
        count
    };
    // The first call may verify the token, and the second may register a counter.
    once();
    once();
    once()
}

#[test]
fn layers_add_few_allocations_to_verification() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (issuer, auth) = runtime.block_on(async {
        let issuer = TestIssuer::start()
            .await
            .unwrap()
            .with_audience("orders-api");
        let keys = JwksCache::new([JwksSource::discover(issuer.issuer()).unwrap()]).unwrap();
        keys.warm().await.unwrap();
        let policy = Issuer::new(issuer.issuer()).audience("orders-api");
        (
            issuer,
            JwtAuthLayer::new([policy])
                .unwrap()
                .with_keys(keys)
                .unwrap(),
        )
    });
    let token = issuer
        .token("alice")
        .roles(["reader", "writer"])
        .scope("a b")
        .sign();

    let caching = auth.clone();
    let auth = auth.token_cache(0);
    let verify = || -> Identity { auth.verify_now(&token).unwrap() };
    drop(verify());
    let (verification, identity) = allocations(verify);
    drop(identity);
    // `verify_now` converts text to a header value, which a request already contains.
    let (wrapping, value) =
        allocations(|| HeaderValue::try_from(["Bearer ", &token].concat()).unwrap());
    let (sharing, clone) = allocations(|| value.clone());
    let bare = verification - wrapping - sharing;
    drop((value, clone));

    let mut bare_service = service_fn(inner);
    assert_eq!(cost(&mut bare_service, &token), 0);

    let mut stack = ServiceBuilder::new()
        .layer(auth.clone())
        .layer(RequireRoleLayer::any(["admin", "reader"]))
        .service_fn(inner);
    let stacked = cost(&mut stack, &token);
    println!("verification {bare}, JwtAuth + RequireRole {stacked}");
    assert!(
        stacked <= bare + 3,
        "{stacked} allocations, {bare} of them for the verification"
    );

    // The first access to a claim parses it.
    let caller = auth.verify_now(&token).unwrap();
    // All ten atoms are evaluated: only the last one makes up for the unknown group and login.
    let claims = Rule::group("staff") | !Rule::acr("none") | Rule::claim("sub", "alice");
    let rule = (Rule::role("admin") | Rule::role("reader"))
        & Rule::scope("a")
        & Rule::scope("b")
        & !Rule::client("batch")
        & !Rule::permission_pattern("order:*")
        & (Rule::subject("nobody") | claims);
    let _ = rule.holds(&caller);
    let (asking, holds) = allocations(|| rule.holds(&caller));
    assert_eq!((asking, holds), (0, true));

    // Without fields a limit in memory allocates nothing.
    let mut limited = ServiceBuilder::new()
        .layer(auth.clone())
        .layer(
            RateLimitLayer::new(Quota::per_second(1_000))
                .by_subject()
                .without_fields(),
        )
        .layer(RequireRoleLayer::any(["admin", "reader"]))
        .service_fn(inner);
    assert_eq!(cost(&mut limited, &token), stacked);

    // A cached token.
    let mut again = ServiceBuilder::new()
        .layer(caching)
        .layer(RequireRoleLayer::any(["admin", "reader"]))
        .service_fn(inner);
    let cached = cost(&mut again, &token);
    assert!(cached <= 2, "{cached} allocations for a cached token");

    future_sizes(auth);
    the_token_cache_keeps_its_bound();
    runtime.block_on(the_token_cache_keeps_no_removed_key());
}

/// Fills token caches with tokens of several shapes, whose claims a rule and the handler read.
fn the_token_cache_keeps_its_bound() {
    const BOUND: usize = 4 << 20;
    let letters: Vec<String> = (0..700).map(|at| format!("s{at}")).collect();
    let small_objects: Vec<Value> = (0..1_000).map(|at| json!({ "a": at })).collect();
    let empty_arrays = vec![json!([]); 1_700];
    let profile = json!({
        "name": "Alice Example", "email": "alice@example.com", "email_verified": true, "typ": "Bearer",
        "address": { "locality": "Zurich", "country": "CH" }, "groups": ["staff", "engineering"],
        "realm_access": { "roles": ["reader", "writer", "offline_access", "uma_authorization"] },
        "resource_access": { "account": { "roles": ["manage-account", "view-profile"] } },
    });
    let shapes = [
        ("ordinary", 2_500, json!({ "profile": profile })),
        ("small objects", 400, json!({ "profile": small_objects })),
        ("empty arrays", 400, json!({ "profile": empty_arrays })),
        (
            "many scopes",
            400,
            json!({ "profile": 1, "scope": letters.join(" ") }),
        ),
        ("many roles", 400, json!({ "profile": 1, "roles": letters })),
    ];
    for (shape, tokens, claims) in shapes {
        let issuer = Issuer::new(ISSUER).with_secret(SECRET).unwrap();
        let issuer = issuer.audience("orders-api").max_token_bytes(64 << 10);
        let auth = JwtAuthLayer::new([issuer]).unwrap().token_cache(BOUND);
        let mut service = ServiceBuilder::new()
            .layer(auth)
            .layer(RequireLayer::new(Rule::claim(
                "profile",
                Predicate::exists(),
            )))
            .service_fn(reads_claims);
        // The first token registers counters and initializes what exists once per process.
        call(&mut service, &signed(&claims, 0));
        let region = Region::new(ALLOCATOR);
        for at in 1..=tokens {
            call(&mut service, &signed(&claims, at));
        }
        let change = region.change();
        let kept = change.bytes_allocated - change.bytes_deallocated;
        println!("{shape}: {tokens} tokens, {kept} bytes kept of {BOUND}");
        assert!(kept <= BOUND, "{shape}: {kept} bytes");
        assert!(kept >= BOUND / 3, "{shape}: only {kept} bytes");
    }
}

/// An issuer rotates keys whose JWKs are large. Its tokens stay in the cache, its removed keys do not.
async fn the_token_cache_keeps_no_removed_key() {
    const ROTATIONS: usize = 32;
    const PADDING: usize = 256 << 10;
    let issuer = TestIssuer::start()
        .await
        .unwrap()
        .with_audience("orders-api");
    let source = JwksSource::uri(issuer.issuer(), issuer.jwks_uri()).unwrap();
    let keys = JwksCache::new([source]).unwrap();
    let policy = Issuer::new(issuer.issuer()).audience("orders-api");
    let auth = JwtAuthLayer::new([policy]).unwrap();
    let auth = auth.with_keys(keys.clone()).unwrap();
    let region = Region::new(ALLOCATOR);
    for _ in 0..ROTATIONS {
        let retired = issuer.key_ring().signing_kid();
        issuer.rotate();
        issuer.retire(&retired);
        let mut set: Value = serde_json::from_str(&issuer.jwks()).unwrap();
        set["keys"][0]["padding"] = "x".repeat(PADDING).into();
        issuer.serve_raw(set.to_string());
        keys.warm().await.unwrap();
        auth.verify(&issuer.token("alice").sign()).await.unwrap();
    }
    let change = region.change();
    let kept = change.bytes_allocated - change.bytes_deallocated;
    assert!(kept <= ROTATIONS * PADDING / 4, "{kept} bytes");
}

const ISSUER: &str = "https://id.example.com/";
const SECRET: &[u8] = b"a secret of thirty-two bytes....";

/// A valid token with these claims.
fn signed(claims: &Value, at: usize) -> String {
    let mut claims = claims.clone();
    claims["iss"] = ISSUER.into();
    claims["aud"] = "orders-api".into();
    claims["sub"] = format!("user-{at}").into();
    claims["exp"] = 4_000_000_000_u64.into();
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    let message = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}

/// Reads the claims in every way that handlers can.
fn reads_claims(request: Request<()>) -> Ready<Result<Response<()>, Infallible>> {
    let me = request
        .extensions()
        .get::<Caller>()
        .and_then(Caller::identity);
    let me = me.unwrap();
    assert!(me.claim("profile").is_some() && me.claim("absent").is_none());
    assert_eq!(me.claims::<Value>().unwrap()["sub"], me.subject());
    ready(Ok(Response::new(())))
}

fn call<S, R>(service: &mut S, token: &str)
where
    S: Service<Request<()>, Response = Response<R>, Error = Infallible>,
{
    let future = std::pin::pin!(service.call(request(token)));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut cx) {
        std::task::Poll::Ready(Ok(response)) => assert_eq!(response.status(), 200),
        other => panic!("{:?}", other.is_pending()),
    }
}

fn future_sizes(auth: JwtAuthLayer) {
    fn beyond_inner<S>(_: &S) -> usize
    where
        S: Service<Request<()>>,
    {
        size_of::<S::Future>() - size_of::<Ready<Result<Response<()>, Infallible>>>()
    }
    let builder = ServiceBuilder::new;
    let sizes = [
        beyond_inner(&builder().layer(auth).service_fn(inner)),
        beyond_inner(
            &builder()
                .layer(RequireRoleLayer::any(["a"]))
                .service_fn(inner),
        ),
        beyond_inner(
            &builder()
                .layer(RateLimitLayer::new(Quota::per_second(1)))
                .service_fn(inner),
        ),
    ];
    println!("bytes beyond the inner future: {sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 64), "{sizes:?}");
}
