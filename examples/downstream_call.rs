//! A handler that calls other services with the token of its caller.
//!
//! `cargo run --example downstream_call` starts an issuer, two upstream services and a front
//! service, calls the front service, and prints which of its outgoing requests carried the token.

use std::error::Error;

use axum::http::{HeaderMap, StatusCode};
use axum::{Router, extract::State, routing::get};
use portcullis::propagate::{TokenPropagation, current_caller, with_caller};
use portcullis::{JwtAuthLayer, TestIssuer, TokenPropagationLayer};
use reqwest::Client;
use tokio::net::TcpListener;

#[derive(Clone)]
struct Front {
    client: TokenPropagation<Client>,
    /// Listed with `forward_to`.
    orders: String,
    /// Not listed.
    weather: String,
}

impl Front {
    async fn call(&self, url: &str) -> reqwest::Result<String> {
        let request = self.client.get_ref().get(url);
        self.client.send(request).await?.text().await
    }
}

async fn front(State(front): State<Front>) -> Result<String, StatusCode> {
    let failed = |_| StatusCode::BAD_GATEWAY;
    let orders = front.call(&front.orders).await.map_err(failed)?;
    let weather = front.call(&front.weather).await.map_err(failed)?;
    // A spawned task has no caller unless it is started with one.
    let task = async move { front.call(&front.orders).await };
    let spawned = tokio::spawn(with_caller(current_caller(), task)).await;
    let spawned = spawned.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let spawned = spawned.map_err(failed)?;
    Ok(format!(
        "orders {orders}, weather {weather}, spawned {spawned}"
    ))
}

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
    let issuer = TestIssuer::start().await?.with_audience("front");
    let orders = serve(Router::new().route("/", get(upstream))).await?;
    let weather = serve(Router::new().route("/", get(upstream))).await?;

    let client = TokenPropagationLayer::forward_to([&orders])?.reqwest_client(Client::builder())?;
    let state = Front {
        client,
        orders,
        weather,
    };
    let auth = JwtAuthLayer::from_issuer(issuer.issuer(), "front")?;
    let app = Router::new().route("/", get(front)).with_state(state);
    let url = serve(app.layer(auth)).await?;

    let token = issuer.token("alice").sign();
    let request = Client::new().get(url).bearer_auth(token);
    let answer = request.send().await?.text().await?;
    println!("{answer}");
    assert_eq!(
        answer,
        "orders with the token, weather without a token, spawned with the token"
    );
    Ok(())
}
