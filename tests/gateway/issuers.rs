//! Key sources, token requirements and the token cache.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::harness::{AUDIENCE, Folder, Gateway, client, issuer, outcome};
use super::upstream::Upstream;

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

/// Signed here, because the test issuer does not export its keys.
fn sign(algorithm: Algorithm, key: &EncodingKey, claims: Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), &claims, key).unwrap()
}

#[tokio::test]
async fn every_key_source_works() {
    let (discovered, in_file) = (issuer().await, issuer().await);
    let upstream = Upstream::start("orders").await;
    let folder = Folder::new();
    folder.write("keys.json", in_file.jwks());
    let pair = rcgen::KeyPair::generate().unwrap();
    folder.write("issuer.pem", pair.public_key_pem());
    folder.write("secret", SECRET);
    let secret = base64::engine::general_purpose::STANDARD.encode(SECRET);
    let configuration = format!(
        r#"
        [[issuers]]
        issuer = "{}"
        audiences = ["{AUDIENCE}"]
        [[issuers]]
        issuer = "{}"
        jwks_file = "keys.json"
        audiences = ["{AUDIENCE}", "another"]
        [[issuers]]
        issuer = "https://pem.example/"
        public_key_file = "issuer.pem"
        audiences = ["{AUDIENCE}"]
        algorithms = ["ES256"]
        leeway = "0s"
        required_claims = ["tenant"]
        roles_claim = ["realm", "roles"]
        [[issuers]]
        issuer = "https://file.example/"
        secret_file = "secret"
        audiences = ["{AUDIENCE}"]
        algorithms = ["HS256"]
        max_token_bytes = 300
        [[issuers]]
        issuer = "https://base64.example/"
        secret_base64 = "{secret}"
        audiences = ["{AUDIENCE}"]
        algorithms = ["HS256"]
        subject_claim = "uid"
        [[routes]]
        path = "/"
        upstream = "{url}"
        [[routes]]
        path = "/admin"
        upstream = "{url}"
        require = {{ role = "admin" }}
        "#,
        discovered.issuer(),
        in_file.issuer(),
        url = upstream.url(),
    );
    let gateway = Gateway::start_in(folder, &configuration).await;
    let client = client();
    let ask = async |path: &str, token: &str| {
        outcome(client.get(gateway.url(path)).bearer_auth(token)).await
    };
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = |iss: &str, more: Value| {
        let mut claims = json!({ "iss": iss, "aud": AUDIENCE, "sub": "alice", "exp": now + 60 });
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        claims
    };
    let pem = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let pem = |more| sign(Algorithm::ES256, &pem, claims("https://pem.example/", more));
    let hmac = |iss: &str, more| {
        sign(
            Algorithm::HS256,
            &EncodingKey::from_secret(SECRET).unwrap(),
            claims(iss, more),
        )
    };
    let (file, base64) = ("https://file.example/", "https://base64.example/");
    let tenant = json!({ "tenant": "t", "realm": { "roles": ["admin"] } });
    for (path, token, expected) in [
        ("/", discovered.token("a").sign(), (200, "")),
        ("/", in_file.token("a").sign(), (200, "")),
        (
            "/",
            in_file.token("a").audience("another").sign(),
            (200, ""),
        ),
        (
            "/",
            discovered.token("a").audience("another").sign(),
            (401, "wrong_audience"),
        ),
        ("/", pem(json!({ "tenant": "t" })), (200, "")),
        ("/", pem(json!({})), (401, "invalid_claim")),
        (
            "/",
            pem(json!({ "tenant": "t", "exp": now - 1 })),
            (401, "expired"),
        ),
        (
            "/admin",
            pem(json!({ "tenant": "t", "roles": "admin" })),
            (403, "insufficient_scope"),
        ),
        ("/admin", pem(tenant), (200, "")),
        ("/", hmac(file, json!({})), (200, "")),
        (
            "/",
            hmac(file, json!({ "pad": "x".repeat(300) })),
            (401, "token_too_large"),
        ),
        ("/", hmac(base64, json!({ "uid": 7 })), (200, "")),
        ("/", hmac(base64, json!({})), (401, "invalid_claim")),
        (
            "/",
            hmac("https://pem.example/", json!({ "tenant": "t" })),
            (401, "algorithm_not_allowed"),
        ),
        (
            "/",
            hmac("https://stranger.example/", json!({})),
            (401, "wrong_issuer"),
        ),
    ] {
        assert_eq!(
            ask(path, &token).await,
            (expected.0, expected.1.to_owned()),
            "{path} {token}"
        );
    }
    assert!(UNIX_EPOCH.elapsed().unwrap() > Duration::ZERO);

    // A changed key file is reloaded without a signal.
    in_file.rotate();
    let new = in_file.token("a").sign();
    assert_eq!(ask("/", &new).await.1, "unknown_key");
    gateway.folder.write("keys.json", in_file.jwks());
    gateway
        .wait_for_line(|line| line.contains("\"reloaded\""))
        .await;
    assert_eq!(ask("/", &new).await.0, 200);
}

