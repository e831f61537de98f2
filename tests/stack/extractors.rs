//! Extractors of axum, and the responses when they reject.

use axum::Router;
use axum::routing::get;
use portcullis::{Claims, CustomReason, Identity, Rejection};
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Mine {
    tenant: String,
}

async fn me(me: Identity) -> String {
    me.subject().to_owned()
}

async fn maybe(me: Option<Identity>) -> String {
    me.map_or("nobody".to_owned(), |me| me.subject().to_owned())
}

async fn claims(claims: Claims<Mine>) -> String {
    claims.tenant.clone()
}

async fn maybe_claims(claims: Option<Claims<Mine>>) -> String {
    claims.map_or("none".to_owned(), |claims| claims.tenant.clone())
}

async fn rejects() -> Rejection {
    const NO_ROUTE: CustomReason = CustomReason::new(
        StatusCode::NOT_FOUND,
        "no_route",
        12,
        "no route for this path",
    );
    Rejection::custom(&NO_ROUTE)
}

/// A handler that reads why its caller was rejected.
async fn result(me: Result<Identity, Rejection>) -> String {
    match me {
        Ok(me) => me.subject().to_owned(),
        Err(rejection) => format!("{} by {}", rejection.reason(), rejection.stage()),
    }
}

fn app() -> Router {
    Router::new()
        .route("/me", get(me))
        .route("/maybe", get(maybe))
        .route("/claims", get(claims))
        .route("/maybe-claims", get(maybe_claims))
        .route("/result", get(result))
        .route("/refuses", get(rejects))
}

async fn get_path(app: &Router, path: &str, token: Option<&str>) -> Answer {
    let mut request = request(token);
    *request.uri_mut() = path.parse().unwrap();
    read(app.clone().oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn handlers_receive_their_caller() {
    let (issuer, auth) = warm_auth().await;
    let app = app().layer(auth.optional());
    let token = issuer.token("alice").claim("tenant", "acme").sign();
    let bare = issuer.token("bob").sign();
    for (path, token, status, body) in [
        ("/me", Some(&token), 200, "alice"),
        ("/maybe", Some(&token), 200, "alice"),
        ("/maybe", None, 200, "nobody"),
        ("/claims", Some(&token), 200, "acme"),
        ("/maybe-claims", Some(&token), 200, "acme"),
        ("/maybe-claims", None, 200, "none"),
    ] {
        let answer = get_path(&app, path, token.map(String::as_str)).await;
        assert_eq!(
            (answer.status.as_u16(), &*answer.body),
            (status, body.as_bytes()),
            "{path}"
        );
    }
    for (path, token, status, code) in [
        ("/me", None, 401, "missing_token"),
        ("/claims", None, 401, "missing_token"),
        ("/claims", Some(&bare), 401, "invalid_claim"),
        ("/maybe-claims", Some(&bare), 401, "invalid_claim"),
        ("/refuses", None, 404, "no_route"),
    ] {
        let answer = get_path(&app, path, token.map(String::as_str)).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.json()["code"], code, "{path}");
    }
}

#[tokio::test]
async fn extractors_fail_without_the_layer() {
    for path in ["/me", "/maybe", "/claims", "/maybe-claims"] {
        let answer = get_path(&app(), path, None).await;
        assert_eq!(answer.status, 500, "{path}");
        assert_eq!(answer.json()["code"], "not_configured");
    }
}

#[tokio::test]
async fn rejection_of_an_extractor_is_an_argument() {
    let (issuer, auth) = warm_auth().await;
    let app = app().layer(auth.optional());
    let token = issuer.token("alice").sign();
    let answer = get_path(&app, "/result", Some(&token)).await;
    assert_eq!(answer.body, "alice");
    let answer = get_path(&app, "/result", None).await;
    assert_eq!(answer.body, "missing_token by extractor");
}
