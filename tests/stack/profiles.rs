//! Well-known products in one layer, with metadata, keys and tokens as their documentation
//! describes them.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use axum::Router;
use http::Uri;
use portcullis::{Clock, Identity, ManualClock, Profile, Reason};
use serde_json::json;
use tokio::net::TcpListener;

use super::forge::RsaForge;
use super::*;

const NOW: u64 = 1_800_000_000;
const KID: &str = "key-1";

/// A product, as its documentation describes it.
struct Provider {
    profile: Profile,
    /// A path below the origin, as the next field.
    issuer: &'static str,
    jwks_uri: &'static str,
    audience: &'static str,
    /// Members of its JWKs in addition to the key and its ID.
    key: Value,
    header: Value,
    /// All claims except `iss`, `iat` and `exp`.
    claims: Value,
    /// Subject, client, roles, scopes, permissions.
    expected: [&'static str; 5],
}

/// All products, at one origin.
struct Site {
    origin: String,
    signer: RsaForge,
}

fn providers() -> Vec<Provider> {
    vec![
        Provider {
            profile: Profile::Keycloak,
            issuer: "/realms/shop",
            jwks_uri: "/realms/shop/protocol/openid-connect/certs",
            audience: "orders-api",
            key: json!({"alg": "RS256", "use": "sig", "x5c": ["MIIC"], "x5t": "q", "x5t#S256": "Q"}),
            header: json!({"alg": "RS256", "typ": "JWT", "kid": KID}),
            claims: json!({
                "jti": "onrtac:5b1f", "aud": ["orders-api", "account"], "sub": "f1c2", "typ": "Bearer", "azp": "shop-web",
                "sid": "9c1e", "acr": "1", "allowed-origins": ["https://shop.example.com"],
                "realm_access": {"roles": ["default-roles-shop", "offline_access", "clerk"]},
                "resource_access": {"orders-api": {"roles": ["refund"]}, "account": {"roles": ["manage-account", "admin"]}},
                "scope": "openid email profile", "email_verified": true, "preferred_username": "alice",
            }),
            expected: [
                "f1c2",
                "shop-web",
                "default-roles-shop offline_access clerk",
                "openid email profile",
                "",
            ],
        },
        Provider {
            profile: Profile::Auth0,
            issuer: "/auth0/",
            jwks_uri: "/auth0/.well-known/jwks.json",
            audience: "https://orders.example.com",
            key: json!({"alg": "RS256", "use": "sig", "x5t": "q", "x5c": ["MIID"]}),
            header: json!({"alg": "RS256", "typ": "at+jwt", "kid": KID}),
            claims: json!({
                "sub": "auth0|65a1", "aud": ["https://orders.example.com", "https://shop.eu.auth0.com/userinfo"],
                "azp": "xyzClient", "scope": "openid profile read:orders", "permissions": ["read:orders"],
                "jti": "j", "client_id": "xyzClient",
            }),
            expected: [
                "auth0|65a1",
                "xyzClient",
                "",
                "openid profile read:orders",
                "read:orders",
            ],
        },
        Provider {
            profile: Profile::Entra,
            issuer: "/5f1c8a/v2.0",
            jwks_uri: "/5f1c8a/discovery/v2.0/keys",
            audience: "6e74172b-be56-4843-9ff4-e66a39bb12e3",
            key: json!({
                "use": "sig", "x5t": "q", "x5c": ["MIIC"], "cloud_instance_name": "microsoftonline.com",
                "issuer": "$origin/5f1c8a/v2.0",
            }),
            header: json!({"typ": "JWT", "alg": "RS256", "kid": KID}),
            claims: entra(),
            expected: [
                "pairwise-1",
                "app-1",
                "Orders.Admin",
                "Orders.Read Orders.Write",
                "",
            ],
        },
        Provider {
            profile: Profile::Okta,
            issuer: "/oauth2/default",
            jwks_uri: "/oauth2/default/v1/keys",
            audience: "api://default",
            key: json!({"alg": "RS256", "use": "sig"}),
            header: json!({"kid": KID, "alg": "RS256"}),
            claims: json!({
                "ver": 1, "jti": "AT.0mP4", "aud": "api://default", "sub": "alice@example.com", "cid": "0oa1",
                "uid": "00u1", "scp": ["openid", "orders"], "auth_time": 1, "groups": ["Everyone", "clerks"],
            }),
            expected: [
                "alice@example.com",
                "0oa1",
                "Everyone clerks",
                "openid orders",
                "",
            ],
        },
        Provider {
            profile: Profile::Cognito,
            issuer: "/eu-west-1_x",
            jwks_uri: "/eu-west-1_x/.well-known/jwks.json",
            audience: "57cbishk4j24pabc1234567890",
            key: json!({"alg": "RS256", "use": "sig"}),
            header: json!({"kid": KID, "alg": "RS256"}),
            claims: json!({
                "sub": "aaaa", "device_key": "d", "cognito:groups": ["admin"], "version": 2,
                "client_id": "57cbishk4j24pabc1234567890", "origin_jti": "o", "event_id": "e", "token_use": "access",
                "scope": "phone openid", "auth_time": 1, "jti": "j", "username": "alice",
            }),
            expected: [
                "aaaa",
                "57cbishk4j24pabc1234567890",
                "admin",
                "phone openid",
                "",
            ],
        },
        Provider {
            profile: Profile::Google,
            issuer: "/accounts",
            jwks_uri: "/oauth2/v3/certs",
            audience: "1.apps.googleusercontent.com",
            key: json!({"alg": "RS256", "use": "sig"}),
            header: json!({"alg": "RS256", "kid": KID, "typ": "JWT"}),
            claims: json!({
                "azp": "1.apps.googleusercontent.com", "aud": "1.apps.googleusercontent.com", "sub": "1101",
                "hd": "example.com", "email": "a@example.com", "email_verified": true, "at_hash": "h", "name": "A",
            }),
            expected: ["1101", "1.apps.googleusercontent.com", "", "", ""],
        },
        Provider {
            profile: Profile::Rfc9068,
            issuer: "/as",
            jwks_uri: "/as/jwks",
            audience: "https://rs.example.com/",
            key: json!({}),
            header: json!({"typ": "at+jwt", "alg": "RS256", "kid": KID}),
            claims: json!({
                "sub": "5ba552d67", "aud": "https://rs.example.com/", "jti": "dbe39bf3a3ba4238a513f51d6e1691c4",
                "client_id": "s6BhdRkqt3", "scope": "openid profile reademail", "roles": ["clerk"],
            }),
            expected: [
                "5ba552d67",
                "s6BhdRkqt3",
                "clerk",
                "openid profile reademail",
                "",
            ],
        },
    ]
}

fn entra() -> Value {
    json!({
        "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3", "nbf": NOW, "aio": "a", "azp": "app-1", "azpacr": "1", "oid": "oid-1",
        "rh": "r", "roles": ["Orders.Admin"], "scp": "Orders.Read Orders.Write", "sub": "pairwise-1", "tid": "5f1c8a",
        "uti": "u", "ver": "2.0",
    })
}

fn joined(mut object: Value, more: Value) -> Value {
    let members = more.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(members);
    object
}

// === impl Site ===

impl Site {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let signer = RsaForge::new();
        let other = joined(
            RsaForge::new().jwk("enc"),
            json!({"use": "enc", "alg": "RSA-OAEP"}),
        );
        let mut pages = HashMap::new();
        for provider in providers() {
            let issuer = format!("{origin}{}", provider.issuer);
            let metadata = json!({
                "issuer": issuer, "jwks_uri": format!("{origin}{}", provider.jwks_uri),
                "authorization_endpoint": format!("{issuer}/authorize"), "response_types_supported": ["code"],
                "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
            });
            let place = provider.issuer.trim_end_matches('/');
            pages.insert(
                format!("{place}/.well-known/openid-configuration"),
                metadata.to_string(),
            );
            let key = joined(signer.jwk(KID), provider.key);
            // Keycloak publishes one.
            let keys = json!({"keys": [other, key]}).to_string();
            pages.insert(
                provider.jwks_uri.to_owned(),
                keys.replace("$origin", &origin),
            );
        }
        // The common keys of all tenants, and one key of a single tenant.
        let named = |key: &RsaForge, kid: &str, tenant: &str| {
            let issuer = format!("{origin}/{tenant}/v2.0");
            joined(key.jwk(kid), json!({"use": "sig", "issuer": issuer}))
        };
        let keys = [
            named(&signer, KID, "{tenantid}"),
            named(&signer, "consumers", "9188040d"),
        ];
        pages.insert(
            "/common/discovery/v2.0/keys".to_owned(),
            json!({ "keys": keys }).to_string(),
        );
        let pages = Arc::new(pages);
        let page = move |uri: Uri| {
            let page = pages.get(uri.path()).cloned();
            async move { page.ok_or(StatusCode::NOT_FOUND) }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(page)).await });
        Self { origin, signer }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    fn token(&self, iss: &str, header: &Value, claims: Value) -> String {
        let claims = joined(claims, json!({"iss": iss, "iat": NOW, "exp": NOW + 300}));
        self.signer
            .sign(&RSA_PKCS1_SHA256, &header.to_string(), &claims.to_string())
    }
}

