//! Settings that change which requests pass: report mode, failures only, quotas by caller, token
//! sources, preflights.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use http::Method;
use portcullis::{
    Caller, DecisionLog, IdentityHeadersLayer, ManualClock, Mode, Quota, RateLimitLayer, Reason,
    RequireLayer, RequireRoleLayer, Rule,
};

use serde_json::value::RawValue;

use super::*;

fn status(answer: &Answer) -> u16 {
    answer.status.as_u16()
}

#[tokio::test]
async fn report_mode_passes_and_reports_the_rejection() {
    let (issuer, auth) = warm_auth().await;
    let limit = RateLimitLayer::new(Quota::per_hour(1))
        .by_subject()
        .mode(Mode::Report);
    let role = RequireRoleLayer::any(["admin"])
        .named("admins")
        .unwrap()
        .mode(Mode::Report);
    let stack = stack((auth, limit, role));
    let token = issuer.token("alice").role("guest").sign();
    send(&stack, request(Some(&token))).await;

    let log = DecisionLog::default();
    let mut second = request(Some(&token));
    second.extensions_mut().insert(log.clone());
    let answer = send(&stack, second).await;
    assert_eq!(status(&answer), 200);
    let records = log.records();
    let summary: Vec<_> = records
        .iter()
        .map(|r| (r.event, r.reason, r.mode))
        .collect();
    assert_eq!(
        summary,
        [
            ("auth.success", None, "enforce"),
            ("ratelimit.would_limit", Some(Reason::RateLimited), "report"),
            (
                "authz.would_deny",
                Some(Reason::InsufficientScope),
                "report"
            ),
        ]
    );
    assert_eq!(&*records[2].policy, "admins");
    assert!(records[0].duration.is_some());
    assert_eq!(records[0].caller.as_ref().unwrap().pseudonym().len(), 16);
}

#[tokio::test]
async fn report_mode_does_not_hide_a_misconfiguration() {
    let stack = stack(RequireRoleLayer::any(["admin"]).mode(Mode::Report));
    assert_eq!(status(&send(&stack, request(None)).await), 500);
}

#[tokio::test]
async fn bad_tokens_are_limited_before_verification() {
    let (issuer, auth) = warm_auth().await;
    let failures = RateLimitLayer::new(Quota::per_hour(3)).failures_only();
    let stack = stack((failures, auth, RequireRoleLayer::any(["admin"])));
    let good = issuer.token("alice").role("admin").sign();
    let guest = issuer.token("alice").role("guest").sign();
    let bad = issuer.token("alice").signed_by_stranger().sign();
    let expired = issuer.token("alice").expired().sign();
    // Neither success, nor a lack of rights or of credentials, nor an expired token counts.
    for _ in 0..5 {
        assert_eq!(status(&send(&stack, request(Some(&expired))).await), 401);
        assert_eq!(status(&send(&stack, request(Some(&good))).await), 200);
        assert_eq!(status(&send(&stack, request(Some(&guest))).await), 403);
        assert_eq!(status(&send(&stack, request(None)).await), 401);
    }
    for _ in 0..3 {
        assert_eq!(status(&send(&stack, request(Some(&bad))).await), 401);
    }
    let answer = send(&stack, request(Some(&good))).await;
    assert_eq!(status(&answer), 429);
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 1000);

    let mut elsewhere = request(Some(&good));
    let peer: SocketAddr = "203.0.113.8:1".parse().unwrap();
    elsewhere.extensions_mut().insert(PeerAddr(peer));
    assert_eq!(status(&send(&stack, elsewhere).await), 200);
}

#[tokio::test]
async fn failures_count_authentication_alone() {
    let (issuer, auth) = warm_auth().await;
    let failures = RateLimitLayer::new(Quota::per_hour(3)).failures_only();
    let stack = stack((failures, auth, IdentityHeadersLayer::new()));
    // The token is valid, but its role cannot be sent in a header.
    let odd = issuer.token("bob").role("a,b").sign();
    for _ in 0..5 {
        let answer = send(&stack, request(Some(&odd))).await;
        assert_eq!(status(&answer), 401);
        let body = std::str::from_utf8(&answer.body).unwrap();
        assert!(body.contains("invalid_claim"), "{body}");
    }
    let good = issuer.token("alice").role("admin").sign();
    assert_eq!(status(&send(&stack, request(Some(&good))).await), 200);
}

#[tokio::test]
async fn expired_tokens_count_on_request() {
    let (issuer, auth) = warm_auth().await;
    let failures = RateLimitLayer::new(Quota::per_hour(3)).failures_only();
    let stack = stack((failures.count_expired(), auth));
    let expired = issuer.token("alice").expired().sign();
    for expected in [401, 401, 401, 429] {
        let answer = send(&stack, request(Some(&expired))).await;
        assert_eq!(status(&answer), expected);
    }
}

