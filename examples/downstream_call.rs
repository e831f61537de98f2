//! A handler that calls another service as the caller who called it.
//!
//! `cargo run --example downstream_call` starts an issuer, an upstream service and a front service, calls the front,
//! and shows which of its outgoing calls carried the caller's token.

use std::error::Error;

use axum::http::HeaderMap;
use axum::{Router, extract::State, routing::get};
use portcullis::{
    Identity, IdentityHeadersLayer, JwtAuthLayer, TestIssuer, TokenPropagationLayer, propagate,
};
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceExt};

/// The client that a service calls others with.
type Client = portcullis::propagate::TokenPropagation<reqwest::Client>;

async fn serve(app: Router) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, app).into_future());
    Ok(origin)
}

/// Says whether a token reached it.
async fn upstream(headers: HeaderMap) -> &'static str {
    match headers.contains_key("authorization") {
        true => "with the token",
        false => "without a token",
    }
}

/// What the front service does with a request of its own.
#[derive(Clone)]
struct Front {
    client: Client,
    trusted: String,
    stranger: String,
}

async fn front(me: Identity, State(front): State<Front>) -> String {
    let trusted = front.get(&front.trusted).await;
    let stranger = front.get(&front.stranger).await;
    let task = propagate::in_current_scope({
        let front = front.clone();
        async move { front.get(&front.trusted).await }
    });
    let spawned = tokio::spawn(task).await.unwrap_or_default();
    format!(
        "{}: trusted {trusted}; stranger {stranger}; spawned {spawned}",
        me.subject()
    )
}
