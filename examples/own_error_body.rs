//! Rejections in the API's own format instead of `application/problem+json`.
//!
//! Run it with `cargo run --example own_error_body`: it sends itself three requests and prints the
//! responses.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::routing::get;
use axum::{Router, response::IntoResponse};
use bytes::Bytes;
use portcullis::{
    CustomReason, Identity, JwtAuthLayer, OnRejectionLayer, Rejection, RequireRoleLayer, TestIssuer,
};
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt};

/// A reason of this API, in addition to the reasons of the layers.
const UNPAID: CustomReason = CustomReason::new(
    StatusCode::PAYMENT_REQUIRED,
    "unpaid",
    9, // FAILED_PRECONDITION
    "the subscription has ended",
);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In production: JwtAuthLayer::from_issuer("https://id.example.com/", "orders-api")?
    let issuer = TestIssuer::start().await?.with_audience("orders-api");
    let auth = JwtAuthLayer::from_issuer(issuer.issuer(), "orders-api")?;

    let layers = ServiceBuilder::new()
        .layer(OnRejectionLayer::new(own_format))
        .layer(auth)
        .layer(RequireRoleLayer::any(["reader"]));
    let app = Router::new()
        .route("/orders", get(orders))
        .route_layer(layers);

    let reader = issuer.token("alice").role("reader").sign();
    let guest = issuer.token("bob").role("guest").sign();
    for (token, expected) in [
        (None, (401, "missing_token")),
        (Some(&guest), (403, "insufficient_scope")),
        (Some(&reader), (402, "unpaid")),
    ] {
        let mut request = Request::get("/orders");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = app.clone().oneshot(request.body(Body::empty())?).await?;
        let (status, challenge) = (
            response.status(),
            response.headers().get(header::WWW_AUTHENTICATE).cloned(),
        );
        let body: serde_json::Value =
            serde_json::from_slice(&to_bytes(response.into_body(), 1_000).await?)?;
        println!("{status} {challenge:?}\n{body}");
        assert_eq!(
            (status.as_u16(), body["error"]["code"].as_str()),
            (expected.0, Some(expected.1))
        );
    }
    Ok(())
}

/// Replaces the body. Status, `WWW-Authenticate` and `Retry-After` stay as they are.
fn own_format(rejection: &Rejection, response: &mut Response<Bytes>) {
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    let body = json!({ "error": {
        "code": rejection.reason().code(),
        "message": rejection.to_string(),
        "required": rejection.required(),
    }});
    *response.body_mut() = body.to_string().into();
}

async fn orders(me: Identity) -> Result<impl IntoResponse, Rejection> {
    if me.subject() == "alice" {
        return Err(Rejection::custom(&UNPAID));
    }
    Ok("no orders")
}
