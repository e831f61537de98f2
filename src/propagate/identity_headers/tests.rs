use std::convert::Infallible;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use serde_json::json;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::super::fixture::{caller, verified};
use super::*;
use crate::claim_path::ClaimPath;
use crate::error::ConfigError;
use crate::identity::Caller;
use crate::rejection::{Reason, Rejection};

/// The headers that the upstream receives.
async fn upstream(
    layer: &IdentityHeadersLayer,
    caller: Option<Caller>,
    headers: &[(&str, &str)],
) -> Result<HeaderMap, Reason> {
    let echo = service_fn(|request: Request<()>| async move {
        let mut response = Response::new(String::new());
        *response.headers_mut() = request.into_parts().0.headers;
        Ok::<_, Infallible>(response)
    });
    let mut request = Request::builder();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(()).unwrap();
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let response = layer.layer(echo).oneshot(request).await.unwrap();
    match response.extensions().get::<Rejection>() {
        Some(rejection) => Err(rejection.reason()),
        None => Ok(response.into_parts().0.headers),
    }
}

const SPELLINGS: &[&str] = &[
    "x-user-id",
    "X-User-Id",
    "X-USER-ID",
    "x_user_id",
    "X_User_Id",
    "X_USER_ID",
    "x-user_id",
    "X_user-ID",
    "x.user.id",
    "X.User.Id",
    "x.user-id",
    "x-user.id",
    "x_user.id",
    "x~user~id",
    "x!user!id",
    "x+user+id",
    "x'user'id",
    "x|user|id",
    "x^user-id",
    "x-user-roles",
    "X_USER_ROLES",
    "x.user.roles",
    "x_user-roles",
    "X-User_Roles",
    "x-user-scopes",
    "X_User_Scopes",
    "x.user_scopes",
    "x-user.scopes",
    "X-USER-SCOPES",
    "x#user$scopes",
];

#[tokio::test]
async fn no_spelling_of_an_owned_header_passes() {
    let layer = IdentityHeadersLayer::new();
    for spelling in SPELLINGS {
        for caller in [None, Some(Caller::Anonymous)] {
            let sent = [(*spelling, "root"), (*spelling, "admin"), ("accept", "a/b")];
            let seen = upstream(&layer, caller, &sent).await.unwrap();
            assert_eq!(seen.len(), 1, "{spelling}: {seen:?}");
        }
        let sent = [(*spelling, "root"), ("connection", *spelling)];
        let seen = upstream(&layer, Some(verified()), &sent).await.unwrap();
        let seen: Vec<_> = seen.values().collect();
        let expected = ["alice", "reader,admin", "orders:read,orders:write"];
        assert_eq!(seen, expected, "{spelling}");
    }
}

