use serde_json::{Value, json};

use super::super::claims::Claims;
use super::*;
use crate::rejection::Reason;

/// Compares what is read from a token: subject, client, audiences, roles, scopes, permissions.
#[track_caller]
fn check(profile: Profile, claims: &Value, expected: [&str; 6]) {
    let payload = claims.to_string();
    let read = Claims::read(&payload, &profile.mapping()).unwrap();
    let joined = |names: &crate::names::Names| names.iter().collect::<Vec<_>>().join(" ");
    let audiences = read.audience.as_ref().map(|aud| {
        aud.iter()
            .map(|name| &*name.0)
            .collect::<Vec<_>>()
            .join(" ")
    });
    assert_eq!(
        [
            read.subject.as_deref().unwrap_or_default(),
            read.client().unwrap_or_default(),
            &audiences.unwrap_or_default(),
            &joined(&read.roles),
            &joined(&read.scopes),
            &joined(&read.permissions),
        ],
        expected
    );
}

#[track_caller]
fn refused(profile: Profile, claims: &Value) {
    let payload = claims.to_string();
    let refusal = Claims::read(&payload, &profile.mapping()).err();
    let reason = refusal.map(|error| error.reason);
    assert_eq!(reason, Some(Reason::InvalidClaim), "{claims}");
}

fn keycloak() -> Value {
    json!({
        "exp": 1_795_000_000, "iat": 1_794_999_700, "jti": "5b1f", "iss": "https://id.example.com/realms/shop",
        "aud": ["orders-api", "account"], "sub": "f1c2", "typ": "Bearer", "azp": "shop-web", "sid": "9c1e", "acr": "1",
        "realm_access": {"roles": ["offline_access", "clerk"]},
        "resource_access": {"orders-api": {"roles": ["refund"]}, "another": {"roles": ["admin"]}},
        "scope": "openid email", "preferred_username": "alice"
    })
}

#[test]
fn keycloak_separates_realm_and_client_roles() {
    let expected = [
        "f1c2",
        "shop-web",
        "orders-api account",
        "offline_access clerk",
        "openid email",
        "",
    ];
    check(Profile::Keycloak, &keycloak(), expected);
    let mut mapping = Profile::Keycloak.mapping();
    mapping.permissions = Some(["resource_access", "orders-api", "roles"].into());
    let payload = keycloak().to_string();
    let read = Claims::read(&payload, &mapping).unwrap();
    assert_eq!(read.permissions.iter().collect::<Vec<_>>(), ["refund"]);
    assert!(!read.roles.contains("refund") && !read.roles.contains("admin"));
}

#[test]
fn keycloak_rejects_id_and_refresh_tokens() {
    for other in ["ID", "Refresh", "Offline", "Logout", "bearer"] {
        let mut claims = keycloak();
        claims["typ"] = json!(other);
        refused(Profile::Keycloak, &claims);
    }
    let mut claims = keycloak();
    claims.as_object_mut().unwrap().remove("typ");
    refused(Profile::Keycloak, &claims);
}

#[test]
fn auth0_has_permissions() {
    let claims = json!({
        "iss": "https://shop.eu.auth0.com/", "sub": "auth0|65a1", "aud": ["https://orders.example.com", "https://shop.eu.auth0.com/userinfo"],
        "iat": 1, "exp": 2, "azp": "xyzClient", "scope": "openid profile", "permissions": ["read:orders"], "roles": ["ignored"]
    });
    let audiences = "https://orders.example.com https://shop.eu.auth0.com/userinfo";
    check(
        Profile::Auth0,
        &claims,
        [
            "auth0|65a1",
            "xyzClient",
            audiences,
            "",
            "openid profile",
            "read:orders",
        ],
    );
}

#[test]
fn entra_has_app_roles_and_delegated_scopes() {
    let claims = json!({
        "aud": "api://orders", "iss": "https://login.microsoftonline.com/tid/v2.0", "iat": 1, "nbf": 1, "exp": 2,
        "azp": "app-1", "azpacr": "1", "oid": "oid-1", "sub": "pairwise-1", "tid": "tid", "scp": "Orders.Read Orders.Write",
        "roles": ["Orders.Admin"], "ver": "2.0"
    });
    check(
        Profile::Entra,
        &claims,
        [
            "pairwise-1",
            "app-1",
            "api://orders",
            "Orders.Admin",
            "Orders.Read Orders.Write",
            "",
        ],
    );
    let first_version = json!({"sub": "s", "aud": "api://orders", "appid": "app-2", "ver": "1.0"});
    check(
        Profile::Entra,
        &first_version,
        ["s", "app-2", "api://orders", "", "", ""],
    );
}

#[test]
fn okta_has_groups_and_a_list_of_scopes() {
    let claims = json!({
        "ver": 1, "jti": "AT.x", "iss": "https://shop.okta.com/oauth2/default", "aud": "api://default", "iat": 1, "exp": 2,
        "cid": "0oa1", "uid": "00u1", "scp": ["openid", "orders"], "sub": "alice@example.com", "groups": ["Everyone", "clerks"]
    });
    check(
        Profile::Okta,
        &claims,
        [
            "alice@example.com",
            "0oa1",
            "api://default",
            "Everyone clerks",
            "openid orders",
            "",
        ],
    );
}

#[test]
fn cognito_uses_the_client_as_audience() {
    let claims = json!({
        "sub": "aaaa", "device_key": "d", "cognito:groups": ["admin"], "iss": "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_x",
        "version": 2, "client_id": "57cb", "origin_jti": "o", "event_id": "e", "token_use": "access", "scope": "phone openid",
        "auth_time": 1, "exp": 2, "iat": 1, "jti": "j", "username": "alice"
    });
    check(
        Profile::Cognito,
        &claims,
        ["aaaa", "57cb", "57cb", "admin", "phone openid", ""],
    );
    let mut id_token = claims;
    id_token["token_use"] = json!("id");
    refused(Profile::Cognito, &id_token);
}

#[test]
fn google_has_subject_client_and_audience() {
    let claims = json!({
        "iss": "https://accounts.google.com", "azp": "1.apps", "aud": "1.apps", "sub": "1101", "email": "a@example.com",
        "email_verified": true, "iat": 1, "exp": 2, "roles": ["ignored"], "scope": "ignored"
    });
    check(
        Profile::Google,
        &claims,
        ["1101", "1.apps", "1.apps", "", "", ""],
    );
}

#[test]
fn rfc_9068_requires_all_of_its_claims() {
    let claims = json!({
        "iss": "https://id.example.com/", "sub": "5ba5", "aud": "https://rs.example.com/", "exp": 2, "iat": 1, "jti": "d",
        "client_id": "s6Bh", "scope": "openid", "roles": ["r"]
    });
    check(
        Profile::Rfc9068,
        &claims,
        ["5ba5", "s6Bh", "https://rs.example.com/", "r", "openid", ""],
    );
    for name in ["client_id", "iat", "jti"] {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        refused(Profile::Rfc9068, &claims);
    }
    assert_eq!(Profile::Rfc9068.types(), ["at+jwt"]);
}

#[test]
fn claim_with_fixed_text_is_a_string() {
    for value in [json!(["Bearer"]), json!(null), json!({"Bearer": 1})] {
        let mut claims = keycloak();
        claims["typ"] = value;
        refused(Profile::Keycloak, &claims);
    }
}
