//! Every response that the gateway itself generates: status, body and headers, over HTTP and gRPC.

use portcullis::test_util::TestToken;
use portcullis::{Clock, Reason};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::setup::Setup;

/// A request and the expected response.
struct Row {
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: usize,
    /// HTTP status, `code` and gRPC status.
    answer: (u16, &'static str, &'static str),
    /// The challenge after the realm; `None` for no challenge.
    challenge: Option<&'static str>,
}

/// Reasons that no request can cause, or that another module tests: `stores` covers an unavailable
/// store.
const ELSEWHERE: [Reason; 2] = [Reason::NotConfigured, Reason::StoreUnavailable];

/// The gateway's own reasons, with their details.
const OWN: [(&str, &str); 6] = [
    ("bad_path", "the path is ambiguous"),
    ("no_route", "no route for this path"),
    ("body_too_large", "the body is too large"),
    (
        "upstream_unreachable",
        "the upstream service cannot be reached",
    ),
    (
        "upstream_timeout",
        "the upstream service did not answer in time",
    ),
    (
        "upgrade_not_supported",
        "protocol upgrades are not supported",
    ),
];

// === impl Row ===

impl Row {
    fn new(path: &'static str, answer: (u16, &'static str, &'static str)) -> Self {
        Self {
            path,
            headers: Vec::new(),
            body: 0,
            answer,
            challenge: None,
        }
    }

