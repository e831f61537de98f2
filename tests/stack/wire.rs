//! Every rejection as a client sees it: status, challenge, body, and the gRPC response.

use std::time::Duration;

use http::{HeaderValue, Method};
use portcullis::{
    Caller, CustomReason, GrpcMediaType, IdentityHeadersLayer, JwksCacheLayer, JwtAuthLayer,
    OnRejectionLayer, Protocol, Quota, RateLimitLayer, Reason, Rejection, RequireLayer,
    RequireRoleLayer, Rule, Stage,
};
use serde_json::json;

use super::*;

/// Checks one row of the contract: a request, and its responses over HTTP and over gRPC.
#[track_caller]
fn check(reason: &str, answer: &Answer, status: u16, challenge: Option<&str>) {
    assert_eq!(answer.status, status, "{reason}: {:?}", answer.body);
    let sent = answer
        .headers
        .get("www-authenticate")
        .map(|v| v.to_str().unwrap());
    assert_eq!(sent, challenge, "{reason}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!(body["code"], reason);
    assert_eq!(body["status"], status);
    assert!(
        body["detail"].is_string() && body["title"].is_string(),
        "{body}"
    );
}

#[track_caller]
fn check_grpc(reason: &str, answer: &Answer, code: &str, message: &str) {
    assert_eq!(answer.status, 200, "{reason}");
    assert_eq!(answer.header("content-type"), "application/grpc+proto");
    assert_eq!(answer.header("grpc-status"), code, "{reason}");
    assert_eq!(answer.header("grpc-message"), message);
    assert!(answer.body.is_empty() && !answer.headers.contains_key("content-length"));
    assert!(!answer.headers.contains_key("www-authenticate"));
}

const INVALID_TOKEN: [(&str, &str); 12] = [
    ("token_too_large", "the token is too large"),
    ("malformed_token", "the token is malformed"),
    (
        "algorithm_not_allowed",
        "the token's algorithm is not allowed",
    ),
    ("unknown_key", "the token's key is not known"),
    ("bad_signature", "the token's signature is wrong"),
    ("expired", "the token has expired"),
    ("not_yet_valid", "the token is not valid yet"),
    ("wrong_issuer", "the token's issuer is not accepted"),
    ("wrong_audience", "the token is meant for another audience"),
    ("wrong_type", "the token is of the wrong type"),
    (
        "invalid_claim",
        "a claim of the token is missing or invalid",
    ),
    ("revoked", "the token was revoked"),
];

#[tokio::test]
async fn bad_token_is_401_without_its_text() {
    let (issuer, auth) = warm_auth().await;
    let stack = stack(auth);
    let token = || issuer.token("mallory-the-subject");
    let day = Duration::from_secs(86_400);
    let hs256 = token().header("alg", "HS256").sign();
    for (reason, token) in [
        ("token_too_large", "x".repeat(8193)),
        ("malformed_token", "mallory".to_owned()),
        ("malformed_token", token().header("crit", ["exp"]).sign()),
        (
            "malformed_token",
            token().header("jku", "https://evil.example").sign(),
        ),
        ("algorithm_not_allowed", token().alg_none().sign()),
        ("algorithm_not_allowed", hs256),
        ("unknown_key", token().kid("mallory-kid").sign()),
        ("bad_signature", token().tampered().sign()),
        ("bad_signature", token().signed_by_stranger().sign()),
        ("expired", token().expired().sign()),
        ("not_yet_valid", token().not_before_in(day).sign()),
        (
            "not_yet_valid",
            token().claim("iat", 4_000_000_000_u64).sign(),
        ),
        (
            "wrong_issuer",
            token().issued_by("https://evil.example").sign(),
        ),
        ("wrong_audience", token().audience("another").sign()),
        ("wrong_type", token().typ("dpop+jwt").sign()),
        ("wrong_type", token().typ("logout+jwt").sign()),
        ("invalid_claim", token().without("sub").sign()),
        ("invalid_claim", token().without("aud").sign()),
        ("invalid_claim", token().without("iss").sign()),
        ("invalid_claim", token().without("exp").sign()),
        ("invalid_claim", token().claim("sub", "").sign()),
        (
            "invalid_claim",
            token().claim("iss", [issuer.issuer()]).sign(),
        ),
        (
            "invalid_claim",
            token().claim("aud", json!({ "a": AUDIENCE })).sign(),
        ),
        ("invalid_claim", token().claim("nbf", "1").sign()),
        ("invalid_claim", token().claim("roles", json!([7])).sign()),
    ] {
        let (_, text) = INVALID_TOKEN
            .iter()
            .find(|(code, _)| *code == reason)
            .unwrap();
        let challenge =
            format!(r#"Bearer realm="api", error="invalid_token", error_description="{text}""#);
        let answer = send(&stack, request(Some(&token))).await;
        check(reason, &answer, 401, Some(&challenge));
        let all = format!("{:?} {:?}", answer.headers, answer.body);
        for secret in ["mallory", "evil", token.as_str()] {
            assert!(!all.contains(secret), "{reason} echoes {secret}");
        }
        let answer = send(&stack, grpc(Some(&token))).await;
        check_grpc(reason, &answer, "16", text);
    }
}

#[tokio::test]
async fn missing_token_is_challenged_without_error() {
    let (_issuer, auth) = warm_auth().await;
    let stack = stack(auth.realm("orders").unwrap());
    let challenge = Some(r#"Bearer realm="orders""#);
    check(
        "missing_token",
        &send(&stack, request(None)).await,
        401,
        challenge,
    );

    let mut basic = request(None);
    basic
        .headers_mut()
        .insert("authorization", "Basic YTpi".parse().unwrap());
    check("missing_token", &send(&stack, basic).await, 401, challenge);

    let answer = send(&stack, grpc(None)).await;
    check_grpc("missing_token", &answer, "16", "credentials are required");
}

#[tokio::test]
async fn two_tokens_are_a_malformed_request() {
    let (issuer, auth) = warm_auth().await;
    let stack = stack(auth);
    let token = issuer.token("alice").sign();
    let text = "the credentials are malformed or given more than once";
    let challenge =
        format!(r#"Bearer realm="api", error="invalid_request", error_description="{text}""#);
    let twice = |mut request: Request<Body>| {
        let value = request.headers()["authorization"].clone();
        request.headers_mut().append("authorization", value);
        request
    };
    let answer = send(&stack, twice(request(Some(&token)))).await;
    check("invalid_request", &answer, 400, Some(&challenge));
    let answer = send(&stack, twice(grpc(Some(&token)))).await;
    check_grpc("invalid_request", &answer, "3", text);
}

#[tokio::test]
async fn good_token_passes_and_is_removed() {
    let (issuer, auth) = warm_auth().await;
    let service = auth.layer(service_fn(|request: Request<Body>| async move {
        assert!(!request.headers().contains_key("authorization"));
        let caller = request.extensions().get::<Caller>().unwrap();
        let subject = caller.identity().unwrap().subject().to_owned();
        Ok::<_, Infallible>(Response::new(Body::from(subject)))
    }));
    let token = issuer.token("alice").sign();
    for spelling in ["Bearer", "bearer", "BEARER"] {
        let mut request = request(None);
        let value = format!("{spelling} {token}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            "alice"
        );
    }
}

#[tokio::test]
async fn optional_authentication_rejects_bad_tokens() {
    let (issuer, auth) = warm_auth().await;
    let stack = stack(auth.optional());
    assert_eq!(send(&stack, request(None)).await.status, 200);
    let token = issuer.token("alice");
    assert_eq!(
        send(&stack, request(Some(&token.clone().sign())))
            .await
            .status,
        200
    );
    assert_eq!(
        send(&stack, request(Some(&token.expired().sign())))
            .await
            .status,
        401
    );
    let mut forged = request(None);
    forged.extensions_mut().insert(Caller::Anonymous);
    forged
        .headers_mut()
        .insert("authorization", "Bearer a.b.c".parse().unwrap());
    assert_eq!(send(&stack, forged).await.status, 401);
}

#[tokio::test]
async fn caller_without_role_is_403_with_requirement() {
    let (issuer, auth) = warm_auth().await;
    let rule = Rule::any([Rule::role("admin"), Rule::scope("orders:read")]);
    let stack = stack((auth.optional(), RequireLayer::new(rule)));
    let text = "the caller does not satisfy the rule for this request";
    let challenge = format!(
        r#"Bearer realm="api", error="insufficient_scope", error_description="{text}", scope="orders:read""#
    );
    let token = issuer.token("alice").role("guest").sign();
    let answer = send(&stack, request(Some(&token))).await;
    check("insufficient_scope", &answer, 403, Some(&challenge));
    assert_eq!(
        answer.json()["required"],
        "any(role:admin, scope:orders:read)"
    );
    check_grpc(
        "insufficient_scope",
        &send(&stack, grpc(Some(&token))).await,
        "7",
        text,
    );

    let challenge = Some(r#"Bearer realm="api", scope="orders:read""#);
    check(
        "missing_token",
        &send(&stack, request(None)).await,
        401,
        challenge,
    );

    for token in [
        issuer.token("a").role("admin"),
        issuer.token("a").scope("x orders:read"),
    ] {
        assert_eq!(send(&stack, request(Some(&token.sign()))).await.status, 200);
    }
}

#[tokio::test]
async fn missing_authentication_is_a_misconfiguration() {
    let text = "the service is not configured";
    for stack in [
        stack(RequireRoleLayer::any(["admin"])),
        stack(RateLimitLayer::new(Quota::per_second(1)).by_subject()),
    ] {
        check(
            "not_configured",
            &send(&stack, request(None)).await,
            500,
            None,
        );
        check_grpc(
            "not_configured",
            &send(&stack, grpc(None)).await,
            "13",
            text,
        );
    }
    let stack = stack(RateLimitLayer::new(Quota::per_second(1)));
    let mut nowhere = request(None);
    nowhere.extensions_mut().remove::<PeerAddr>();
    check("not_configured", &send(&stack, nowhere).await, 500, None);
}

#[tokio::test]
async fn exceeded_quota_is_429_with_retry_after() {
    let (issuer, auth) = warm_auth().await;
    let limit = RateLimitLayer::new(Quota::per_minute(60).burst(2)).by_subject();
    let stack = stack((auth, limit.named("per-user").unwrap()));
    let token = issuer.token("alice").sign();
    let answer = send(&stack, request(Some(&token))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("ratelimit-policy"), r#""per-user";q=2;w=2"#);
    assert!(
        answer
            .header("ratelimit")
            .starts_with(r#""per-user";r=1;t="#)
    );
    assert_eq!(send(&stack, request(Some(&token))).await.status, 200);

    let answer = send(&stack, request(Some(&token))).await;
    check("rate_limited", &answer, 429, None);
    assert_eq!(answer.header("retry-after"), "1");
    assert!(
        answer
            .header("ratelimit")
            .starts_with(r#""per-user";r=0;t=1"#)
    );
    let body = answer.json();
    assert_eq!(
        body["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );
    assert_eq!(body["retry_after"], 1);
    assert_eq!(body["violated_policies"], json!(["per-user"]));
    check_grpc(
        "rate_limited",
        &send(&stack, grpc(Some(&token))).await,
        "8",
        "too many requests",
    );

    let other = issuer.token("bob").sign();
    assert_eq!(send(&stack, request(Some(&other))).await.status, 200);
}

#[tokio::test]
async fn silent_issuer_is_503_and_recovers() {
    let issuer = TestIssuer::start().await.unwrap().with_audience(AUDIENCE);
    issuer.fail_with(StatusCode::INTERNAL_SERVER_ERROR);
    let clock = portcullis::ManualClock::at(1_000);
    let source = JwksSource::uri(issuer.issuer(), issuer.jwks_uri()).unwrap();
    let keys = JwksCache::new([source.clock(clock.clone())]).unwrap();
    let policy = Issuer::new(issuer.issuer()).audience(AUDIENCE);
    let stack = stack(
        JwtAuthLayer::new([policy])
            .unwrap()
            .with_keys(keys)
            .unwrap(),
    );
    let token = issuer.token("alice").sign();
    let text = "the keys of the token's issuer are unavailable";

    let answer = send(&stack, request(Some(&token))).await;
    check("keys_unavailable", &answer, 503, None);
    assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
    check_grpc(
        "keys_unavailable",
        &send(&stack, grpc(Some(&token))).await,
        "14",
        text,
    );

    issuer.recover();
    clock.advance(Duration::from_secs(120));
    assert_eq!(send(&stack, request(Some(&token))).await.status, 200);
}

#[tokio::test]
async fn unsafe_role_is_an_invalid_claim() {
    let (issuer, auth) = warm_auth().await;
    let stack = stack((auth, IdentityHeadersLayer::new()));
    let token = issuer.token("alice").roles(["reader,admin"]).sign();
    let answer = send(&stack, request(Some(&token))).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["code"].as_str()),
        (401, Some("invalid_claim"))
    );
    let token = issuer.token("alice").roles(["reader"]).sign();
    assert_eq!(send(&stack, request(Some(&token))).await.status, 200);
}

#[tokio::test]
async fn layer_without_keys_needs_key_layer_above() {
    let issuer = TestIssuer::start().await.unwrap().with_audience(AUDIENCE);
    let auth = JwtAuthLayer::new([Issuer::new(issuer.issuer()).audience(AUDIENCE)]).unwrap();
    let token = issuer.token("alice").sign();
    let alone = stack(auth.clone());
    check(
        "not_configured",
        &send(&alone, request(Some(&token))).await,
        500,
        None,
    );
    check_grpc(
        "not_configured",
        &send(&alone, grpc(Some(&token))).await,
        "13",
        "the service is not configured",
    );
    let keys = JwksCache::from_issuer(issuer.issuer()).unwrap();
    let under = stack((JwksCacheLayer::new(keys), auth));
    assert_eq!(send(&under, request(Some(&token))).await.status, 200);
}

#[tokio::test]
async fn head_is_rejected_without_body() {
    let (_issuer, auth) = warm_auth().await;
    let mut head = request(None);
    *head.method_mut() = Method::HEAD;
    let answer = send(&stack(auth), head).await;
    assert_eq!(answer.status, 401);
    assert!(answer.body.is_empty());
    assert_eq!(answer.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn rejection_is_in_response_extensions() {
    let (issuer, auth) = warm_auth().await;
    let token = issuer.token("alice").expired().sign();
    let response = stack(auth).oneshot(request(Some(&token))).await.unwrap();
    let rejection = response
        .extensions()
        .get::<portcullis::Rejection>()
        .unwrap();
    assert_eq!(rejection.reason(), Reason::Expired);
}

#[test]
fn table_of_reasons_is_the_contract() {
    for (code, http, grpc) in [
        ("missing_token", 401, 16),
        ("invalid_request", 400, 3),
        ("token_too_large", 401, 16),
        ("malformed_token", 401, 16),
        ("algorithm_not_allowed", 401, 16),
        ("unknown_key", 401, 16),
        ("bad_signature", 401, 16),
        ("expired", 401, 16),
        ("not_yet_valid", 401, 16),
        ("wrong_issuer", 401, 16),
        ("wrong_audience", 401, 16),
        ("wrong_type", 401, 16),
        ("invalid_claim", 401, 16),
        ("revoked", 401, 16),
        ("insufficient_scope", 403, 7),
        ("insufficient_user_authentication", 401, 16),
        ("rate_limited", 429, 8),
        ("keys_unavailable", 503, 14),
        ("store_unavailable", 503, 14),
        ("not_configured", 500, 13),
        ("method_not_allowed", 405, 12),
    ] {
        let reason = Reason::ALL
            .iter()
            .find(|reason| reason.code() == code)
            .unwrap();
        assert_eq!(
            (reason.status().as_u16(), reason.grpc_status()),
            (http, grpc),
            "{code}"
        );
    }
    assert_eq!(Reason::ALL.len(), 21);
}

/// The rows of the example gateway, which `tests/gateway/answers.rs` reads over the network.
#[tokio::test]
async fn custom_reasons_are_rendered_in_the_same_form() {
    const fn row(status: StatusCode, code: &'static str, grpc: u8) -> CustomReason {
        CustomReason::new(status, code, grpc, "a text of its own")
    }
    const ROWS: [CustomReason; 7] = [
        row(StatusCode::BAD_REQUEST, "bad_path", 3),
        row(StatusCode::NOT_FOUND, "no_route", 12),
        row(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", 8),
        row(StatusCode::BAD_GATEWAY, "upstream_unreachable", 14),
        row(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", 4),
        row(StatusCode::NOT_IMPLEMENTED, "upgrade_not_supported", 12),
        row(StatusCode::PAYMENT_REQUIRED, "no_grpc_status", 17),
    ];
    for (row, (status, grpc_status)) in ROWS.iter().zip([
        (400, "3"),
        (404, "12"),
        (413, "8"),
        (502, "14"),
        (504, "4"),
        (501, "12"),
        (402, "2"),
    ]) {
        let rejection = Rejection::custom(row);
        let code = rejection.reason().code();
        assert_eq!(rejection.stage(), Stage::Application);
        assert_eq!(rejection.to_string(), "a text of its own");
        let answer = read(rejection.clone().render::<Body>(Protocol::Http)).await;
        check(code, &answer, status, None);
        let web = Protocol::Grpc(GrpcMediaType::GrpcProto);
        check_grpc(
            code,
            &read(rejection.render::<Body>(web)).await,
            grpc_status,
            "a text of its own",
        );
    }
}

#[tokio::test]
async fn grpc_web_rejections_have_the_media_type_of_the_request() {
    let (_issuer, auth) = warm_auth().await;
    let stack = stack(auth);
    for media_type in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc+json",
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web+json",
        "application/grpc-web-text",
        "application/grpc-web-text+proto",
    ] {
        let mut request = grpc(None);
        let value = HeaderValue::from_static(media_type);
        request.headers_mut().insert("content-type", value);
        let answer = send(&stack, request).await;
        assert_eq!(answer.status, 200, "{media_type}");
        assert_eq!(answer.header("content-type"), media_type);
        assert_eq!(answer.header("grpc-status"), "16");
        assert_eq!(answer.header("grpc-message"), "credentials are required");
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn each_stage_signs_its_rejections() {
    let (issuer, auth) = warm_auth().await;
    let limit = RateLimitLayer::new(Quota::per_hour(2)).by_subject();
    let limit = limit.named("hourly").unwrap();
    let require = RequireRoleLayer::any(["admin"]);
    let stack = stack((auth, limit, IdentityHeadersLayer::new(), require));
    let unsafe_role = issuer.token("alice").roles(["a,b"]).sign();
    let guest = issuer.token("alice").role("guest").sign();
    for (token, stage, policies) in [
        (None, Stage::Authentication, &[][..]),
        (Some(&unsafe_role), Stage::Propagation, &[]),
        (Some(&guest), Stage::Authorization, &[]),
        (Some(&guest), Stage::RateLimit, &["hourly"]),
    ] {
        let token = token.map(String::as_str);
        let response = stack.clone().oneshot(request(token)).await.unwrap();
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert_eq!(rejection.stage(), stage);
        assert_eq!(rejection.violated_policies().collect::<Vec<_>>(), policies);
    }
}

#[tokio::test]
async fn own_rendering_keeps_challenge_and_leaves_grpc_alone() {
    let (issuer, auth) = warm_auth().await;
    let own = OnRejectionLayer::new(|rejection, response| {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert("content-type", json);
        *response.body_mut() = json!({ "error": rejection.reason().code() })
            .to_string()
            .into();
    });
    let limit = RateLimitLayer::new(Quota::per_hour(1)).by_subject();
    let stack = stack((own, auth, limit));
    let token = issuer.token("alice").sign();
    assert_eq!(send(&stack, request(Some(&token))).await.status, 200);

    let answer = send(&stack, request(None)).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("www-authenticate"), r#"Bearer realm="api""#);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        answer.header("content-length"),
        answer.body.len().to_string()
    );
    assert_eq!(answer.json(), json!({ "error": "missing_token" }));

    let answer = send(&stack, request(Some(&token))).await;
    assert_eq!(answer.status, 429);
    assert!(answer.headers.contains_key("retry-after"));
    assert!(answer.headers.contains_key("ratelimit"));
    assert_eq!(answer.json(), json!({ "error": "rate_limited" }));

    let mut head = request(None);
    *head.method_mut() = Method::HEAD;
    let answer = send(&stack, head).await;
    assert!(answer.body.is_empty());
    assert_eq!(
        answer.header("content-length"),
        r#"{"error":"missing_token"}"#.len().to_string()
    );

    let answer = send(&stack, grpc(None)).await;
    check_grpc("missing_token", &answer, "16", "credentials are required");
}

#[tokio::test]
async fn replaced_response_counts_as_failure() {
    let (_issuer, auth) = warm_auth().await;
    let own = OnRejectionLayer::new(|rejection, response| {
        *response = http::Response::default();
        *response.status_mut() = rejection.reason().status();
    });
    let failures = RateLimitLayer::new(Quota::per_hour(1)).failures_only();
    let stack = stack((failures, own, auth));
    assert_eq!(send(&stack, request(Some("a.b.c"))).await.status, 401);
    assert_eq!(send(&stack, request(Some("a.b.c"))).await.status, 429);
}
