//! Forwards requests to an upstream service and returns its responses, both as streams.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING};
use axum::http::uri::{Authority, InvalidUriParts, PathAndQuery, Scheme};
use axum::http::{HeaderValue, StatusCode, Uri, uri};
use axum::response::{IntoResponse, Response};
use portcullis::client_address::ClientAddress;
use portcullis::propagate::TokenPropagation;
use portcullis::{Caller, ConfigError, Protocol, Reason, TokenPropagationLayer};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

use crate::body::BodyOutcome;
use crate::clients::{Clients, HttpClient};
use crate::config::model::{Propagate, Route, UpstreamHost};
use crate::gateway::answer;
use crate::headers::{self, ClientSide, Rewriting};
use crate::reasons;
use crate::serve::Connection;
use crate::stack::Stack;
use crate::telemetry::Causes;

/// A client for one upstream.
#[derive(Clone)]
pub(crate) struct Proxy(Arc<Settings>);

struct Settings {
    scheme: Scheme,
    authority: Authority,
    host: UpstreamHost,
    cookie: Option<String>,
    timeout: Duration,
    http: TokenPropagation<HttpClient>,
    grpc: TokenPropagation<HttpClient>,
}

// === impl Proxy ===

impl Proxy {
    pub(crate) fn new(
        route: &Route,
        clients: Clients,
        cookie: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let problem = |problem| ConfigError::Url {
            url: route.upstream.to_string(),
            problem,
        };
        let scheme = route.upstream.scheme().cloned();
        let authority = route.upstream.authority().cloned();
        let (Some(scheme), Some(authority)) = (scheme, authority) else {
            return Err(problem("give a URL such as http://127.0.0.1:3002"));
        };
        let propagation = match route.propagate {
            Propagate::None => TokenPropagationLayer::forward_to::<[&str; 0]>([])?.enabled(false),
            Propagate::Forward => forward_to(&format!("{scheme}://{authority}"))?,
        };
        let http = match route.upstream_host {
            UpstreamHost::Upstream => clients.any,
            UpstreamHost::Client => clients.http1,
        };
        Ok(Self(Arc::new(Settings {
            scheme,
            authority,
            host: route.upstream_host,
            cookie: cookie.map(str::to_owned),
            timeout: route.timeout,
            http: propagation.layer(http),
            grpc: propagation.layer(clients.http2),
        })))
    }

    pub(crate) fn into_stack(self) -> Stack {
        BoxCloneSyncService::new(service_fn(move |request| {
            let proxy = self.clone();
            async move { Ok::<_, Infallible>(proxy.forward(request).await) }
        }))
    }

    /// Returns the upstream's response, or a rejection if there is none.
    async fn forward(self, request: Request) -> Response {
        let protocol = Protocol::of(&request);
        match self.exchange(request, protocol).await {
            Ok(response) => response,
            Err(reason) => answer(reason.into(), protocol),
        }
    }

    async fn exchange(self, request: Request, protocol: Protocol) -> Result<Response, Reason> {
        if headers::asks_for_upgrade(request.headers()) {
            return Err(reasons::UPGRADE_NOT_SUPPORTED);
        }
        let is_grpc = matches!(protocol, Protocol::Grpc(_));
        let client = if is_grpc { &self.0.grpc } else { &self.0.http }.clone();
        let outcome = request.extensions().get::<BodyOutcome>().cloned();
        let outcome = outcome.unwrap_or_default();
        let mut request = self.outbound(request)?;
        if !is_grpc {
            frame_for_http1(&mut request);
        }
        let upstream = &self.0.authority;
        match tokio::time::timeout(self.0.timeout, client.oneshot(request)).await {
            // The gateway never asks for a protocol upgrade.
            Ok(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Err(reasons::UPSTREAM_UNREACHABLE)
            }
            Ok(Ok(response)) => {
                let (parts, body) = response.into_parts();
                let mut response = Response::new(Body::new(body));
                *response.status_mut() = parts.status;
                *response.headers_mut() = parts.headers;
                headers::remove_hop_by_hop(response.headers_mut());
                Ok(response)
            }
            Ok(Err(_)) if outcome.is_too_large() => Err(reasons::BODY_TOO_LARGE),
            Ok(Err(_)) if outcome.is_broken() => Ok(StatusCode::BAD_REQUEST.into_response()),
            Ok(Err(error)) => {
                let error = Causes(&error);
                tracing::warn!(%upstream, %error, "unreachable");
                Err(reasons::UPSTREAM_UNREACHABLE)
            }
            Err(_) => {
                tracing::warn!(%upstream, "no response in time");
                Err(reasons::UPSTREAM_TIMEOUT)
            }
        }
    }

    /// Builds the request to the upstream. Only what is copied here is taken from the client's
    /// request.
    fn outbound(&self, request: Request) -> Result<Request, Reason> {
        let (mut parts, body) = request.into_parts();
        let extensions = &mut parts.extensions;
        let (Some(connection), Some(client)) = (
            extensions.remove::<Connection>(),
            extensions.remove::<ClientAddress>(),
        ) else {
            return Err(Reason::NotConfigured);
        };
        let authority = parts.uri.authority();
        let side = ClientSide {
            client,
            scheme: connection.scheme,
            host: authority.and_then(|host| HeaderValue::from_str(host.as_str()).ok()),
        };
        let how = Rewriting {
            host: self.0.host,
            cookie: self.0.cookie.as_deref(),
        };
        headers::rewrite(&mut parts.headers, side, &how);

        let path_and_query = parts.uri.into_parts().path_and_query;
        let uri = self.uri(path_and_query).map_err(|_| reasons::BAD_PATH)?;
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = parts.headers;
        // Propagation sends the token of exactly this caller.
        let caller = extensions.remove::<Caller>();
        request
            .extensions_mut()
            .insert(caller.unwrap_or(Caller::Anonymous));
        Ok(request)
    }

    /// The same path and query at the upstream, byte for byte.
    fn uri(&self, path_and_query: Option<PathAndQuery>) -> Result<Uri, InvalidUriParts> {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(self.0.scheme.clone());
        parts.authority = Some(self.0.authority.clone());
        parts.path_and_query = path_and_query;
        Uri::from_parts(parts)
    }
}

/// The route configures this origin explicitly, so plain HTTP is allowed, too. The configuration
/// warns about it.
fn forward_to(origin: &str) -> Result<TokenPropagationLayer, ConfigError> {
    TokenPropagationLayer::forward_to([origin])
        .or_else(|_| TokenPropagationLayer::dangerous_forward_to_http([origin]))
}

/// HTTP/1.1 needs framing headers where HTTP/2 uses frames. If the upstream speaks HTTP/2, the
/// client removes them.
fn frame_for_http1(request: &mut Request) {
    let (length, is_empty) = (
        request.body().size_hint().exact(),
        request.body().is_end_stream(),
    );
    let headers = request.headers_mut();
    match length {
        // Written once, in one spelling, whatever the HTTP/2 request had.
        Some(length) if !is_empty || headers.contains_key(CONTENT_LENGTH) => {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        // Without this header, a GET with a body of unknown length would be sent without its body.
        None if !is_empty => {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        _ => {}
    }
    if request.headers().contains_key(TE) {
        let te = HeaderValue::from_static("te");
        request.headers_mut().insert(CONNECTION, te);
    }
}