#[tokio::test]
async fn a_cached_token_passes_a_limit_of_failures() {
    let (issuer, auth) = warm_auth().await;
    let known = auth.clone();
    let failures = RateLimitLayer::new(Quota::per_hour(3)).failures_only();
    let failures = failures.exempt(move |headers, _| known.is_cached(headers));
    let stack = stack((failures, auth));
    let good = issuer.token("alice").sign();
    let other = issuer.token("bob").sign();
    let bad = issuer.token("mallory").signed_by_stranger().sign();
    assert_eq!(status(&send(&stack, request(Some(&good))).await), 200);
    for expected in [401, 401, 401, 429] {
        assert_eq!(status(&send(&stack, request(Some(&bad))).await), expected);
    }
    // The cached token passes; one that would have to be verified does not.
    assert_eq!(status(&send(&stack, request(Some(&good))).await), 200);
    assert_eq!(status(&send(&stack, request(Some(&other))).await), 429);
    assert_eq!(status(&send(&stack, request(Some(&bad))).await), 429);
    assert_eq!(status(&send(&stack, request(None)).await), 429);
}

#[tokio::test]
async fn a_401_of_the_handler_is_not_counted() {
    let limit = RateLimitLayer::new(Quota::per_hour(1)).failures_only();
    let service = limit.layer(service_fn(|_: Request<Body>| async {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        Ok::<_, Infallible>(response)
    }));
    for _ in 0..5 {
        let response = service.clone().oneshot(request(None)).await.unwrap();
        assert_eq!(response.status(), 401);
    }
}

