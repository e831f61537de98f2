//! The gateway: what a configuration says, in force. A reload builds another one, and requests under way keep theirs.

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
use crate::entrance;
use crate::kept::Kept;
use crate::reasons;
use crate::serve::Connection;
use crate::stack::Stack;
use crate::table::{Found, Table};

/// A configuration in force.
pub(crate) struct Gateway {
    pub(crate) table: Table<Arc<Way>>,
    pub(crate) configuration: Configuration,
    /// What stands before each route of the configuration, in its order.
    pub(crate) guarded: Vec<Entry>,
    pub(crate) consumers: Arc<Consumers>,
    /// The keys of every issuer that does not share a secret.
    pub(crate) keys: Vec<JwksCache>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// For the next one.
    pub(crate) kept: Kept,
}

/// A route, ready to be taken.
pub(crate) struct Way {
    pub(crate) template: Arc<str>,
    pub(crate) methods: Option<Vec<Method>>,
    pub(crate) stack: Stack,
}

/// What the library refused of a configuration that was read without a complaint.
#[derive(Debug)]
pub(crate) struct Unbuildable {
    pub(crate) place: Option<Place>,
    pub(crate) problem: String,
}

/// What a route that names no methods takes, among others.
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
    /// Takes over what `before` leaves.
    pub(crate) fn new(configuration: Configuration, before: &Kept) -> Result<Self, Unbuildable> {
        build::gateway(configuration, before)
    }

    pub(crate) fn client(&self, connection: Connection, headers: &HeaderMap) -> ClientAddress {
        let proxies = &self.configuration.trusted_proxies;
        proxies.client(connection.peer.ip(), headers)
    }

    /// The route of a request.
    pub(crate) fn find(&self, request: &Request) -> Result<Arc<Way>, Reason> {
        let target = entrance::target(request).ok_or(reasons::BAD_PATH)?;
        match self
            .table
            .find(target.host.as_deref(), request.uri().path())
        {
            Found::Route(way) => Ok(way),
            Found::Nothing => Err(reasons::NO_ROUTE),
            Found::Ambiguous => Err(reasons::BAD_PATH),
        }
    }

    /// Passes a request on by its route, or refuses it.
    pub(crate) async fn pass(&self, way: &Way, request: Request) -> Response {
        let protocol = Protocol::of(&request);
        // It would tell the client what the gateway says to the upstream.
        if way.methods.is_none() && request.method() == Method::TRACE {
            return answer(Rejection::method_not_allowed(&USUAL), protocol);
        }
        if let Some(allowed) = &way.methods
            && !allowed.contains(request.method())
            && !self.is_preflight(allowed, &request)
        {
            return answer(Rejection::method_not_allowed(allowed), protocol);
        }
        if request.body().size_hint().lower() > self.configuration.max_body {
            return answer(reasons::BODY_TOO_LARGE.into(), protocol);
        }
        match way.stack.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// A true preflight asks about another method than its own.
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

/// A refusal in the protocol of the request.
pub(crate) fn answer(rejection: Rejection, protocol: Protocol) -> Response {
    let response = rejection.render::<Body>(protocol);
    response.map(Body::new)
}

/// How a route is named in logs and metrics.
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