fn clock() -> Clock {
    ManualClock::at(NOW).into()
}

fn summary(identity: &Identity) -> [String; 5] {
    let joined = |names: Vec<&str>| names.join(" ");
    [
        identity.subject().to_owned(),
        identity.client().unwrap_or_default().to_owned(),
        joined(identity.roles().iter().collect()),
        joined(identity.scopes().iter().collect()),
        joined(identity.permissions().iter().collect()),
    ]
}

#[tokio::test]
async fn each_issuer_is_read_by_its_own_profile() {
    let (site, providers) = (Site::open().await, providers());
    let sources = providers
        .iter()
        .map(|provider| JwksSource::discover(site.at(provider.issuer)).unwrap());
    let keys = JwksCache::new(sources).unwrap();
    keys.warm().await.unwrap();
    let policies = providers.iter().map(|provider| {
        let issuer = Issuer::new(site.at(provider.issuer));
        issuer.profile(provider.profile).audience(provider.audience)
    });
    let layer = JwtAuthLayer::new(policies).unwrap().clock(clock());
    let layer = layer.with_keys(keys).unwrap();
    for provider in &providers {
        let iss = site.at(provider.issuer);
        let verify = |header: &Value, claims: Value| {
            let verified = layer.verify_now(&site.token(&iss, header, claims));
            verified.map_err(|rejection| rejection.reason())
        };
        let own = verify(&provider.header, provider.claims.clone()).unwrap();
        assert_eq!(summary(&own), provider.expected, "{:?}", provider.profile);
        assert_eq!(own.issuer(), iss);
        // Tokens other than access tokens.
        for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt"] {
            let header = joined(provider.header.clone(), json!({ "typ": typ }));
            let refused = verify(&header, provider.claims.clone()).unwrap_err();
            assert_eq!(refused, Reason::WrongType, "{:?} {typ}", provider.profile);
        }
        let audience = match provider.profile {
            Profile::Cognito => "client_id",
            _ => "aud",
        };
        let elsewhere = joined(
            provider.claims.clone(),
            json!({ audience: "somebody-else" }),
        );
        let refused = verify(&provider.header, elsewhere).unwrap_err();
        assert_eq!(refused, Reason::WrongAudience, "{:?}", provider.profile);
    }
}