#[tokio::test]
async fn all_spellings_at_once_are_removed() {
    let sent: Vec<_> = SPELLINGS.iter().map(|name| (*name, "root")).collect();
    let layer = IdentityHeadersLayer::new().with_issuer();
    let seen = upstream(&layer, None, &sent).await.unwrap();
    assert!(seen.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn headers_are_set_from_the_identity() {
    let layer = IdentityHeadersLayer::new()
        .with_issuer()
        .header("x-client", IdentityField::Client)
        .and_then(|layer| layer.header("x-permissions", IdentityField::Permissions))
        .and_then(|layer| {
            layer.header(
                "x-tenant",
                IdentityField::Claim(ClaimPath::from(["org", "id"])),
            )
        })
        .unwrap();
    let caller = caller("alice", &["reader"], json!({ "org": { "id": 7 } }));
    let seen = upstream(&layer, Some(caller), &[]).await.unwrap();
    assert_eq!(seen["x-user-id"], "alice");
    assert_eq!(seen["x-user-roles"], "reader");
    assert_eq!(seen["x-user-scopes"], "orders:read,orders:write");
    assert_eq!(seen["x-user-issuer"], "https://id.example.com/");
    assert_eq!(seen["x-client"], "shop");
    assert_eq!(seen["x-permissions"], "print");
    assert_eq!(seen["x-tenant"], "7");
}

#[tokio::test]
async fn the_client_cannot_add_a_missing_value() {
    let layer = IdentityHeadersLayer::new()
        .header("x-tenant", IdentityField::Claim("tenant".into()))
        .unwrap();
    let sent = [("x-user-roles", "admin"), ("X_Tenant", "acme")];
    let me = caller("alice", &[], json!({}));
    let seen = upstream(&layer, Some(me), &sent).await.unwrap();
    assert!(!seen.contains_key("x-user-roles"));
    assert!(!seen.contains_key("x_tenant") && !seen.contains_key("x-tenant"));
}

#[tokio::test]
async fn connection_cannot_remove_our_headers() {
    let sent = [
        ("connection", "close, X-User-Id, x-debug"),
        ("x-debug", "1"),
        ("x-kept", "1"),
    ];
    let layer = IdentityHeadersLayer::new();
    let seen = upstream(&layer, Some(verified()), &sent).await.unwrap();
    assert_eq!(seen["x-user-id"], "alice");
    assert_eq!(seen["connection"], "close");
    assert!(seen.contains_key("x-kept") && !seen.contains_key("x-debug"));
}

#[tokio::test]
async fn a_nominated_owned_header_is_removed() {
    let layer = IdentityHeadersLayer::none().header("x-forwarded-user", IdentityField::Subject);
    let sent = [
        ("connection", "x-forwarded-user"),
        ("x-forwarded-user", "root"),
    ];
    let seen = upstream(&layer.unwrap(), None, &sent).await.unwrap();
    assert!(seen.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn an_ambiguous_role_is_rejected() {
    let layer = IdentityHeadersLayer::new();
    for role in ["reader,admin", " admin", "admin ", "", "a\r\nb", "ädmin"] {
        let caller = caller("alice", &["reader", role], json!({}));
        let seen = upstream(&layer, Some(caller), &[]).await;
        assert_eq!(seen.unwrap_err(), Reason::InvalidClaim, "{role:?}");
    }
    let eve = caller("eve\r\nx-user-roles: admin", &[], json!({}));
    let seen = upstream(&layer, Some(eve), &[]).await;
    assert_eq!(seen.unwrap_err(), Reason::InvalidClaim);
}

#[tokio::test]
async fn the_rejection_does_not_repeat_the_claim() {
    let inner = service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(http_body_util::Full::<Bytes>::default()))
    });
    let mut request = Request::new(());
    let caller = caller("alice", &["sec,ret"], json!({}));
    request.extensions_mut().insert(caller);
    assert!(IdentityHeadersLayer::new().realm("or\"ders").is_err());
    let layer = IdentityHeadersLayer::new().realm("orders").unwrap();
    let response = layer.layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 401);
    let challenge = response.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with(r#"Bearer realm="orders", error="invalid_token""#));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.into()).unwrap();
    assert!(body.contains("invalid_claim") && !body.contains("sec,ret"));
}

#[tokio::test]
async fn switched_off_it_still_removes_headers() {
    let layer = IdentityHeadersLayer::new().enabled(false);
    let mut sent: Vec<_> = SPELLINGS.iter().map(|name| (*name, "root")).collect();
    sent.push(("accept", "a/b"));
    for caller in [Some(verified()), Some(Caller::Anonymous), None] {
        let seen = upstream(&layer, caller, &sent).await.unwrap();
        assert!(seen.len() == 1 && seen.contains_key("accept"), "{seen:?}");
    }
    let unsafe_role = caller("alice", &["a,b"], json!({}));
    assert!(upstream(&layer, Some(unsafe_role), &[]).await.is_ok());
}

#[test]
fn readiness_is_the_inner_services() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<()>, Response<()>>();
    let mut service = IdentityHeadersLayer::new().layer(mock);
    let mut cx = Context::from_waker(Waker::noop());
    handle.allow(0);
    assert!(service.poll_ready(&mut cx).is_pending());
    handle.allow(1);
    assert!(service.poll_ready(&mut cx).is_ready());
}

#[track_caller]
fn check_name(layer: IdentityHeadersLayer, name: &str, accepted: bool) {
    let layer = layer.header(name, IdentityField::Subject);
    assert_eq!(layer.is_ok(), accepted, "{name:?}");
    if let Err(error) = layer {
        assert!(matches!(error, ConfigError::Header { .. }));
    }
}

#[test]
fn reserved_names_cannot_be_owned() {
    for name in [
        "authorization",
        "Authorization",
        "Proxy-Authorization",
        "Host",
        "connection",
        "content-length",
        "Content_Length",
        "transfer.encoding",
        "cookie",
        "content-type",
        "x-forwarded-for",
        "",
        "x user",
        "x:user",
        "x-usér",
        "x\r\ny",
    ] {
        check_name(IdentityHeadersLayer::none(), name, false);
    }
    check_name(IdentityHeadersLayer::none(), "X-Forwarded-User", true);
}

#[tokio::test]
async fn a_header_has_one_spelling() {
    check_name(IdentityHeadersLayer::new(), "x_user_id", false);
    check_name(IdentityHeadersLayer::new(), "x-user.roles", false);
    let layer = IdentityHeadersLayer::new().header("X-User-Id", IdentityField::Client);
    let seen = upstream(&layer.unwrap(), Some(verified()), &[])
        .await
        .unwrap();
    assert_eq!(seen["x-user-id"], "shop");
    let layer = IdentityHeadersLayer::none().header("X_User_Issuer", IdentityField::Client);
    let layer = layer.unwrap().with_issuer();
    let seen = upstream(&layer, Some(verified()), &[]).await.unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen["x-user-issuer"], "https://id.example.com/");
}
