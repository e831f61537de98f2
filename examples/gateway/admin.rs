//! What operators ask: is it alive, is it ready, how much does it do, what does it let through.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use portcullis::{JwksCache, Protocol, Reason};
use serde_json::{Value, json};

use crate::config::model::{Access, Allowance, ConsumerFilter, LimitKey, Mode, Propagate, Route};
use crate::gateway::answer;
use crate::process::Process;
use crate::revocations;

pub(crate) fn router(process: Arc<Process>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/routes", get(routes))
        .route("/revocations", revocations::routes())
        .method_not_allowed_fallback(|request: Request| refuse(Reason::MethodNotAllowed, request))
        .fallback(|request: Request| refuse(Reason::NoRoute, request))
        .with_state(process)
}

/// As clients are refused; `Allow` comes from the router.
async fn refuse(reason: Reason, request: Request) -> Response {
    answer(reason.into(), Protocol::of(&request))
}

/// Ready as long as tokens of every issuer can be verified, and the process does not end.
async fn readyz(State(process): State<Arc<Process>>) -> impl IntoResponse {
    let gateway = process.gateway();
    let issuers: Vec<_> = gateway.keys.iter().flat_map(JwksCache::status).collect();
    let is_draining = process.is_draining();
    let is_ready = !is_draining && issuers.iter().all(|issuer| issuer.state.is_ready());
    let issuers = issuers.iter().map(|status| {
        json!({
            "issuer": status.issuer,
            "keys": status.keys,
            "state": status.state.name(),
            "age_seconds": status.age.map(|age| age.as_secs()),
            "last_error": status.last_error,
        })
    });
    let body = json!({
        "ready": is_ready,
        "draining": is_draining,
        "issuers": issuers.collect::<Vec<_>>(),
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
    let routes = gateway.configuration.routes.iter().map(route);
    Json(routes.collect())
}

fn route(route: &Route) -> Value {
    let (requires, requires_for) = match &route.access {
        Access::Public => ("nothing".to_owned(), json!({})),
        Access::Verified {
            require,
            require_for,
        } => {
            let all = || "a verified caller".to_owned();
            let require = require.as_ref().map(|require| require.rule().to_string());
            let own = require_for
                .iter()
                .map(|(method, own)| (method.to_string(), json!(own.rule().to_string())));
            (require.unwrap_or_else(all), Value::Object(own.collect()))
        }
    };
    let limits = route.rate_limits.iter().map(|limit| {
        let key = match limit.key {
            LimitKey::Subject => "subject",
            LimitKey::Client => "client",
            LimitKey::Address => "address",
        };
        let admits = match &limit.allowance {
            Allowance::Plan => json!("plan"),
            Allowance::Fixed(limit) => json!({
                "requests": limit.requests,
                "per_seconds": limit.per.as_secs_f64(),
                "burst": limit.burst,
            }),
        };
        json!({ "name": limit.name, "key": key, "admits": admits })
    });
    let methods = route.methods.as_ref().map(|methods| {
        let names = methods.iter().map(ToString::to_string);
        names.collect::<Vec<_>>()
    });
    json!({
        "path": route.path,
        "host": route.host,
        "methods": methods,
        "upstream": route.upstream.to_string(),
        "timeout_seconds": route.timeout.as_secs_f64(),
        "public": matches!(route.access, Access::Public),
        "requires": requires,
        "requires_for": requires_for,
        "consumers": match &route.consumers {
            ConsumerFilter::Any => Value::Null,
            ConsumerFilter::Allow(names) => json!({ "allow": names }),
            ConsumerFilter::Deny(names) => json!({ "deny": names }),
        },
        "limits": limits.collect::<Vec<_>>(),
        "propagates": match route.propagate {
            Propagate::None => "none",
            Propagate::Forward => "forward",
        },
        "mode": match route.mode {
            Mode::Enforce => "enforce",
            Mode::Report => "report",
        },
    })
}
