//! Tokens in the documented format of well-known issuers, each read by its profile.

use portcullis::TestIssuer;
use portcullis::test_util::TestToken;
use serde_json::{Value, json};

use super::harness::{Folder, Gateway, client, issuer, outcome};
use super::upstream::{Upstream, header, received};

/// An issuer, one of its tokens, and the expected identity headers.
struct Case {
    profile: &'static str,
    issuer: &'static str,
    audience: &'static str,
    claims: Value,
    /// The token has no `aud`.
    lacks_audience: bool,
    /// Subject, client, roles, scopes, permissions.
    received: [&'static str; 5],
}

const HEADERS: [&str; 5] = [
    "x-user-id",
    "x-client",
    "x-user-roles",
    "x-user-scopes",
    "x-user-permissions",
];

fn cases() -> Vec<Case> {
    let case = |profile, issuer, audience, received, claims| Case {
        profile,
        issuer,
        audience,
        claims,
        lacks_audience: profile == "cognito",
        received,
    };
    vec![
        case(
            "generic",
            "https://id.example.com/",
            "orders-api",
            [
                "alice",
                "web",
                "reader,clerk",
                "orders:read,orders:write",
                "orders:print",
            ],
            json!({
                "sub": "alice", "client_id": "web", "roles": ["reader", "clerk"], "scope": "orders:read orders:write",
                "permissions": "orders:print", "groups": ["ignored"],
            }),
        ),
        case(
            "keycloak",
            "https://sso.example.com/realms/shop",
            "orders-api",
            [
                "f1c2-77",
                "shop-web",
                "offline_access,clerk",
                "openid,email",
                "",
            ],
            json!({
                "sub": "f1c2-77", "typ": "Bearer", "azp": "shop-web", "sid": "9c1e", "acr": "1",
                "aud": ["orders-api", "account"], "scope": "openid email", "preferred_username": "alice",
                "realm_access": { "roles": ["offline_access", "clerk"] },
                "resource_access": { "orders-api": { "roles": ["refund"] }, "other": { "roles": ["admin"] } },
                "roles": ["ignored"], "permissions": ["ignored"],
            }),
        ),
        case(
            "auth0",
            "https://shop.eu.auth0.com/",
            "https://orders.example.com",
            [
                "auth0|65a1",
                "xyzClient",
                "",
                "openid,profile",
                "read:orders",
            ],
            json!({
                "sub": "auth0|65a1", "azp": "xyzClient", "scope": "openid profile", "permissions": ["read:orders"],
                "aud": ["https://orders.example.com", "https://shop.eu.auth0.com/userinfo"], "roles": ["ignored"],
            }),
        ),
        case(
            "entra",
            "https://login.microsoftonline.com/5f1c/v2.0",
            "api://orders",
            [
                "pairwise-1",
                "app-1",
                "Orders.Admin",
                "Orders.Read,Orders.Write",
                "",
            ],
            json!({
                "sub": "pairwise-1", "azp": "app-1", "azpacr": "1", "oid": "oid-1", "tid": "5f1c", "ver": "2.0",
                "scp": "Orders.Read Orders.Write", "roles": ["Orders.Admin"], "groups": ["ignored"],
            }),
        ),
        case(
            "okta",
            "https://shop.okta.com/oauth2/default",
            "api://default",
            [
                "alice@example.com",
                "0oa1",
                "Everyone,clerks",
                "openid,orders",
                "",
            ],
            json!({
                "sub": "alice@example.com", "cid": "0oa1", "uid": "00u1", "ver": 1, "scp": ["openid", "orders"],
                "groups": ["Everyone", "clerks"], "roles": ["ignored"],
            }),
        ),
        case(
            "cognito",
            "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_x",
            "57cb",
            ["aaaa", "57cb", "admin", "phone,openid", ""],
            json!({
                "sub": "aaaa", "client_id": "57cb", "token_use": "access", "version": 2, "origin_jti": "o",
                "cognito:groups": ["admin"], "scope": "phone openid", "username": "alice", "roles": ["ignored"],
            }),
        ),
        case(
            "google",
            "https://accounts.google.com",
            "1.apps.googleusercontent.com",
            ["1101", "1.apps.googleusercontent.com", "", "", ""],
            json!({
                "sub": "1101", "azp": "1.apps.googleusercontent.com", "email": "a@example.com", "email_verified": true,
                "hd": "example.com", "roles": ["ignored"], "scope": "ignored", "permissions": ["ignored"],
            }),
        ),
    ]
}

impl Case {
    fn token(&self, keys: &TestIssuer) -> TestToken {
        let token = keys
            .token("without-roles")
            .issued_by(self.issuer)
            .audience(self.audience);
        let token = match self.lacks_audience {
            true => token.without("aud"),
            false => token,
        };
        let claims = self.claims.as_object().unwrap().iter();
        claims.fold(token, |token, (name, value)| token.claim(name, value))
    }

