//! Extractors of axum, and the responses when they reject.

use axum::Router;
use axum::routing::get;
use portcullis::{Claims, CustomReason, Identity, Rejection};
use serde::Deserialize;
use serde_json::json;

use super::reports::{start_logging, take_events};
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
        ("/claims", Some(&bare), 500, "not_configured"),
        ("/maybe-claims", Some(&bare), 500, "not_configured"),
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

/// The token is valid; the type of the handler does not fit it.
#[tokio::test(flavor = "current_thread")]
async fn claims_that_do_not_fit_are_logged_without_values() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Org {
        tenant: String,
        plan: Plan,
    }
    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Plan {
        Free,
        Pro,
    }
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Mine {
        org: Org,
    }
    async fn claims(_: Claims<Mine>) -> &'static str {
        "reached"
    }
    async fn result(claims: Result<Claims<Mine>, Rejection>) -> String {
        claims.map_or_else(
            |rejection| rejection.reason().to_string(),
            |_| "reached".into(),
        )
    }

    start_logging();
    let (issuer, auth) = warm_auth().await;
    let app = Router::new()
        .route("/claims", get(claims))
        .route(
            "/optional",
            get(|_: Option<Claims<Mine>>| async { "reached" }),
        )
        .route("/result", get(result))
        .layer(auth);
    for (org, field, problem) in [
        (json!({ "tenant": "secret" }), "org.plan", "missing field"),
        (
            json!({ "tenant": "secret", "plan": "secret" }),
            "org.plan",
            "unknown variant, expected one of free, pro",
        ),
        (
            json!({ "tenant": ["secret"], "plan": "free" }),
            "org.tenant",
            "invalid type: sequence, expected a string",
        ),
        (
            json!("secret"),
            "org",
            "invalid type: string, expected struct Org",
        ),
    ] {
        let token = issuer.token("alice").claim("org", org).sign();
        for path in ["/claims", "/optional"] {
            take_events();
            let answer = get_path(&app, path, Some(&token)).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.json()["code"]),
                (500, &json!("not_configured"))
            );
            let events = take_events();
            let event = events
                .iter()
                .find(|event| event["policy"] == "extractor")
                .unwrap();
            assert_eq!(
                (event["claim"].as_str(), event["error"].as_str()),
                (Some(field), Some(problem))
            );
            assert!(event["fix"].as_str().unwrap().contains("`Claims<T>`"));
            let all = format!("{:?} {:?} {events:?}", answer.headers, answer.body);
            assert!(!all.contains("secret"), "{all}");
        }
        let answer = get_path(&app, "/result", Some(&token)).await;
        assert_eq!(
            (answer.status.as_u16(), &*answer.body),
            (200, &b"not_configured"[..])
        );
    }
    let good = json!({ "tenant": "acme", "plan": "pro" });
    let token = issuer.token("alice").claim("org", good).sign();
    assert_eq!(
        get_path(&app, "/claims", Some(&token)).await.body,
        "reached"
    );
}

#[test]
fn clones_share_the_claims() {
    let claims = Claims(std::sync::Arc::new(Mine {
        tenant: "acme".into(),
    }));
    assert!(std::sync::Arc::ptr_eq(&claims.0, &claims.clone().0));
}