    fn bearing(mut self, token: TestToken) -> Self {
        let bearer = format!("Bearer {}", token.sign());
        self.headers.push(("authorization", bearer));
        self
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn challenged(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    async fn send(&self, setup: &Setup, method: Method, more: &[(&str, &str)]) -> Response {
        let mut request = setup.client.request(method, setup.gateway.url(self.path));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let body = vec![0; self.body];
        request.body(body).send().await.unwrap()
    }

    async fn check(&self, setup: &Setup) {
        let (status, code, grpc) = self.answer;
        let answer = self.send(setup, Method::GET, &[]).await;
        assert_eq!(answer.status(), status, "{code}");
        let headers = answer.headers().clone();
        let header = |name: &str| Some(headers.get(name)?.to_str().unwrap().to_owned());
        assert_eq!(
            header("content-type").unwrap(),
            "application/problem+json",
            "{code}"
        );
        assert_eq!(header("cache-control").unwrap(), "no-store", "{code}");
        let challenge = self
            .challenge
            .map(|challenge| format!("Bearer realm=\"orders\"{challenge}"));
        assert_eq!(header("www-authenticate"), challenge, "{code}");
        assert_eq!(
            header("retry-after").is_some(),
            matches!(status, 429 | 503),
            "{code}"
        );
        assert_eq!(header("allow").is_some(), status == 405, "{code}");
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(
            (&body["code"], &body["status"]),
            (&json!(code), &json!(status))
        );
        let details = Reason::ALL
            .iter()
            .map(|reason| (reason.code(), reason.detail()));
        let mut details = details.chain(OWN);
        let detail = details.find(|(own, _)| *own == code);
        assert_eq!(body["detail"], detail.unwrap().1);
        assert_eq!(
            body["required"].is_string(),
            code == "insufficient_scope" || code == "insufficient_user_authentication",
            "{body}"
        );
        if status == 429 {
            assert_eq!(body["violated_policies"], json!(["one"]));
            assert_eq!(body["retry_after"], 3600);
        }

        let grpc_type = [("content-type", "application/grpc+proto")];
        let answer = self.send(setup, Method::POST, &grpc_type).await;
        let headers = answer.headers();
        assert_eq!(answer.status(), 200, "{code}");
        assert_eq!(headers["content-type"], "application/grpc+proto", "{code}");
        assert_eq!(headers["grpc-status"], grpc, "{code}");
        assert!(headers.contains_key("grpc-message"), "{code}");
        assert!(answer.bytes().await.unwrap().is_empty(), "{code}");

        if self.body == 0 {
            let answer = self.send(setup, Method::HEAD, &[]).await;
            assert_eq!(answer.status(), status, "{code}");
            assert_ne!(answer.headers()["content-length"], "0", "{code}");
            assert!(answer.bytes().await.unwrap().is_empty(), "{code}");
        }
    }
}

async fn setup() -> Setup {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let configuration = r#"realm = "orders"
        max_body = 10
        ISSUER
        [[issuers]]
        issuer = "https://down.example/"
        jwks_uri = "AWAY"
        audiences = ["orders-api"]
        [identity_headers]
        x-user-roles = "roles"
        [revocation]
        kind = "memory"
        [[routes]]
        path = "/orders"
        upstream = "ORDERS"
        [[routes]]
        path = "/write"
        upstream = "ORDERS"
        require = { scope = "orders:write" }
        [[routes]]
        path = "/gold"
        upstream = "ORDERS"
        require = { acr = "gold" }
        [[routes]]
        path = "/limited"
        upstream = "ORDERS"
        public = true
        rate_limits = [{ name = "one", key = "address", requests = 1, per = "1h" }]
        [[routes]]
        path = "/patch"
        methods = ["PATCH"]
        upstream = "ORDERS"
        [[routes]]
        path = "/away"
        upstream = "AWAY"
        public = true
        [[routes]]
        path = "/slow"
        upstream = "ORDERS"
        timeout = "50ms"
        public = true
        "#;
    Setup::with(&configuration.replace("AWAY", &away)).await
}

#[tokio::test]
async fn own_responses_match_the_table() {
    let setup = setup().await;
    let issuer = &setup.issuer;
    let alice = || issuer.token("alice");
    let later = std::time::Duration::from_secs(540);
    let revocation = json!({
        "kind": "sub", "issuer": issuer.issuer(), "value": "mallory",
        "not_before": Clock::System.unix_time().as_secs() + 1,
    });
    let request = setup.client.post(setup.gateway.admin("/revocations"));
    let request = request.header("content-type", "application/json");
    let revoked = request.body(revocation.to_string()).send().await.unwrap();
    assert_eq!(revoked.status(), 200);
    let once = setup.client.get(setup.gateway.url("/limited"));
    assert_eq!(once.send().await.unwrap().status(), 200);

    let invalid = |code, token: TestToken, challenge| {
        let row = Row::new("/orders", (401, code, "16"));
        row.bearing(token).challenged(challenge)
    };
    let rows = [
        Row::new("/orders", (401, "missing_token", "16")).challenged(""),
        Row::new("/orders", (401, "missing_token", "16"))
            .with("authorization", "Basic YTpi")
            .challenged(""),
        Row::new("/orders", (400, "invalid_request", "3"))
            .bearing(alice())
            .bearing(alice())
            .challenged(r#", error="invalid_request", error_description="the credentials are malformed or given more than once""#),
        Row::new("/orders", (401, "token_too_large", "16"))
            .with("authorization", format!("Bearer {}", "a".repeat(8193)))
            .challenged(r#", error="invalid_token", error_description="the token is too large""#),
        Row::new("/orders", (401, "malformed_token", "16"))
            .with("authorization", "Bearer a.b.c")
            .challenged(r#", error="invalid_token", error_description="the token is malformed""#),
        invalid("algorithm_not_allowed", alice().alg_none(), r#", error="invalid_token", error_description="the token's algorithm is not allowed""#),
        invalid("unknown_key", alice().kid("nobodys"), r#", error="invalid_token", error_description="the token's key is not known""#),
        invalid("bad_signature", alice().tampered(), r#", error="invalid_token", error_description="the token's signature is wrong""#),
        invalid("expired", alice().expired(), r#", error="invalid_token", error_description="the token has expired""#),
        invalid("not_yet_valid", alice().not_before_in(later), r#", error="invalid_token", error_description="the token is not valid yet""#),
        invalid("wrong_issuer", alice().issued_by("https://other.example/"), r#", error="invalid_token", error_description="the token's issuer is not accepted""#),
        invalid("wrong_audience", alice().audience("others"), r#", error="invalid_token", error_description="the token is meant for another audience""#),
        invalid("wrong_type", alice().typ("dpop+jwt"), r#", error="invalid_token", error_description="the token is of the wrong type""#),
        invalid("invalid_claim", alice().without("exp"), r#", error="invalid_token", error_description="a claim of the token is missing or invalid""#),
        // The value could not be sent in a header safely.
        invalid("invalid_claim", alice().role("a,admin"), r#", error="invalid_token", error_description="a claim of the token is missing or invalid""#),
        invalid("revoked", issuer.token("mallory"), r#", error="invalid_token", error_description="the token was revoked""#),
        Row::new("/write", (403, "insufficient_scope", "7"))
            .bearing(alice())
            .challenged(r#", error="insufficient_scope", error_description="the caller does not satisfy the rule for this request", scope="orders:write""#),
        Row::new("/gold", (401, "insufficient_user_authentication", "16"))
            .bearing(alice())
            .challenged(r#", error="insufficient_user_authentication", error_description="another or a more recent login is required", acr_values="gold""#),
        Row::new("/limited", (429, "rate_limited", "8")),
        Row::new("/orders", (503, "keys_unavailable", "14"))
            .bearing(alice().issued_by("https://down.example/")),
        Row::new("/orders%2fx", (400, "bad_path", "3")).bearing(alice()),
        Row::new("/nowhere", (404, "no_route", "12")).bearing(alice()),
        Row::new("/patch", (405, "method_not_allowed", "12")).bearing(alice()),
        Row { body: 11, ..Row::new("/orders", (413, "body_too_large", "8")) }.bearing(alice()),
        Row::new("/away", (502, "upstream_unreachable", "14")),
        Row::new("/slow", (504, "upstream_timeout", "4")).with("x-do", "sleep 3000"),
        Row::new("/orders", (501, "upgrade_not_supported", "12"))
            .bearing(alice())
            .with("connection", "upgrade")
            .with("upgrade", "websocket"),
    ];
    for row in &rows {
        row.check(&setup).await;
    }
    let library = Reason::ALL
        .iter()
        .filter(|reason| !ELSEWHERE.contains(reason));
    let codes = library.map(|reason| reason.code());
    let codes = codes.chain(OWN.map(|(code, _)| code));
    let missing: Vec<_> = codes
        .filter(|code| !rows.iter().any(|row| row.answer.1 == *code))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    // A rejected request does not reach the upstream.
    assert_eq!(
        setup.orders.hits(),
        1 + 3,
        "the first of /limited, and those of /slow"
    );
}