    fn section(&self, lines: &str) -> String {
        format!(
            "[[issuers]]\nissuer = \"{}\"\njwks_file = \"keys.json\"\naudiences = [\"{}\"]\nprofile = \"{}\"\n{lines}\n",
            self.issuer, self.audience, self.profile
        )
    }
}

fn rest(upstream: &Upstream) -> String {
    let names = ["sub", "client", "roles", "scope", "permissions"];
    let headers = HEADERS.iter().zip(names);
    let headers = headers.map(|(header, name)| format!("{header} = \"{name}\"\n"));
    let headers: String = headers.collect();
    format!(
        "[identity_headers]\n{headers}[[routes]]\npath = \"/\"\nupstream = \"{}\"\n",
        upstream.url()
    )
}

async fn headers(gateway: &Gateway, token: &str) -> [String; 5] {
    let answer = client().get(gateway.url("/")).bearer_auth(token).send();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    let received = received(answer).await.unwrap();
    HEADERS.map(|name| header(&received, name).unwrap_or_default().to_owned())
}

#[tokio::test]
async fn profile_reads_tokens_of_its_issuer() {
    let (keys, upstream) = (issuer().await, Upstream::start("orders").await);
    let folder = Folder::new();
    folder.write("keys.json", keys.jwks());
    let cases = cases();
    let sections: String = cases.iter().map(|case| case.section("")).collect();
    let gateway = Gateway::start_in(folder, &(sections + &rest(&upstream))).await;
    for case in &cases {
        let token = case.token(&keys).sign();
        assert_eq!(
            headers(&gateway, &token).await,
            case.received,
            "{}",
            case.profile
        );
        let elsewhere = case.token(&keys).audience("elsewhere");
        let elsewhere = match case.lacks_audience {
            true => elsewhere.claim("client_id", "elsewhere"),
            false => elsewhere,
        };
        let request = client().get(gateway.url("/")).bearer_auth(elsewhere.sign());
        let refused = (401, "wrong_audience".to_owned());
        assert_eq!(outcome(request).await, refused, "{}", case.profile);
    }
    // Other tokens of these issuers, such as ID tokens, are rejected.
    for (profile, claim, value) in [
        ("keycloak", "typ", "ID"),
        ("keycloak", "typ", "Refresh"),
        ("cognito", "token_use", "id"),
    ] {
        let case = cases.iter().find(|case| case.profile == profile).unwrap();
        let other = case.token(&keys).claim(claim, value).sign();
        let request = client().get(gateway.url("/")).bearer_auth(other);
        let refused = (401, "invalid_claim".to_owned());
        assert_eq!(outcome(request).await, refused, "{profile} {value}");
    }
}

#[tokio::test]
async fn named_claim_overrides_profile() {
    let (keys, upstream) = (issuer().await, Upstream::start("orders").await);
    let folder = Folder::new();
    folder.write("keys.json", keys.jwks());
    let case = cases().remove(1);
    let lines = "subject_claim = \"preferred_username\"\npermissions_claim = [\"resource_access\", \"orders-api\", \"roles\"]";
    let configuration = case.section(lines) + &rest(&upstream);
    let gateway = Gateway::start_in(folder, &configuration).await;
    let token = case.token(&keys).sign();
    let [_, client, roles, scopes, _] = case.received;
    assert_eq!(
        headers(&gateway, &token).await,
        ["alice", client, roles, scopes, "refund"]
    );
    let lines = format!("{lines}\nroles_claim = \"roles\"");
    gateway.reconfigure(&(case.section(&lines) + &rest(&upstream)));
    gateway.signal("HUP");
    gateway
        .wait_for_line(|line| line.contains("\"reloaded\""))
        .await;
    assert_eq!(headers(&gateway, &token).await[2], "ignored");
}
