//! Shared parts of the benchmarks.
#![allow(dead_code)] // each benchmark uses a part of it

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use criterion::{BatchSize, Bencher};
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use portcullis::{
    Algorithm, Issuer, JwksCache, JwksSource, JwtAuthLayer, KeyRing, KeySet, PeerAddr, Quota,
};
use serde_json::{Value, json};
use tower::Service;

pub(crate) const ISSUER: &str = "https://auth.example.com/realms/main";
pub(crate) const AUDIENCE: &str = "orders-api";

/// An issuer with one key, and the keys that verify its tokens.
pub(crate) struct Site {
    pub(crate) ring: KeyRing,
    pub(crate) keys: JwksCache,
}

// === impl Site ===

impl Site {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let ring = KeyRing::generate(algorithm).unwrap();
        let set = KeySet::from_json(ring.jwks().as_bytes()).unwrap();
        let keys = JwksCache::new([JwksSource::keys(ISSUER, set)]).unwrap();
        Self { ring, keys }
    }

    pub(crate) fn auth(&self) -> JwtAuthLayer {
        let issuer = Issuer::new(ISSUER).audience(AUDIENCE);
        JwtAuthLayer::new([issuer.with_keys(self.keys.clone())]).unwrap()
    }

    pub(crate) fn token(&self) -> String {
        self.ring.sign(&claims()).unwrap()
    }

    pub(crate) fn request(&self) -> Request<()> {
        let mut request = request();
        let credential = format!("Bearer {}", self.token()).parse().unwrap();
        request.headers_mut().insert(AUTHORIZATION, credential);
        request
    }
}

/// A request with headers and an extension, as a server creates it.
pub(crate) fn request() -> Request<()> {
    let peer = SocketAddr::from(([203, 0, 113, 9], 4711));
    Request::builder()
        .uri("/orders/42")
        .header("host", "api.example.com")
        .header("user-agent", "bench/1.0")
        .header("accept", "application/json")
        .extension(PeerAddr(peer))
        .body(())
        .unwrap()
}

pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "sub": "8f14e45f-ceea-467f-9e1b-000000000007",
        "aud": AUDIENCE,
        "exp": 4_102_444_800_u64,
        "iat": 1_767_225_600,
        "jti": "53e7b4a1c90d8f26",
        "azp": "web",
        "scope": "openid orders:read orders:write",
        "roles": ["user", "admin"],
        "permissions": ["order:create", "order:read", "invoice:read"],
    })
}

/// A quota that is never used up.
pub(crate) fn quota() -> Quota {
    Quota::per_second(1_000_000_000).burst(u32::MAX)
}

pub(crate) fn inner(request: Request<()>) -> Ready<Result<Response<()>, Infallible>> {
    drop(black_box(request));
    ready(Ok(Response::new(())))
}

/// Calls the service once per copy of `request`; copying is not measured.
pub(crate) fn call<S, R>(bencher: &mut Bencher<'_>, service: &mut S, request: &Request<()>)
where
    S: Service<Request<()>, Response = Response<R>>,
{
    call_for(StatusCode::OK, bencher, service, request);
}

/// Expects this status.
pub(crate) fn call_for<S, R>(
    status: StatusCode,
    bencher: &mut Bencher<'_>,
    service: &mut S,
    request: &Request<()>,
) where
    S: Service<Request<()>, Response = Response<R>>,
{
    let answer = now(service.call(request.clone())).ok();
    assert_eq!(answer.map(|response| response.status()), Some(status));
    bencher.iter_batched(
        || request.clone(),
        |request| {
            assert!(now(poll_fn(|cx| service.poll_ready(cx))).is_ok());
            now(service.call(request)).ok()
        },
        BatchSize::SmallInput,
    );
}

fn now<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing here has a reason to wait"),
    }
}
