//! The admin listener: liveness, readiness, metrics, routes and revocations.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::uri::Authority;
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use portcullis::manifest::Entry;
use portcullis::{JwksCache, Protocol, Reason};
use serde_json::{Value, json};

use crate::config::model::{Access, Route};
use crate::gateway::answer;
use crate::process::Process;
use crate::{reasons, revocations};

pub(crate) fn router(process: Arc<Process>, address: SocketAddr) -> Router {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/routes", get(routes))
        .route("/revocations", revocations::routes())
        .method_not_allowed_fallback(|request: Request| refuse(Reason::MethodNotAllowed, request))
        .fallback(|request: Request| refuse(reasons::NO_ROUTE, request))
        .with_state(process);
    if !address.ip().is_loopback() {
        return router;
    }
    router.layer(middleware::from_fn(require_local_host))
}

/// Rejects requests with a foreign `Host`, because any domain can resolve to this machine, and a
/// page of that domain could read the admin endpoints in an operator's browser (DNS rebinding).
async fn require_local_host(request: Request, next: Next) -> Response {
    let header = request.headers().get(HOST);
    let header = header.map(|host| host.to_str().unwrap_or_default());
    let asked = header.or(request.uri().authority().map(Authority::as_str));
    let is_ours = |asked: &str| {
        let asked = asked.parse::<Authority>();
        asked.is_ok_and(|asked| {
            let host = asked.host().trim_matches(['[', ']']);
            host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
        })
    };
    if asked.is_none_or(is_ours) {
        return next.run(request).await;
    }
    let text = "use the address of this machine, or localhost, as the host\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

/// Uses the same error format as for clients. The router adds `Allow`.
async fn refuse(reason: Reason, request: Request) -> Response {
    answer(reason.into(), Protocol::of(&request))
}

/// Ready if tokens of every issuer can be verified and the process is not shutting down.
async fn readyz(State(process): State<Arc<Process>>) -> impl IntoResponse {
    let gateway = process.gateway();
    let issuers: Vec<_> = gateway.keys.iter().flat_map(JwksCache::status).collect();
    let is_draining = process.is_draining();
    let is_ready = !is_draining && issuers.iter().all(|issuer| issuer.state.is_ready());
    let issuers = issuers.iter().map(|status| {
        json!({
            "issuer": status.issuer,
            "keys": status.keys,
            "state": status.state.as_str(),
            "age_seconds": status.age.map(|age| age.as_secs()),
            "last_error": status.last_error,
        })
    });
    // A store that is down does not make the gateway unready: `on_error` decides how requests are
    // handled.
    let store = gateway.state.store().map(|store| {
        let status = store.status();
        json!({
            "up": status.is_up,
            "degraded_seconds": status.degraded.as_secs_f64(),
            "errors": status.errors,
            "last_error": status.last_error,
        })
    });
    let body = json!({
        "ready": is_ready,
        "draining": is_draining,
        "issuers": issuers.collect::<Vec<_>>(),
        "rate_limit_store": store,
    });
    let status = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(body))
}

async fn metrics(State(process): State<Arc<Process>>) -> impl IntoResponse {
    let text = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, text)], process.metrics.render())
}

async fn routes(State(process): State<Arc<Process>>) -> Json<Value> {
    let gateway = process.gateway();
    let routes = gateway.configuration.routes.iter().zip(&gateway.guarded);
    Json(routes.map(|(own, guarded)| route(own, guarded)).collect())
}

/// What the configuration contains about a route, and what its layers report.
fn route(own: &Route, guarded: &Entry) -> Value {
    let methods = own.methods.as_ref().map(|methods| {
        let names = methods.iter().map(Method::as_str);
        names.collect::<Vec<_>>()
    });
    let mut shown = json!(guarded);
    let own = json!({
        "path": own.path,
        "host": own.host,
        "methods": methods,
        "upstream": own.upstream.to_string(),
        "timeout_seconds": own.timeout.as_secs_f64(),
        "public": matches!(own.access, Access::Public),
        "propagate": own.propagate.name(),
        "mode": own.mode,
    });
    if let (Value::Object(shown), Value::Object(own)) = (&mut shown, own) {
        shown.extend(own);
    }
    shown
}
