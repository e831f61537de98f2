//! An upstream service that responds with the request that it received.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;

#[derive(Serialize)]
struct Echo<'r> {
    service: &'static str,
    method: &'r str,
    path: &'r str,
    version: String,
    /// Repeated headers are joined into one list.
    headers: BTreeMap<&'r str, String>,
}

/// Responds to every path.
pub(super) fn router(service: &'static str) -> Router {
    Router::new().fallback(echo).with_state(service)
}

async fn echo(State(service): State<&'static str>, request: Request) -> impl IntoResponse {
    let mut headers = BTreeMap::<_, String>::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        let list = headers.entry(name.as_str()).or_default();
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(&value);
    }
    let path = request.uri().path_and_query();
    let echo = Echo {
        service,
        method: request.method().as_str(),
        path: path.map_or("", |path| path.as_str()),
        version: format!("{:?}", request.version()),
        headers,
    };
    let text = serde_json::to_string_pretty(&echo).unwrap_or_default() + "\n";
    ([(CONTENT_TYPE, "application/json")], text)
}