#[tokio::test]
async fn entra_tenants_share_one_key_set() {
    let site = Site::open().await;
    let pattern = site.at("/{tenant}/v2.0");
    let keys = JwksSource::uri(&pattern, site.at("/common/discovery/v2.0/keys")).unwrap();
    let keys = JwksCache::new([keys]).unwrap();
    keys.warm().await.unwrap();
    let tenants = Issuer::tenants(&pattern).unwrap().profile(Profile::Entra);
    let tenants = tenants
        .allow_tenants(|tenant| ["5f1c8a", "77e0", "9188040d"].contains(&tenant))
        .audience("6e74172b-be56-4843-9ff4-e66a39bb12e3");
    let layer = JwtAuthLayer::new([tenants.with_keys(keys)]).unwrap();
    let layer = layer.clock(clock());
    let verify = |tenant: &str, kid: &str| {
        let iss = pattern.replace("{tenant}", tenant);
        let token = site.token(&iss, &json!({"alg": "RS256", "kid": kid}), entra());
        let verified = layer.verify_now(&token);
        verified.map_err(|rejection| rejection.reason())
    };
    for (tenant, kid, expected) in [
        ("5f1c8a", KID, None),
        ("77e0", KID, None),
        ("9188040d", "consumers", None),
        // The key for consumer accounts verifies no token of a company.
        ("5f1c8a", "consumers", Some(Reason::UnknownKey)),
        ("initech", KID, Some(Reason::WrongIssuer)),
        ("common", KID, Some(Reason::WrongIssuer)),
    ] {
        let verified = verify(tenant, kid);
        let told_issuer = verified.as_ref().map(|identity| identity.issuer());
        let own = pattern.replace("{tenant}", tenant);
        match expected {
            None => assert_eq!(told_issuer, Ok(&*own)),
            Some(reason) => assert_eq!(told_issuer, Err(&reason), "{tenant} {kid}"),
        }
    }
    let roles = summary(&verify("77e0", KID).unwrap());
    assert_eq!(roles[2..4], ["Orders.Admin", "Orders.Read Orders.Write"]);
}
