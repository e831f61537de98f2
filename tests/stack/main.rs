//! The layers together, on real tokens and a real issuer, as a client sees them.

mod architecture;
mod differential;
mod extractors;
#[allow(dead_code)] // the attacks forge more
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
mod wire;

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use portcullis::{Issuer, JwksCache, JwksSource, JwtAuthLayer, PeerAddr, TestIssuer};
use serde_json::Value;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt, service_fn};

/// Any stack of layers over a handler that says "inner".
type Stack = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

const AUDIENCE: &str = "orders-api";

/// A response that was read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    #[track_caller]
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn stack<L>(layer: L) -> Stack
where
    L: Layer<BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>>,
    L::Service: Service<Request<Body>, Response: axum::response::IntoResponse, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    <L::Service as Service<Request<Body>>>::Future: Send,
{
    let handler = BoxCloneSyncService::new(service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(Body::from("inner")))
    }));
    let service = layer.layer(handler);
    BoxCloneSyncService::new(service.map_response(axum::response::IntoResponse::into_response))
}

async fn send(stack: &Stack, request: Request<Body>) -> Answer {
    read(stack.clone().oneshot(request).await.unwrap()).await
}

async fn read<B>(response: Response<B>) -> Answer
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

fn request(token: Option<&str>) -> Request<Body> {
    let mut request = Request::get("/orders").body(Body::empty()).unwrap();
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
    }
    let peer: SocketAddr = "203.0.113.7:4711".parse().unwrap();
    request.extensions_mut().insert(PeerAddr(peer));
    request
}

fn grpc(token: Option<&str>) -> Request<Body> {
    let mut request = request(token);
    let grpc = http::HeaderValue::from_static("application/grpc+proto");
    request.headers_mut().insert("content-type", grpc);
    request
}

/// An issuer and the layer that accepts its tokens, its keys already there.
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