#[tokio::test]
async fn the_quota_belongs_to_the_caller() {
    let (issuer, auth) = warm_auth().await;
    let clock = ManualClock::at(1);
    let limit = RateLimitLayer::new(Quota::per_hour(1))
        .by_subject()
        .clock(clock);
    let limit = limit.quota_for(|me| match me.claim("plan")?.as_str()? {
        "pro" => Some(Quota::per_hour(3)),
        "ours" => Some(Quota::UNLIMITED),
        _ => Some(Quota::per_hour(2)),
    });
    let stack = stack((auth.optional(), limit));
    for (plan, admitted) in [
        (Some("pro"), 3),
        (Some("free"), 2),
        (Some("ours"), 20),
        (None, 1),
    ] {
        let token = issuer.token(plan.unwrap_or("nobody"));
        let token = plan
            .map_or(token.clone(), |plan| token.claim("plan", plan))
            .sign();
        let mut passed = 0;
        for _ in 0..20 {
            let answer = send(&stack, request(Some(&token))).await;
            passed += usize::from(status(&answer) == 200);
            if plan == Some("pro") {
                assert_eq!(answer.header("ratelimit-policy"), r#""default";q=3;w=3600"#);
            }
            let has_fields = answer.headers.contains_key("ratelimit");
            assert_eq!(has_fields, plan != Some("ours"));
        }
        assert_eq!(passed, admitted, "{plan:?}");
    }
    // An anonymous caller has the quota of the layer.
    assert_eq!(status(&send(&stack, request(None)).await), 200);
    assert_eq!(status(&send(&stack, request(None)).await), 429);
}

#[tokio::test]
async fn limits_in_one_store_survive_a_new_layer() {
    let base = RateLimitLayer::new(Quota::per_hour(100)).cost(NonZeroU32::MIN);
    let of = |name: &str, quota| base.clone().with_quota(quota).named(name).unwrap();
    let first = stack(of("a", Quota::per_hour(1)));
    assert_eq!(status(&send(&first, request(None)).await), 200);
    // A reload builds the layer anew: the same name and quota share the same count.
    let again = stack(of("a", Quota::per_hour(1)));
    assert_eq!(status(&send(&again, request(None)).await), 429);
    let other = stack(of("b", Quota::per_hour(1)));
    assert_eq!(status(&send(&other, request(None)).await), 200);
}

#[tokio::test]
async fn cookies_are_read_only_if_enabled() {
    let (issuer, auth) = warm_auth().await;
    let token = issuer.token("alice").sign();
    let with_cookie = || {
        let mut request = request(None);
        let cookie = format!("theme=dark; __Host-token={token}").parse().unwrap();
        request.headers_mut().insert("cookie", cookie);
        request
    };
    let off = stack(auth.clone());
    assert_eq!(status(&send(&off, with_cookie()).await), 401);
    let on = stack(auth.clone().cookie("__Host-token").unwrap());
    assert_eq!(status(&send(&on, with_cookie()).await), 200);
    let mut both = with_cookie();
    both.headers_mut()
        .insert("authorization", format!("Bearer {token}").parse().unwrap());
    assert_eq!(status(&send(&on, both).await), 400);
    assert!(auth.clone().cookie("a b").is_err() && auth.header("cookie").is_err());
}

#[tokio::test]
async fn preflights_pass_only_if_enabled() {
    let (_issuer, auth) = warm_auth().await;
    let role = || RequireRoleLayer::any(["admin"]);
    let strict = stack((auth.clone(), role()));
    let enabled = stack((
        auth.clone().pass_cors_preflight(),
        role().pass_cors_preflight(),
    ));
    let half = stack((auth.pass_cors_preflight(), role()));
    let preflight = || {
        let mut request = request(None);
        *request.method_mut() = Method::OPTIONS;
        request
            .headers_mut()
            .insert("origin", "https://app.example".parse().unwrap());
        request
            .headers_mut()
            .insert("access-control-request-method", "POST".parse().unwrap());
        request
    };
    assert_eq!(status(&send(&enabled, preflight()).await), 200);
    assert_eq!(status(&send(&strict, preflight()).await), 401);
    assert_eq!(status(&send(&half, preflight()).await), 401);
    for damage in ["method", "origin", "access-control-request-method"] {
        let mut request = preflight();
        match damage {
            "method" => *request.method_mut() = Method::GET,
            name => drop(request.headers_mut().remove(name)),
        }
        assert_eq!(status(&send(&enabled, request).await), 401, "{damage}");
    }
}

#[tokio::test]
async fn clients_have_separate_limits() {
    let (issuer, auth) = warm_auth().await;
    let denied = Rule::not(Rule::any([
        Rule::client("blocked"),
        Rule::subject("mallory"),
    ]));
    let stack = stack((auth.optional(), RequireLayer::new(denied)));
    for (subject, client, expected) in [
        ("alice", "acme", 200),
        ("alice", "blocked", 403),
        ("mallory", "acme", 403),
    ] {
        let token = issuer.token(subject).claim("azp", client).sign();
        let answer = send(&stack, request(Some(&token))).await;
        assert_eq!(status(&answer), expected);
        // A rejection does not name other clients.
        assert!(expected == 200 || answer.json().get("required").is_none());
    }
    // An anonymous caller does not satisfy a negation.
    assert_eq!(status(&send(&stack, request(None)).await), 401);
}

#[tokio::test]
async fn a_caller_from_outside_is_replaced() {
    let (_issuer, auth) = warm_auth().await;
    let stack = stack(auth);
    let mut forged = request(None);
    forged.extensions_mut().insert(Caller::Anonymous);
    assert_eq!(status(&send(&stack, forged).await), 401);
}

#[tokio::test]
async fn an_unreadable_claim_hides_no_other() {
    let (issuer, auth) = warm_auth().await;
    let limit = RateLimitLayer::new(Quota::per_hour(2)).by_claim("tenant");
    let stack = stack((auth, limit));
    for at in 0..2 {
        let token = issuer
            .token(&format!("user-{at}"))
            .claim("tenant", "acme")
            .sign();
        assert_eq!(status(&send(&stack, request(Some(&token))).await), 200);
    }
    // Some issuers cut a display name in the middle of a character.
    for broken in [r#""Bob \ud83d""#, "1e400", r#"{"a":1,"a":2}"#] {
        let iss = issuer.issuer();
        let claims = format!(
            r#"{{"iss":"{iss}","aud":"{AUDIENCE}","sub":"user-9","exp":4000000000,"tenant":"acme","name":{broken}}}"#
        );
        let claims: BTreeMap<&str, &RawValue> = serde_json::from_str(&claims).unwrap();
        let token = issuer.key_ring().sign(&claims).unwrap();
        let answer = send(&stack, request(Some(&token))).await;
        assert_eq!(status(&answer), 401, "{broken}: {:?}", answer.body);
    }
}

#[tokio::test]
async fn an_unset_clock_is_a_misconfiguration() {
    let (issuer, auth) = warm_auth().await;
    let stack = stack(auth.clock(ManualClock::at(0)));
    let token = issuer.token("alice").expired().without("iat").sign();
    assert_eq!(status(&send(&stack, request(Some(&token))).await), 500);
}

#[tokio::test]
async fn a_cache_without_the_issuer_is_an_error() {
    let keys = || JwksCache::from_issuer("https://id.example.com/").unwrap();
    let spelled_otherwise = || Issuer::new("https://id.example.com").audience(AUDIENCE);
    assert!(JwtAuthLayer::new([spelled_otherwise().with_keys(keys())]).is_err());
    let layer = JwtAuthLayer::new([spelled_otherwise()]).unwrap();
    assert!(layer.with_keys(keys()).is_err());
}

#[tokio::test]
async fn required_claims_add_up() {
    let (issuer, _) = warm_auth().await;
    let policy = Issuer::new(issuer.issuer()).audience(AUDIENCE);
    let policy = policy
        .required_claims(["jti", "tenant"])
        .required_claims(["tenant", "jti"]);
    let keys = JwksCache::from_issuer(issuer.issuer()).unwrap();
    let stack = stack(JwtAuthLayer::new([policy.with_keys(keys)]).unwrap());
    let token = || issuer.token("alice").claim("tenant", "acme");
    assert_eq!(
        status(&send(&stack, request(Some(&token().sign()))).await),
        200
    );
    for token in [
        token().without("jti"),
        token().without("tenant"),
        token().claim("tenant", Value::Null),
    ] {
        assert_eq!(
            status(&send(&stack, request(Some(&token.sign()))).await),
            401
        );
    }
}

#[test]
fn issuer_and_audience_are_mandatory() {
    for everybody in ["0.0.0.0/0", "::/0"] {
        let limit = RateLimitLayer::new(Quota::per_second(1));
        assert!(limit.trusted_proxies([everybody]).is_err());
    }
}
