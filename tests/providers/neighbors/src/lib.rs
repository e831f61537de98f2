//! Calls of portcullis and of its neighbors in one process. Each test file is a separate process.

use std::net::TcpListener;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use portcullis::rate_limit::{RedisStore, StoreStatus};
use portcullis::{
    Issuer, JwksCache, JwksSource, JwtAuthLayer, KeyRing, Quota, RateLimitLayer, TestIssuer,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Signs and verifies with jsonwebtoken, which finds its provider by its features.
pub fn jsonwebtoken_works() {
    let claims = json!({ "sub": "alice", "exp": 4_000_000_000_u64 });
    let key = EncodingKey::from_secret(SECRET).unwrap();
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
    let key = DecodingKey::from_secret(SECRET).unwrap();
    let validation = Validation::new(Algorithm::HS256);
    jsonwebtoken::decode::<serde_json::Value>(&token, &key, &validation).unwrap();
}

/// Builds a TLS client as an application with two rustls providers does: it installs its own.
pub fn rustls_works() {
    ring::default_provider()
        .install_default()
        .expect("portcullis has not installed a provider");
    let _ = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
}

/// Fetches keys, verifies, signs, and connects to a Redis server over TLS.
pub async fn portcullis_works() {
    let before = CryptoProvider::get_default().is_some();

    let issuer = TestIssuer::start().await.unwrap();
    let auth = JwtAuthLayer::from_issuer(issuer.issuer(), issuer.audience()).unwrap();
    auth.verify(&issuer.token("alice").sign()).await.unwrap();
    let https = JwksCache::new([JwksSource::discover("https://127.0.0.1:1/").unwrap()]).unwrap();
    https.warm().await.unwrap_err();

    let ring = KeyRing::generate(portcullis::Algorithm::ES256).unwrap();
    ring.sign(&json!({ "sub": "alice" })).unwrap();
    let hmac = Issuer::new("https://id.example.com/").audience("api");
    let _ = JwtAuthLayer::new([hmac.with_secret(SECRET).unwrap()]).unwrap();

    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let store = RedisStore::new(&format!("rediss://127.0.0.1:{port}"), SECRET).unwrap();
    let _layer = RateLimitLayer::new(Quota::per_second(1)).store(&store);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let _: StoreStatus = store.status();

    assert_eq!(CryptoProvider::get_default().is_some(), before);
}
