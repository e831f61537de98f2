//! The layers together, on real tokens and a real issuer, as a client sees them.

mod architecture;
#[cfg(both_backends)]
mod backends;
mod caller_scope;
mod differential;
mod extractors;
#[allow(dead_code)] // the attacks use the rest
#[path = "../support/forge.rs"]
mod forge;
mod guarded;
mod keys;
mod mutants;
#[path = "../support/mutants.rs"]
mod mutated;
mod naive;
mod profiles;
mod public_types;
mod races;
mod remembered;
mod reports;
mod rules;
mod settings;
#[path = "../support/stack.rs"]
mod support;
mod wire;

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use portcullis::{Issuer, JwksCache, JwksSource, JwtAuthLayer, PeerAddr, TestIssuer};
use serde_json::Value;
use support::*;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

fn grpc(token: Option<&str>) -> Request<Body> {
    let mut request = request(token);
    let grpc = http::HeaderValue::from_static("application/grpc+proto");
    request.headers_mut().insert("content-type", grpc);
    request
}

/// An issuer, and a layer that accepts its tokens and has its keys.
async fn warm_auth() -> (TestIssuer, JwtAuthLayer) {
    let issuer = TestIssuer::start().await.unwrap().with_audience(AUDIENCE);
    let source = JwksSource::uri(issuer.issuer(), issuer.jwks_uri()).unwrap();
    let keys = JwksCache::new([source]).unwrap();
    keys.warm().await.unwrap();
    let policy = Issuer::new(issuer.issuer()).audience(AUDIENCE);
    let auth = JwtAuthLayer::new([policy])
        .unwrap()
        .with_keys(keys)
        .unwrap();
    (issuer, auth)
}