#[tokio::test]
async fn unexpected_token_type_is_refused() {
    let upstream = Upstream::start("orders").await;
    let secret = String::from_utf8(SECRET.to_vec()).unwrap();
    let section = |issuer: &str, lines: &str| {
        format!(
            "[[issuers]]\nissuer = \"{issuer}\"\nsecret = \"{secret}\"\naudiences = [\"{AUDIENCE}\"]\n{lines}\n"
        )
    };
    let configuration = [
        section("https://any.example/", ""),
        section("https://one.example/", "token_types = [\"at+jwt\"]"),
        section("https://none.example/", "token_types = [\"\"]"),
        format!(
            "[[routes]]\npath = \"/\"\nupstream = \"{}\"\n",
            upstream.url()
        ),
    ];
    let gateway = Gateway::start(&configuration.concat()).await;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for (issuer, accepted) in [
        ("https://any.example/", [true, true, true, false]),
        ("https://one.example/", [true, false, false, false]),
        ("https://none.example/", [false, false, true, false]),
    ] {
        let claims = json!({ "iss": issuer, "aud": AUDIENCE, "sub": "alice", "exp": now + 60 });
        let types = [Some("AT+JWT"), Some("JWT"), None, Some("logout+jwt")];
        for (typ, accepted) in types.into_iter().zip(accepted) {
            let mut header = Header::new(Algorithm::HS256);
            header.typ = typ.map(str::to_owned);
            let key = EncodingKey::from_secret(SECRET).unwrap();
            let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
            let request = client().get(gateway.url("/")).bearer_auth(token);
            let expected = match accepted {
                true => (200, String::new()),
                false => (401, "wrong_type".to_owned()),
            };
            assert_eq!(outcome(request).await, expected, "{issuer} {typ:?}");
        }
    }
}

#[tokio::test]
async fn token_cache_can_be_disabled() {
    let (issuer, upstream) = (issuer().await, Upstream::start("orders").await);
    for (setting, hits) in [("", 2), ("max_bytes = 0", 0)] {
        let configuration = format!(
            "{}[token_cache]\n{setting}\n[[routes]]\npath = \"/\"\nupstream = \"{}\"\n",
            super::harness::section(&issuer),
            upstream.url()
        );
        let gateway = Gateway::start(&configuration).await;
        let token = issuer.token("alice").sign();
        for _ in 0..3 {
            let request = client().get(gateway.url("/")).bearer_auth(&token);
            assert_eq!(outcome(request).await.0, 200);
        }
        let metrics = client().get(gateway.admin("/metrics")).send().await;
        let metrics = metrics.unwrap().text().await.unwrap();
        let line = format!("portcullis_token_cache_total{{result=\"hit\"}} {hits}");
        assert_eq!(metrics.contains(&line), hits > 0, "{metrics}");
        assert_eq!(metrics.contains("result=\"hit\""), hits > 0, "{metrics}");
    }
}

#[tokio::test]
async fn token_comes_from_one_configured_source() {
    let (issuer, upstream) = (issuer().await, Upstream::start("orders").await);
    let routes = format!(
        "[[routes]]\npath = \"/\"\nupstream = \"{}\"\n",
        upstream.url()
    );
    let issuers = super::harness::section(&issuer);
    let sources = "[token_sources]\ncookie = \"token\"\nwebsocket_protocol = true\n";
    let with = Gateway::start(&format!("realm = \"shop\"\n{issuers}{sources}{routes}")).await;
    let without = Gateway::start(&format!("{issuers}{routes}")).await;
    let token = issuer.token("alice").sign();
    let client = client();
    let cookie = ("cookie", format!("a=1; token={token}"));
    let protocol = ("sec-websocket-protocol", format!("bearer, {token}"));
    let bearer = ("authorization", format!("Bearer {token}"));
    for (headers, with_sources, without_sources) in [
        (vec![&bearer], 200, 200),
        (vec![&cookie], 200, 401),
        (vec![&protocol], 200, 401),
        (vec![&bearer, &cookie], 400, 200),
        (vec![&cookie, &protocol], 400, 401),
        (vec![], 401, 401),
    ] {
        for (gateway, expected) in [(&with, with_sources), (&without, without_sources)] {
            let request = headers
                .iter()
                .fold(client.get(gateway.url("/")), |request, (name, value)| {
                    request.header(*name, value)
                });
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), expected, "{headers:?}");
            if expected == 401 {
                let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
                let realm = if std::ptr::eq(gateway, &with) {
                    "shop"
                } else {
                    "api"
                };
                assert!(challenge.contains(realm), "{challenge}");
            }
        }
    }
}
