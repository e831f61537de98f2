//! `/revocations` of the admin listener: what is revoked, and what else is to be.

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

/// Longer than any issuer and subject together.
const MAX_BODY: usize = 16 * 1024;
/// How many revocations a listing shows; there may be a million.
const SHOWN: usize = 1000;

pub(crate) fn routes() -> MethodRouter<Arc<Process>> {
    get(list).post(revoke)
}

/// The first to end come first. They have no names: none are kept.
async fn list(State(process): State<Arc<Process>>, request: Request) -> Response {
    let Some(revocations) = in_force(&process.gateway()) else {
        return answer(reasons::NO_ROUTE.into(), Protocol::of(&request));
    };
    // A million of them are read and sorted.
    let listed = tokio::task::spawn_blocking(move || listing(&revocations.entries())).await;
    listed.map_or_else(
        |_| StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        |listing| Json(listing).into_response(),
    )
}

/// Revokes at once, for remembered tokens too.
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
    // Whoever can open this port may revoke, and an operator's browser can. Its pages may not.
    if parts.headers.contains_key(ORIGIN) {
        return problem(StatusCode::FORBIDDEN, "this is not for pages in a browser");
    }
    if !is_json(&parts.headers) {
        let detail = "send a revocation as application/json";
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
    // A slash too few, and nothing would be revoked without anybody noticing.
    let issuers = gateway.configuration.issuers.iter();
    let issuers: Vec<&str> = issuers.map(|issuer| &*issuer.issuer).collect();
    if !issuers.contains(&issuer) {
        let detail = format!("no such issuer here, there are {}", issuers.join(", "));
        return problem(StatusCode::UNPROCESSABLE_ENTITY, detail);
    }
    let kind = revocation.kind().as_str();
    let in_force = match revocations.revoke(revocation) {
        Ok(_) => true,
        // Every token that it concerns has expired, which may be a mistake in a time.
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

/// `None` where tokens are valid until they expire.
fn in_force(gateway: &Gateway) -> Option<Revocations> {
    let revocations = &gateway.kept.revocations;
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

/// Forms in web pages can send anything but this without asking first.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|own| own.to_str().ok());
    let media_type = content_type.and_then(|own| own.split(';').next());
    media_type.is_some_and(|own| own.trim().eq_ignore_ascii_case("application/json"))
}

/// A problem of the operator's, in the words of whoever found it.
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
