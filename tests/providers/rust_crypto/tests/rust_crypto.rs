//! Signing, verifying and the tools for tests, with RustCrypto as the only backend.

use std::convert::Infallible;

use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use portcullis::test_util::identity;
use portcullis::{
    Algorithm, Caller, Clock, Issuer, JwksCache, JwksSource, JwtAuthLayer, RequireRoleLayer,
    TestIssuer,
};
use tower::{Layer, ServiceExt, service_fn};

fn auth(issuer: &TestIssuer) -> JwtAuthLayer {
    let keys = JwksSource::keys(issuer.issuer(), issuer.key_set().unwrap());
    let own = Issuer::new(issuer.issuer()).audience(issuer.audience());
    let cache = JwksCache::new([keys]).unwrap();
    JwtAuthLayer::new([own]).unwrap().with_keys(cache).unwrap()
}

#[test]
fn each_algorithm_signs_and_verifies() {
    for algorithm in Algorithm::ALL.iter().filter(|a| !a.is_symmetric()) {
        let issuer = TestIssuer::offline_with(*algorithm, Clock::System).unwrap();
        let auth = auth(&issuer);
        let alice = auth.verify_now(&issuer.token("alice").role("admin").sign());
        assert!(alice.unwrap().roles().contains("admin"), "{algorithm}");
        for bad in [
            issuer.token("alice").tampered(),
            issuer.token("alice").signed_by_stranger(),
            issuer.token("alice").alg_none(),
        ] {
            assert!(auth.verify_now(&bad.sign()).is_err(), "{algorithm}");
        }
    }
}

#[tokio::test]
async fn layer_accepts_and_refuses() {
    let issuer = TestIssuer::offline();
    let hello = service_fn(async |request: Request<()>| {
        let caller = Caller::of(request.extensions()).unwrap();
        let name = caller.identity().unwrap().subject().to_owned();
        Ok::<_, Infallible>(Response::new(name))
    });
    let service = auth(&issuer).layer(hello);
    let status = async |token: String| {
        let request = Request::builder().header(AUTHORIZATION, format!("Bearer {token}"));
        let response = service.clone().oneshot(request.body(()).unwrap()).await;
        response.unwrap().status()
    };
    assert_eq!(status(issuer.token("alice").sign()).await, StatusCode::OK);
    let expired = issuer.token("alice").expired().sign();
    assert_eq!(status(expired).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn identity_passes_a_layer_without_a_token() {
    let hello = service_fn(async |_| Ok::<_, Infallible>(Response::new(String::new())));
    let service = RequireRoleLayer::any(["admin"]).layer(hello);
    for (role, expected) in [("admin", StatusCode::OK), ("reader", StatusCode::FORBIDDEN)] {
        let mut request = Request::new(());
        let caller = identity("alice").role(role).into_caller();
        request.extensions_mut().insert(caller);
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), expected);
    }
}

#[test]
fn https_needs_a_client_without_tls() {
    let source = || JwksSource::discover("https://id.example.com/").unwrap();
    let error = JwksCache::new([source()]).unwrap_err().to_string();
    assert!(error.contains("JwksSource::client"), "{error}");
    let client = reqwest::Client::new();
    assert!(JwksCache::new([source().client(client).unwrap()]).is_ok());
}
