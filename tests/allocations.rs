//! What the layers cost beyond the decision itself: allocations, and bytes of the future.

use std::alloc::System;
use std::convert::Infallible;
use std::future::{Ready, ready};

use http::{HeaderValue, Request, Response};
use portcullis::{
    Identity, Issuer, JwksCache, JwksSource, JwtAuthLayer, Quota, RateLimitLayer, RequireRoleLayer,
    Rule, TestIssuer,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio_test::{assert_ready_ok, task};
use tower::{Service, ServiceBuilder, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often `work` allocates. The one test of this file keeps other threads from being counted.
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

/// Allocations of one call from the request to the response, once everything is warm.
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
    // The first call may verify, and the second count a kind of answer for the first time.
    once();
    once();
    once()
}

#[test]
fn the_layers_add_little_to_the_verification_itself() {
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

    let remembering = auth.clone();
    let auth = auth.token_cache(0);
    let verify = || -> Identity { auth.verify_now(&token).unwrap() };
    drop(verify());
    let (verification, identity) = allocations(verify);
    drop(identity);
    // `verify` takes text and makes a header value of it, which a request brings along.
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

    // The first question about a claim parses the claims, once for a token.
    let caller = auth.verify_now(&token).unwrap();
    // Each of the ten leaves is asked: only the last makes up for the unknown group and login.
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

    // Without fields a limit in memory allocates nothing at all.
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

    // A token that comes again.
    let mut again = ServiceBuilder::new()
        .layer(remembering)
        .layer(RequireRoleLayer::any(["admin", "reader"]))
        .service_fn(inner);
    let remembered = cost(&mut again, &token);
    assert!(
        remembered <= 2,
        "{remembered} allocations for a token seen before"
    );

    future_sizes(auth);
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
