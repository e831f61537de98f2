//! An axum service that authenticates, limits and authorizes its callers.
//!
//! `cargo run --example axum_api` starts the service with its own issuer and prints `curl`
//! commands to try. `axum_production` adds what a service needs in production.

use std::error::Error;

use axum::{Router, routing::get};
use portcullis::{Identity, JwtAuthLayer, Quota, RateLimitLayer, RequireRoleLayer, TestIssuer};
use tokio::net::TcpListener;

/// The layers and routes of the service.
fn app(issuer: &str) -> Result<Router, portcullis::ConfigError> {
    let auth = JwtAuthLayer::from_issuer(issuer, "orders-api")?;
    let limit = RateLimitLayer::new(Quota::per_second(50).burst(100)).by_subject();
    let hello = get(|me: Identity| async move { format!("hello {}\n", me.subject()) });
    let orders = Router::new()
        .route("/orders", hello)
        .route_layer(RequireRoleLayer::any(["reader", "admin"]));
    Ok(orders.layer((auth, limit))) // outermost first
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = TestIssuer::start().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/orders", listener.local_addr()?);
    let server = axum::serve(listener, app(issuer.issuer())?);

    let token = |role| {
        issuer
            .token("alice")
            .audience("orders-api")
            .role(role)
            .sign()
    };
    for role in ["reader", "guest"] {
        println!("curl -i -H 'Authorization: Bearer {}' {url}", token(role));
    }
    println!("curl -i {url}");
    if std::env::args().any(|argument| argument == "--check") {
        tokio::spawn(server.into_future());
        return check(&url, [token("reader"), token("guest")]).await;
    }
    Ok(server.await?)
}

/// The responses to the printed commands.
async fn check(url: &str, [reader, guest]: [String; 2]) -> Result<(), Box<dyn Error>> {
    let client = reqwest::Client::new();
    let answer = client.get(url).bearer_auth(reader).send().await?;
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("ratelimit"));
    assert_eq!(answer.text().await?, "hello alice\n");

    let answer = client.get(url).bearer_auth(guest).send().await?;
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");

    let answer = client.get(url).send().await?;
    assert_eq!(answer.status(), 401);
    assert_eq!(
        answer.headers()["www-authenticate"],
        r#"Bearer realm="api""#
    );

    let missing = url.replace("orders", "nothing");
    let answer = client.get(missing).send().await?;
    assert_eq!(
        answer.status(),
        401,
        "`layer` is in front of the fallback too, `route_layer` is not"
    );
    Ok(())
}
