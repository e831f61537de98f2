//! `/revocations` on the admin listener: lists revocations and adds new ones.

use std::fmt::Display;
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Extension, Json};
use portcullis::Protocol;
use portcullis::revoke::{Entry, Kind, Revocation, Revocations, RevokeError};
use serde_json::{Value, json};

use crate::gateway::{Gateway, answer};
use crate::process::Process;
use crate::reasons;
use crate::serve::Connection;

/// Larger than any issuer and subject together.
const MAX_BODY: usize = 16 * 1024;
/// The maximum number of listed revocations; there may be a million.
const SHOWN: usize = 1000;

pub(crate) fn routes() -> MethodRouter<Arc<Process>> {
    get(list).post(revoke)
}

/// Lists revocations, the first to end first. They have no names, because only hashes are stored.
async fn list(State(process): State<Arc<Process>>, request: Request) -> Response {
    let Some(revocations) = in_force(&process.gateway()) else {
        return answer(reasons::NO_ROUTE.into(), Protocol::of(&request));
    };
    // Reads and sorts up to a million entries, so it runs on a blocking thread.
    let listed = tokio::task::spawn_blocking(move || listing(&revocations.entries())).await;
    listed.map_or_else(
        |_| StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        |listing| Json(listing).into_response(),
    )
}

/// Adds a revocation. It applies at once, to cached tokens too.
async fn revoke(
    State(process): State<Arc<Process>>,
    Extension(connection): Extension<Connection>,
    request: Request,
) -> Response {
    let protocol = Protocol::of(&request);
    let gateway = process.gateway();
    let Some(revocations) = in_force(&gateway) else {
        return answer(reasons::NO_ROUTE.into(), protocol);
    };
    let (parts, body) = request.into_parts();
    // Every process that can reach this port may revoke. A browser on the operator's machine can
    // reach it too, so requests from web pages are refused.
    if parts.headers.contains_key(ORIGIN) {
        return problem(StatusCode::FORBIDDEN, "requests from web pages are refused");
    }
    if !is_json(&parts.headers) {
        let detail = "send the revocation as application/json";
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
    }
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return answer(reasons::BODY_TOO_LARGE.into(), protocol);
    };
    let revocation: Revocation = match serde_json::from_slice(&body) {
        Ok(revocation) => revocation,
        Err(error) => return problem(StatusCode::BAD_REQUEST, error),
    };
    let document: Value = serde_json::from_slice(&body).unwrap_or_default();
    let issuer = document["issuer"].as_str().unwrap_or_default();
    // A missing slash would otherwise produce a revocation that matches no token, without any
    // error.
    let issuers = gateway.configuration.issuers.iter();
    let issuers: Vec<&str> = issuers.map(|issuer| &*issuer.issuer).collect();
    if !issuers.contains(&issuer) {
        let detail = format!("unknown issuer, expected one of {}", issuers.join(", "));
        return problem(StatusCode::UNPROCESSABLE_ENTITY, detail);
    }
    let kind = revocation.kind().as_str();
    let in_force = match revocations.revoke(revocation) {
        Ok(_) => true,
        // All matching tokens have expired, so nothing was stored. The time may be wrong.
        Err(RevokeError::AlreadyOver) => false,
        Err(error @ RevokeError::Full) => {
            tracing::error!(%error, "not revoked");
            return problem(StatusCode::INSUFFICIENT_STORAGE, error);
        }
        Err(error) => return problem(StatusCode::UNPROCESSABLE_ENTITY, error),
    };
    tracing::info!(kind, issuer, in_force, client = %connection.peer.ip(), "revoked");
    Json(json!({ "in_force": in_force })).into_response()
}

/// Returns `None` if the configuration has no revocation store.
fn in_force(gateway: &Gateway) -> Option<Revocations> {
    let revocations = &gateway.state.revocations;
    gateway
        .configuration
        .revocation
        .map(|_| revocations.clone())
}

fn listing(entries: &[Entry]) -> Value {
    let counts = Kind::ALL.iter().map(|kind| {
        let count = entries.iter().filter(|entry| entry.kind == *kind).count();
        (kind.as_str().to_owned(), json!(count))
    });
    json!({
        "total": entries.len(),
        "counts": Value::Object(counts.collect()),
        "first_to_end": entries.iter().take(SHOWN).collect::<Vec<_>>(),
    })
}

/// Web pages cannot send this content type without a CORS preflight.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|own| own.to_str().ok());
    let media_type = content_type.and_then(|own| own.split(';').next());
    media_type.is_some_and(|own| own.trim().eq_ignore_ascii_case("application/json"))
}

/// A problem with the operator's request, with the detail of the component that found it.
fn problem(status: StatusCode, detail: impl Display) -> Response {
    let document = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail.to_string(),
    });
    let headers = [
        (CONTENT_TYPE, "application/problem+json"),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, document.to_string()).into_response()
}
