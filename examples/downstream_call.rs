//! A handler that calls another service in the name of its own caller.
//!
//! `cargo run --example downstream_call` starts an issuer, two upstream services and a front service, calls the front,
//! and shows which of its outgoing calls carried the caller's token.

use std::error::Error;

use axum::http::HeaderMap;
use axum::{Router, extract::State, routing::get};
use portcullis::propagate::{TokenPropagation, current_caller, with_caller};
use portcullis::{IdentityHeadersLayer, JwtAuthLayer, TestIssuer, TokenPropagationLayer};
use reqwest::{Client, Method, Request};
use tokio::net::TcpListener;
use tower::{Service, ServiceExt};

/// A service that calls others, and where they are.
#[derive(Clone)]
struct Front {
    client: TokenPropagation<Client>,
    orders: String,
    stranger: String,
}

impl Front {
    async fn call(&self, origin: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
        let request = Request::new(Method::GET, origin.parse()?);
        let mut client = self.client.clone();
        Ok(client.ready().await?.call(request).await?.text().await?)
    }
}

/// Calls an upstream that is on the list, one that is not, and the first once more from a task of its own.
async fn front(State(front): State<Front>) -> Result<String, String> {
    let orders = front.call(&front.orders).await;
    let stranger = front.call(&front.stranger).await;
    let later = front.clone();
    let task = async move { later.call(&later.orders).await };
    let spawned = tokio::spawn(with_caller(current_caller(), task)).await;
    let told = |answer: Result<String, _>| {
        answer.map_err(|error: Box<dyn Error + Send + Sync>| error.to_string())
    };
    let spawned = told(spawned.map_err(|error| error.to_string())?)?;
    Ok(format!(
        "orders {}, stranger {}, spawned {spawned}",
        told(orders)?,
        told(stranger)?
    ))
}

/// Says whether a token reached it.
async fn upstream(headers: HeaderMap) -> &'static str {
    match headers.contains_key("authorization") {
        true => "with the token",
        false => "without a token",
    }
}

async fn serve(app: Router) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, app).into_future());
    Ok(origin)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = TestIssuer::start().await?;
    let orders = serve(Router::new().route("/", get(upstream))).await?;
    let stranger = serve(Router::new().route("/", get(upstream))).await?;

    let client = TokenPropagationLayer::forward_to([&orders])?.reqwest_client(Client::builder())?;
    let state = Front {
        client,
        orders,
        stranger,
    };
    let auth = JwtAuthLayer::from_issuer(issuer.issuer(), "front")?;
    // IdentityHeadersLayer opens the scope in which the client finds the caller.
    let app = Router::new().route("/", get(front)).with_state(state);
    let url = serve(app.layer((auth, IdentityHeadersLayer::new()))).await?;

    let token = issuer.token("alice").audience("front").sign();
    let answer = Client::new()
        .get(url)
        .bearer_auth(token)
        .send()
        .await?
        .text()
        .await?;
    println!("{answer}");
    assert_eq!(
        answer,
        "orders with the token, stranger without a token, spawned with the token"
    );
    Ok(())
}
