//! Passes a request on to an upstream service, and the answer back, both as streams.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::http::header::{CONNECTION, TE, TRANSFER_ENCODING};
use axum::http::{HeaderValue, StatusCode, request::Parts};
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use portcullis::propagate::TokenPropagation;
use portcullis::{Caller, ConfigError, Protocol, Reason, Rejection, TokenPropagationLayer};
use tower::{Layer, ServiceExt};

use crate::headers::{self, ClientSide};
use crate::upstream::{Speaks, Upstream};

/// The clients that speak to upstreams. Clones share the connections.
#[derive(Clone)]
pub(crate) struct Proxy {
    http1: HttpClient,
    http2: HttpClient,
}

type HttpClient = TokenPropagation<Client<HttpConnector, Body>>;

/// Origins that get the caller's own token. None here: they are told who is calling in headers.
const TOKENS_GO_TO: [&str; 0] = [];

/// How long an upstream may take until its answer begins.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

// === impl Proxy ===

impl Proxy {
    pub(crate) fn new() -> Result<Self, ConfigError> {
        let propagation = TokenPropagationLayer::forward_to(TOKENS_GO_TO)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = |builder: &mut Builder| {
            // A client that follows no redirects and reads no proxy settings from the environment.
            let client = builder
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                // A connection that many requests share must not fail them all for long once its peer is gone.
                .http2_keep_alive_interval(KEEP_ALIVE);
            propagation.layer(client.build(connector.clone()))
        };
        Ok(Self {
            http1: client(&mut Client::builder(TokioExecutor::new())),
            http2: client(Client::builder(TokioExecutor::new()).http2_only(true)),
        })
    }

    /// The upstream's answer, or a refusal that says why there is none.
    pub(crate) async fn forward(self, upstream: Upstream, request: Request) -> Response {
        let protocol = Protocol::of(&request);
        match self.exchange(upstream, request, protocol).await {
            Ok(response) => response,
            Err(reason) => answer(reason, protocol),
        }
    }

    async fn exchange(
        self,
        upstream: Upstream,
        request: Request,
        protocol: Protocol,
    ) -> Result<Response, Reason> {
        if headers::asks_for_upgrade(request.headers()) {
            return Err(Reason::UpgradeNotSupported);
        }
        let (client, speaks) = match (upstream.speaks, protocol) {
            (Speaks::Http1, Protocol::Http | Protocol::Head) => (self.http1, Speaks::Http1),
            _ => (self.http2, Speaks::Http2),
        };
        let request = outbound(&upstream, speaks, request)?;
        let origin = request.uri().authority().cloned();
        match tokio::time::timeout(TIMEOUT, client.oneshot(request)).await {
            Ok(Ok(response)) => {
                let (parts, body) = response.into_parts();
                let mut response = Response::new(Body::new(body));
                *response.status_mut() = parts.status;
                *response.headers_mut() = parts.headers;
                headers::remove_hop_by_hop(response.headers_mut());
                Ok(response)
            }
            Ok(Err(error)) if is_the_clients(&error) => Ok(StatusCode::BAD_REQUEST.into_response()),
            Ok(Err(error)) => {
                tracing::warn!(?origin, error = &error as &dyn Error, "unreachable");
                Err(Reason::UpstreamUnreachable)
            }
            Err(_) => {
                tracing::warn!(?origin, "no answer in time");
                Err(Reason::UpstreamTimeout)
            }
        }
    }
}

/// A refusal in the protocol of the request.
pub(crate) fn refuse(reason: Reason, request: &Request) -> Response {
    answer(reason, Protocol::of(request))
}

fn answer(reason: Reason, protocol: Protocol) -> Response {
    let response = Rejection::new(reason).into_response::<Body>(protocol);
    response.map(Body::new)
}

/// The request as the upstream gets it. Of the client's request it has what is copied here, and nothing else.
fn outbound(upstream: &Upstream, speaks: Speaks, request: Request) -> Result<Request, Reason> {
    let (mut parts, body) = request.into_parts();
    let client = client_side(&parts);
    headers::rewrite(&mut parts.headers, client);

    let path_and_query = parts.uri.into_parts().path_and_query;
    let uri = upstream.uri(path_and_query).map_err(|_| Reason::BadPath)?;
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = parts.headers;
    // For propagation, which may send this caller's token and nobody else's.
    let caller = parts.extensions.remove::<Caller>();
    request
        .extensions_mut()
        .insert(caller.unwrap_or(Caller::Anonymous));
    if speaks == Speaks::Http1 {
        frame_for_http1(&mut request);
    }
    Ok(request)
}

fn client_side(parts: &Parts) -> ClientSide {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let authority = parts.uri.authority();
    let host = authority.and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    ClientSide {
        address: peer.map(|peer| peer.0.ip()),
        host,
    }
}

/// Whether the client's own body broke off or was malformed, which is no fault of the upstream's.
fn is_the_clients(error: &hyper_util::client::legacy::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref());
    source.is_some_and(hyper::Error::is_user)
}

/// What HTTP/2 says in its frames, HTTP/1.1 says in headers.
fn frame_for_http1(request: &mut Request) {
    // A GET whose length is unknown would be sent without its body.
    if !request.body().is_end_stream() && request.body().size_hint().exact().is_none() {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(TRANSFER_ENCODING, chunked);
    }
    if request.headers().contains_key(TE) {
        let te = HeaderValue::from_static("te");
        request.headers_mut().insert(CONNECTION, te);
    }
}
