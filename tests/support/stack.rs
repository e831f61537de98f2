//! Stacks of layers over a handler, and the requests to them.
#![allow(dead_code)] // each test binary uses a part

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use portcullis::PeerAddr;
use serde_json::Value;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt, service_fn};

/// Any layers over a handler.
pub(crate) type Stack = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

pub(crate) const AUDIENCE: &str = "orders-api";

/// A response with its complete body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Layers over a handler with the body "inner".
pub(crate) fn stack<L>(layer: L) -> Stack
where
    L: Layer<Stack>,
    L::Service: Service<Request<Body>, Response: IntoResponse, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    <L::Service as Service<Request<Body>>>::Future: Send,
{
    over(layer, |_| "inner".to_owned())
}

/// Layers over a handler whose body describes the request that reached it.
pub(crate) fn over<L>(layer: L, describe: fn(Request<Body>) -> String) -> Stack
where
    L: Layer<Stack>,
    L::Service: Service<Request<Body>, Response: IntoResponse, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    <L::Service as Service<Request<Body>>>::Future: Send,
{
    let handler = BoxCloneSyncService::new(service_fn(move |request| async move {
        Ok::<_, Infallible>(Response::new(Body::from(describe(request))))
    }));
    let service = layer.layer(handler);
    BoxCloneSyncService::new(service.map_response(IntoResponse::into_response))
}

pub(crate) async fn send(stack: &Stack, request: Request<Body>) -> Answer {
    read(stack.clone().oneshot(request).await.unwrap()).await
}

/// Reads a response to its end.
pub(crate) async fn read<B>(response: Response<B>) -> Answer
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

pub(crate) fn request(token: Option<&str>) -> Request<Body> {
    match token {
        None => with(&[]),
        Some(token) => with(&[("authorization", &format!("Bearer {token}"))]),
    }
}

/// A request with these headers, which may contain any bytes.
pub(crate) fn with(headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get("/orders").body(Body::empty()).unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.headers_mut().append(name, value);
    }
    from(request, "203.0.113.7:4711")
}

/// The request, from this address.
pub(crate) fn from(mut request: Request<Body>, peer: &str) -> Request<Body> {
    let peer: SocketAddr = peer.parse().unwrap();
    request.extensions_mut().insert(PeerAddr(peer));
    request
}
