//! The gateway built from a configuration. A reload builds a new one; requests in progress keep the
//! gateway that accepted them.

use std::fmt;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use portcullis::client_address::ClientAddress;
use portcullis::manifest::Entry;
use portcullis::{JwksCache, Protocol, Reason, Rejection};
use tokio_rustls::rustls::ServerConfig;
use tower::ServiceExt;

use crate::build;
use crate::config::model::{Configuration, CorsPreflight, Place, Route};
use crate::consumers::Consumers;
use crate::reasons;
use crate::reload_state::ReloadState;
use crate::serve::Connection;
use crate::stack::Stack;
use crate::table::{Found, Table};
use crate::target;

/// An active configuration.
pub(crate) struct Gateway {
    pub(crate) table: Table<Arc<ReadyRoute>>,
    pub(crate) configuration: Configuration,
    /// The layers of each route, in the order of the configuration.
    pub(crate) guarded: Vec<Entry>,
    pub(crate) consumers: Arc<Consumers>,
    /// The key caches of all issuers that do not use a shared secret.
    pub(crate) keys: Vec<JwksCache>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// The state that the next reload takes over.
    pub(crate) state: ReloadState,
}

/// A route with its layers.
pub(crate) struct ReadyRoute {
    pub(crate) template: Arc<str>,
    pub(crate) methods: Option<Vec<Method>>,
    pub(crate) stack: Stack,
}

/// A configuration that was read without errors, but that the library rejected.
#[derive(Debug)]
pub(crate) struct Unbuildable {
    pub(crate) place: Option<Place>,
    pub(crate) problem: String,
}

/// The methods that `Allow` lists for a route that does not restrict its methods.
const USUAL: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

// === impl Gateway ===

impl Gateway {
    /// Builds the gateway and takes over the state of its predecessor.
    pub(crate) fn new(
        configuration: Configuration,
        before: &ReloadState,
    ) -> Result<Self, Unbuildable> {
        build::gateway(configuration, before)
    }

    pub(crate) fn client(&self, connection: Connection, headers: &HeaderMap) -> ClientAddress {
        let proxies = &self.configuration.trusted_proxies;
        proxies.client(connection.peer.ip(), headers)
    }

    /// Returns the route for a request.
    pub(crate) fn find(&self, request: &Request) -> Result<Arc<ReadyRoute>, Reason> {
        let target = target::target(request).ok_or(reasons::BAD_PATH)?;
        match self
            .table
            .find(target.host.as_deref(), request.uri().path())
        {
            Found::Route(route) => Ok(route),
            Found::Nothing => Err(reasons::NO_ROUTE),
            Found::Ambiguous => Err(reasons::BAD_PATH),
        }
    }

    /// Forwards the request through the layers of its route, or rejects it.
    pub(crate) async fn pass(&self, route: &ReadyRoute, request: Request) -> Response {
        let protocol = Protocol::of(&request);
        // A TRACE response would show the client which headers the gateway sends to the upstream.
        if route.methods.is_none() && request.method() == Method::TRACE {
            return answer(Rejection::method_not_allowed(&USUAL), protocol);
        }
        if let Some(allowed) = &route.methods
            && !allowed.contains(request.method())
            && !self.is_preflight(allowed, &request)
        {
            return answer(Rejection::method_not_allowed(allowed), protocol);
        }
        if request.body().size_hint().lower() > self.configuration.max_body {
            return answer(reasons::BODY_TOO_LARGE.into(), protocol);
        }
        match route.stack.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// Whether this is a CORS preflight for one of the allowed methods.
    fn is_preflight(&self, allowed: &[Method], request: &Request) -> bool {
        let headers = request.headers();
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD);
        let is_allowed = |asked: &[u8]| allowed.iter().any(|own| own.as_str().as_bytes() == asked);
        self.configuration.cors_preflight == CorsPreflight::Pass
            && request.method() == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && asked.is_some_and(|asked| is_allowed(asked.as_bytes()))
    }
}

/// Renders a rejection in the protocol of the request.
pub(crate) fn answer(rejection: Rejection, protocol: Protocol) -> Response {
    let response = rejection.render::<Body>(protocol);
    response.map(Body::new)
}

/// The name of a route in logs and metrics.
pub(crate) fn template(route: &Route) -> String {
    format!(
        "{}{}",
        route.host.as_deref().unwrap_or_default(),
        route.path
    )
}

// === impl Unbuildable ===

impl fmt::Display for Unbuildable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

impl std::error::Error for Unbuildable {}
