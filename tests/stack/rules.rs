//! Rules through a stack: challenges, records, report mode, routers.

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use http::Method;
use portcullis::manifest::Manifest;
use portcullis::{
    Caller, Clock, DecisionLog, GuardedRouter, Identity, IdentityHeadersLayer, ManualClock, Mode,
    Quota, RateLimitLayer, Reason, RequireLayer, RequirePermissionLayer, RequireRoleLayer,
    RequireScopeLayer, Rule, Rules, TokenPropagationLayer,
};
use serde_json::json;

use super::*;

fn with_method(method: Method, uri: &str, token: Option<&str>) -> Request<Body> {
    let mut request = request(token);
    *request.method_mut() = method;
    *request.uri_mut() = uri.parse().unwrap();
    request
}

fn challenge(answer: &Answer) -> &str {
    answer.header("www-authenticate")
}

#[tokio::test]
async fn rejection_names_smallest_missing_set() {
    let (issuer, auth) = warm_auth().await;
    let rule = Rule::role("admin") & Rule::role("auditor") & Rule::role("owner")
        | Rule::scope("orders:read") & Rule::scope("orders:list");
    let require = RequireLayer::new(rule).realm("orders").unwrap();
    let stack = stack((auth, require));
    let token = issuer.token("alice").scope("orders:read").sign();
    let log = DecisionLog::default();
    let mut asked = request(Some(&token));
    asked.extensions_mut().insert(log.clone());
    let answer = send(&stack, asked).await;
    assert_eq!(answer.status, 403);
    // A client asks for all the scopes of a token at once.
    let text = "the caller does not satisfy the rule for this request";
    assert_eq!(
        challenge(&answer),
        format!(
            r#"Bearer realm="orders", error="insufficient_scope", error_description="{text}", scope="orders:read orders:list""#
        )
    );
    let record = &log.records()[1];
    assert_eq!(record.layer, "authorization");
    assert_eq!(record.missing.as_deref(), Some("scope:orders:list"));
    assert_eq!(
        record.rule.as_deref(),
        Some(
            "any(all(role:admin, role:auditor, role:owner), all(scope:orders:read, scope:orders:list))"
        )
    );
    assert!(record.duration.is_some());
    assert!(record.caller.as_ref().unwrap().key_id().is_some());
    assert_eq!((record.mode, &*record.policy), ("enforce", "require"));
}

#[tokio::test]
async fn records_state_whether_token_was_cached() {
    let (issuer, auth) = warm_auth().await;
    let limit = RateLimitLayer::new(Quota::per_minute(600)).by_subject();
    let stack = stack((auth, limit, RequireRoleLayer::any(["admin"])));
    let token = issuer.token("alice").role("admin").sign();
    for cached in [false, true] {
        let log = DecisionLog::default();
        let mut asked = request(Some(&token));
        asked.extensions_mut().insert(log.clone());
        assert_eq!(send(&stack, asked).await.status, 200);
        let records = log.records();
        let summary: Vec<_> = records.iter().map(|own| (own.layer, own.cached)).collect();
        let layers = ["authentication", "rate_limit", "authorization"];
        assert_eq!(summary, layers.map(|layer| (layer, cached)));
    }
}

#[tokio::test]
async fn challenge_without_token_lists_scopes() {
    let (_, auth) = warm_auth().await;
    let rule = Rule::scope("orders:read") & (Rule::scope("orders:list") | Rule::role("admin"));
    let stack = stack((auth.optional(), RequireLayer::new(rule)));
    let answer = send(&stack, request(None)).await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        challenge(&answer),
        r#"Bearer realm="api", scope="orders:read orders:list""#
    );
}

#[tokio::test]
async fn step_up_challenge_names_acr_and_max_age() {
    let (issuer, auth) = warm_auth().await;
    let clock = ManualClock::at(Clock::System.unix_time().as_secs());
    let rule = Rule::acr("gold") & Rule::max_age(Duration::from_secs(300)) & Rule::scope("pay");
    let require = RequireLayer::new(rule).clock(clock.clone());
    let stack = stack((auth, require));
    let token = |acr: &str, scope: &str| {
        let now = clock_seconds(&clock);
        let token = issuer.token("alice").claim("acr", acr).scope(scope);
        token.claim("auth_time", now).sign()
    };
    let fresh = token("gold", "pay");
    assert_eq!(send(&stack, request(Some(&fresh))).await.status, 200);

    let text = "another or a more recent login is required";
    let answer = send(&stack, request(Some(&token("silver", "pay")))).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["code"].as_str()),
        (401, Some("insufficient_user_authentication"))
    );
    let step_up = format!(
        r#"Bearer realm="api", error="insufficient_user_authentication", error_description="{text}", scope="pay", acr_values="gold", max_age="300""#
    );
    assert_eq!(challenge(&answer), step_up);
    let answer = send(&stack, grpc(Some(&token("silver", "pay")))).await;
    assert_eq!(answer.header("grpc-status"), "16");

    clock.advance(Duration::from_secs(301));
    let answer = send(&stack, request(Some(&fresh))).await;
    assert_eq!(challenge(&answer), step_up);
    let never = issuer
        .token("alice")
        .claim("acr", "gold")
        .scope("pay")
        .sign();
    let answer = send(&stack, request(Some(&never))).await;
    assert_eq!(answer.status, 401);
}

fn clock_seconds(clock: &ManualClock) -> u64 {
    Clock::from(clock.clone()).unix_time().as_secs()
}

#[tokio::test]
async fn rejection_hides_clients_subjects_and_tenants() {
    let (issuer, auth) = warm_auth().await;
    for rule in [
        Rule::client("secret-client"),
        Rule::subject("secret-subject") | Rule::role("a"),
        Rule::issuer("https://secret.example") & Rule::scope("s"),
        Rule::claim("tenant", "secret-tenant"),
        Rule::all([Rule::role("a"), !Rule::role("secret-role")]),
    ] {
        let stack = stack((auth.clone().optional(), RequireLayer::new(rule.clone())));
        let token = issuer.token("alice").sign();
        for token in [Some(&*token), None] {
            let answer = send(&stack, request(token)).await;
            assert!(answer.status.is_client_error(), "{rule}");
            let all = format!("{:?} {:?}", answer.headers, answer.body);
            assert!(!all.contains("secret"), "{rule}: {all}");
            assert!(answer.json().get("required").is_none());
        }
    }
}

#[tokio::test]
async fn anonymous_caller_is_rejected_by_other_rules() {
    let (_, auth) = warm_auth().await;
    for rule in [
        Rule::verified(),
        Rule::not(Rule::role("a")),
        !!Rule::verified(),
        !Rule::nobody(),
        !Rule::claim("tenant", "a"),
        Rule::any([Rule::verified(), !Rule::verified()]),
    ] {
        let stack = stack((auth.clone().optional(), RequireLayer::new(rule.clone())));
        assert_eq!(send(&stack, request(None)).await.status, 401, "{rule}");
    }
}

#[tokio::test]
async fn nested_rule_keeps_its_brackets() {
    // protect-axum reads `all("X", any("A", all("B", "C")))` as `X && A || B && C`.
    let rule: Rule = "all(role:X, any(role:A, all(role:B, role:C)))"
        .parse()
        .unwrap();
    let (issuer, auth) = warm_auth().await;
    let stack = stack((auth, RequireLayer::new(rule)));
    for (roles, status) in [
        (&["B", "C"][..], 403),
        (&["A"], 403),
        (&["X", "B"], 403),
        (&["X", "A"], 200),
        (&["X", "B", "C"], 200),
    ] {
        let token = issuer.token("a").roles(roles.iter().copied()).sign();
        assert_eq!(
            send(&stack, request(Some(&token))).await.status,
            status,
            "{roles:?}"
        );
    }
}

#[tokio::test]
async fn client_role_is_not_a_realm_role() {
    // axum-keycloak-auth takes a role of any client for the realm's.
    let (issuer, _) = warm_auth().await;
    let keys = JwksCache::from_issuer(issuer.issuer()).unwrap();
    keys.warm().await.unwrap();
    let policy = Issuer::new(issuer.issuer())
        .profile(portcullis::Profile::Keycloak)
        .permissions_claim(["resource_access", "orders", "roles"])
        .with_keys(keys)
        .audience(AUDIENCE);
    let auth = JwtAuthLayer::new([policy]).unwrap();
    let realm = stack((auth.clone(), RequireRoleLayer::any(["admin"])));
    let client = stack((auth, RequirePermissionLayer::any(["admin"])));
    let token = |realm: &[&str], orders: &[&str], other: &[&str]| {
        let token = issuer.token("alice").claim("typ", "Bearer");
        let token = token.claim("realm_access", json!({ "roles": realm }));
        let access = json!({ "orders": { "roles": orders }, "other": { "roles": other } });
        token.claim("resource_access", access).sign()
    };
    for (token, of_realm, of_client) in [
        (token(&["admin"], &[], &[]), 200, 403),
        (token(&[], &["admin"], &[]), 403, 200),
        (token(&[], &[], &["admin"]), 403, 403),
    ] {
        assert_eq!(send(&realm, request(Some(&token))).await.status, of_realm);
        assert_eq!(send(&client, request(Some(&token))).await.status, of_client);
    }
}

#[tokio::test]
async fn layers_by_name_check_their_own_list() {
    let (issuer, auth) = warm_auth().await;
    let token = issuer.token("a").scope("r w").permission("p").sign();
    for (layer, status) in [
        (RequireScopeLayer::all(["r", "w"]).into(), 200),
        (RequireScopeLayer::all(["r", "x"]).into(), 403),
        (RequireScopeLayer::any(["x", "r"]).into(), 200),
        (RequireScopeLayer::any(["p"]).into(), 403),
        (RequirePermissionLayer::any(["x", "p"]).into(), 200),
        (RequirePermissionLayer::all(["x", "p"]).into(), 403),
        (RequirePermissionLayer::all(["r"]).into(), 403),
        (RequireRoleLayer::any(["r"]).into(), 403),
    ] {
        let layer: RequireLayer = layer;
        let stack = stack((auth.clone(), layer));
        assert_eq!(send(&stack, request(Some(&token))).await.status, status);
    }
}

#[tokio::test]
async fn reads_and_writes_require_their_own_scopes() {
    let (issuer, auth) = warm_auth().await;
    let rules = Rules::new()
        .reads(Rule::scope("orders:read"))
        .writes(Rule::scope("orders:write"));
    let ok = || async { "inner" };
    let app = Router::new()
        .route("/orders", get(ok).post(ok).trace(ok))
        .route_layer((auth, RequireLayer::new(rules)));
    let reader = issuer.token("a").scope("orders:read").sign();
    let writer = issuer.token("a").scope("orders:write").sign();
    for (method, uri, token, status) in [
        (Method::GET, "/orders", Some(&reader), 200),
        (Method::HEAD, "/orders", Some(&reader), 200),
        (Method::HEAD, "/orders", Some(&writer), 403),
        (Method::POST, "/orders", Some(&reader), 403),
        (Method::POST, "/orders", Some(&writer), 200),
        (Method::GET, "/orders", Some(&writer), 403),
        // No rule, so every caller is rejected.
        (Method::TRACE, "/orders", Some(&reader), 403),
        (Method::GET, "/orders", None, 401),
        (Method::GET, "/nothing", None, 404),
        (Method::GET, "/nothing", Some(&reader), 404),
    ] {
        let asked = with_method(method.clone(), uri, token.map(String::as_str));
        let response = app.clone().oneshot(asked).await.unwrap();
        assert_eq!(response.status(), status, "{method} {uri}");
    }
}

#[tokio::test]
async fn grpc_methods_have_rules_by_path() {
    let (issuer, auth) = warm_auth().await;
    let rules = Rules::new()
        .path("/orders.v1.Orders/List", Rule::scope("orders:read"))
        .path("/orders.v1.Orders/Place", Rule::scope("orders:write"));
    let stack = stack((auth, RequireLayer::new(rules)));
    let reader = issuer.token("a").scope("orders:read").sign();
    for (path, status) in [
        ("/orders.v1.Orders/List", None),
        ("/orders.v1.Orders/Place", Some("7")),
        ("/orders.v1.Orders/Delete", Some("7")),
        ("/orders.v1.Orders/Lis%74", Some("7")),
    ] {
        let mut asked = grpc(Some(&reader));
        *asked.method_mut() = Method::POST;
        *asked.uri_mut() = path.parse().unwrap();
        let answer = send(&stack, asked).await;
        let found = answer.headers.get("grpc-status");
        assert_eq!(
            found.map(|status| status.to_str().unwrap()),
            status,
            "{path}"
        );
    }
}

#[tokio::test]
async fn no_spelling_reaches_a_weaker_rule() {
    let (issuer, auth) = warm_auth().await;
    let rules = Rules::new()
        .path("/status", Rule::verified())
        .reads(Rule::role("reader"))
        .writes(Rule::role("writer"))
        .method(Method::DELETE, Rule::role("reader"));
    let stack = stack((auth, RequireLayer::new(rules)));
    let [reader, guest] = ["reader", "guest"].map(|role| issuer.token("a").role(role).sign());
    let asked = |method: &str, uri: &str, token| {
        with_method(
            Method::from_bytes(method.as_bytes()).unwrap(),
            uri,
            Some(token),
        )
    };
    // A weaker rule for a path is not for its other spellings.
    for (uri, status) in [
        ("/status", 200),
        ("/status?a=/status", 200),
        ("http://other.example/status", 200),
        ("/status/", 403),
        ("//status", 403),
        ("/./status", 403),
        ("/x/../status", 403),
        ("/%73tatus", 403),
        ("/status%2f", 403),
        ("/status%00", 403),
        ("/status;a=b", 403),
        ("/STATUS", 403),
        ("/?/status", 403),
        ("/x#/status", 403),
    ] {
        let mut asked = asked("GET", uri, &guest);
        // A path that a proxy reports in a header changes nothing.
        for name in [
            "x-original-url",
            "x-rewrite-url",
            "x-forwarded-uri",
            "x-envoy-original-path",
        ] {
            asked.headers_mut().insert(name, "/status".parse().unwrap());
        }
        assert_eq!(send(&stack, asked).await.status, status, "{uri}");
    }
    for (method, status) in [
        ("GET", 200),
        ("HEAD", 200),
        ("OPTIONS", 200),
        ("POST", 403),
        ("DELETE", 200),
        ("TRACE", 403),
        ("CONNECT", 403),
        ("PROPFIND", 403),
        // Methods are case-sensitive (RFC 9110 section 9.1), but not for every service.
        ("get", 200),
        ("head", 200),
        ("post", 403),
        ("Delete", 200),
        ("trace", 403),
    ] {
        let mut asked = asked(method, "/", &reader);
        // A layer that honors these must be outside of this one.
        for name in [
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
        ] {
            asked.headers_mut().insert(name, "GET".parse().unwrap());
        }
        assert_eq!(send(&stack, asked).await.status, status, "{method}");
    }
}

/// A stack that responds with what reached the handler: its caller, and every place for a token.
fn seen(auth: JwtAuthLayer) -> Stack {
    let service = auth.layer(service_fn(|request: Request<Body>| async move {
        let caller = request.extensions().get::<Caller>().unwrap();
        let caller = caller.identity().map(|me| me.subject().to_owned());
        let names = [
            "authorization",
            "cookie",
            "x-token",
            "sec-websocket-protocol",
        ];
        let headers: Vec<_> = names
            .iter()
            .flat_map(|name| request.headers().get_all(*name))
            .map(|value| value.to_str().unwrap().to_owned())
            .collect();
        let seen = json!([caller, headers, request.uri().query()]);
        Ok::<_, Infallible>(Response::new(Body::from(seen.to_string())))
    }));
    BoxCloneSyncService::new(service.map_response(axum::response::IntoResponse::into_response))
}

#[tokio::test]
async fn reported_authentication_passes_no_invalid_token() {
    let (issuer, auth) = warm_auth().await;
    let auth = auth
        .cookie("__Host-token")
        .unwrap()
        .header("x-token")
        .unwrap()
        .websocket_protocol()
        .dangerous_query_parameter("access_token")
        .unwrap()
        .dangerous_report_authentication();
    let stack = seen(auth.clone());
    let good = issuer.token("alice").sign();
    let bad = issuer.token("alice").expired().sign();
    let forged = issuer.token("alice").signed_by_stranger().sign();
    let none: [&str; 0] = [];
    for (headers, query, expected) in [
        (
            vec![("authorization", format!("Bearer {good}"))],
            "",
            json!(["alice", none, null]),
        ),
        (
            vec![("authorization", format!("Bearer {bad}"))],
            "",
            json!([null, none, null]),
        ),
        (
            vec![("authorization", format!("Bearer {forged}"))],
            "",
            json!([null, none, null]),
        ),
        (vec![], "", json!([null, none, null])),
        (
            vec![("authorization", "Basic YTpi".into())],
            "",
            json!([null, ["Basic YTpi"], null]),
        ),
        (
            vec![("cookie", "a=b".into())],
            "?c=d",
            json!([null, ["a=b"], "c=d"]),
        ),
        (
            vec![("cookie", format!("a=b; __Host-token={bad}"))],
            "",
            json!([null, ["a=b"], null]),
        ),
        // Two tokens are malformed, and all are removed.
        (
            vec![
                ("authorization", format!("Bearer {good}")),
                ("authorization", format!("Bearer {good}")),
                (
                    "cookie",
                    format!("a=b; __Host-token={good}; __Host-token={bad}"),
                ),
                ("x-token", good.clone()),
                ("sec-websocket-protocol", format!("bearer, {good}")),
            ],
            &format!("?c=d&access_token={good}&access_token={bad}"),
            json!([null, ["a=b"], "c=d"]),
        ),
        // Other spellings of the parameter are removed too.
        (
            vec![],
            &format!("?%61ccess%5Ftoken={good}&c=d&access%5ftoken"),
            json!([null, none, "c=d"]),
        ),
    ] {
        let mut asked = request(None);
        *asked.uri_mut() = format!("/orders{query}").parse().unwrap();
        for (name, value) in &headers {
            asked.headers_mut().append(*name, value.parse().unwrap());
        }
        let log = DecisionLog::default();
        asked.extensions_mut().insert(log.clone());
        let answer = send(&stack, asked).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, expected));
        let event = if answer.json()[0].is_string() {
            "auth.success"
        } else {
            "auth.would_fail"
        };
        assert_eq!(
            (log.records()[0].event, log.records()[0].mode),
            (event, "report")
        );
    }
    // A rule behind it still rejects.
    let guarded = super::stack((auth, RequireRoleLayer::any(["admin"])));
    assert_eq!(send(&guarded, request(Some(&bad))).await.status, 401);
}

#[tokio::test]
async fn reported_authentication_drops_token_without_keys() {
    let issuer = TestIssuer::start().await.unwrap().with_audience(AUDIENCE);
    issuer.fail_with(StatusCode::INTERNAL_SERVER_ERROR);
    let auth = JwtAuthLayer::from_issuer(issuer.issuer(), AUDIENCE).unwrap();
    let token = issuer.token("alice").sign();
    let answer = send(
        &seen(auth.dangerous_report_authentication()),
        request(Some(&token)),
    )
    .await;
    let none: [&str; 0] = [];
    assert_eq!(answer.json(), json!([null, none, null]));
}

#[tokio::test]
async fn guarded_router_rejects_by_default() {
    let (issuer, auth) = warm_auth().await;
    let limit = RateLimitLayer::new(Quota::per_minute(600).burst(50)).by_subject();
    let limit = limit.named("per-user").unwrap().mode(Mode::Report);
    let ok = || async { "inner" };
    let orders = Rules::new()
        .reads(Rule::scope("orders:read"))
        .method(Method::POST, Rule::scope("orders:write"));
    let trial = RequireRoleLayer::any(["admin"])
        .named("admins")
        .unwrap()
        .mode(Mode::Report);
    let me = |me: Identity| async move { me.subject().to_owned() };
    let routes = GuardedRouter::new((auth, limit, IdentityHeadersLayer::new()))
        .route("/orders", get(ok).post(ok).delete(ok), orders)
        .route("/me", get(me), Rule::verified())
        .route("/trial", post(ok), trial)
        .public("/health", get(ok));
    let propagation = TokenPropagationLayer::forward_to(["https://orders.internal"]).unwrap();
    let more = Manifest::new().route(
        "/out",
        &(propagation, RequireRoleLayer::any(["a"]).enabled(false)),
    );
    let manifest = Manifest::new()
        .merge(routes.manifest().clone())
        .nest("/api")
        .merge(more);
    let before = format!(
        "  authenticates jwt: tokens of {} for orders-api
  limits per-user: 50 at once and 1 more every 100ms, by subject (report only)
  propagates identity_headers: x-user-id, x-user-roles, x-user-scopes
",
        issuer.issuer()
    );
    assert_eq!(
        manifest.to_string(),
        format!(
            "/api/orders
{before}  requires require: POST scope:orders:write
  requires require: reads scope:orders:read
  requires require: otherwise nobody
/api/me
{before}  requires require: all requests verified
/api/trial
{before}  requires admins: all requests any(role:admin) (report only)
/api/health
  public
/out
  public
  propagates forward: the token to https://orders.internal
"
        )
    );
    let json = serde_json::to_value(&manifest).unwrap();
    assert_eq!(
        json[0]["guards"][3],
        json!({ "does": "requires", "policy": "require", "what": "POST scope:orders:write" })
    );

    let app = routes.into_router();
    let reader = issuer.token("a").scope("orders:read").sign();
    for (method, uri, token, status) in [
        (Method::GET, "/orders", Some(&reader), 200),
        (Method::POST, "/orders", Some(&reader), 403),
        (Method::DELETE, "/orders", Some(&reader), 403),
        (Method::GET, "/orders", None, 401),
        (Method::PUT, "/orders", Some(&reader), 405),
        (Method::PUT, "/me", Some(&reader), 405),
        (Method::PUT, "/me", None, 401),
        (Method::PUT, "/health", None, 405),
        (Method::GET, "/me", Some(&reader), 200),
        (Method::GET, "/me", None, 401),
        (Method::POST, "/trial", Some(&reader), 200),
        (Method::GET, "/health", None, 200),
        (Method::GET, "/nothing", None, 404),
    ] {
        let asked = with_method(method.clone(), uri, token.map(String::as_str));
        let response = app.clone().oneshot(asked).await.unwrap();
        assert_eq!(response.status(), status, "{method} {uri}");
    }
    let nothing = GuardedRouter::<_, ()>::new(()).into_router();
    let response = nothing.oneshot(request(None)).await.unwrap();
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn access_lists_work_by_method() {
    let (issuer, auth) = warm_auth().await;
    let partners = Rule::client("acme-mobile") | Rule::subject("zoe");
    let rules = Rules::new()
        .reads(partners.clone())
        .writes(partners & !Rule::subject("mallory"));
    let listed = stack((auth.clone(), RequireLayer::new(rules)));
    let denied = stack((auth, RequireLayer::new(!Rule::client("acme-mobile"))));
    let of = |subject: &str, client: Option<&str>| {
        let token = issuer.token(subject);
        match client {
            Some(client) => token.claim("azp", client).sign(),
            None => token.sign(),
        }
    };
    for (token, read, write, other) in [
        (of("alice", Some("acme-mobile")), 200, 200, 403),
        (of("mallory", Some("acme-mobile")), 200, 403, 403),
        (of("zoe", None), 200, 200, 200),
        (of("bob", Some("web")), 403, 403, 200),
        (of("bob", None), 403, 403, 200),
    ] {
        let asked = |method| with_method(method, "/", Some(&token));
        assert_eq!(send(&listed, asked(Method::GET)).await.status, read);
        assert_eq!(send(&listed, asked(Method::PUT)).await.status, write);
        assert_eq!(send(&denied, asked(Method::PUT)).await.status, other);
    }
}

#[tokio::test]
async fn guide_shows_output_of_explain() {
    const PAGE: &str = include_str!("../../docs/authorization.md");
    let constant = |name: &str| {
        let line = PAGE.lines().find(|line| line.starts_with(name)).unwrap();
        let text = line.split_once('"').unwrap().1;
        text.rsplit_once('"').unwrap().0
    };
    let rule: Rule = constant("const RULE").parse().unwrap();
    let claims: Value = serde_json::from_str(constant("const CLAIMS")).unwrap();
    let (issuer, auth) = warm_auth().await;
    let token = claims.as_object().unwrap().iter();
    let token = token.fold(issuer.token("alice"), |token, (name, value)| {
        token.claim(name, value)
    });
    let explained = rule.explain(&auth.verify_now(&token.sign()).unwrap());
    assert!(
        PAGE.contains(&format!("```text\n{explained}```")),
        "{explained}"
    );
}

#[tokio::test]
async fn report_mode_rejects_misconfiguration() {
    let log = DecisionLog::default();
    let layer = RequireLayer::new(Rule::verified()).mode(Mode::Report);
    let mut asked = request(None);
    asked.extensions_mut().insert(log.clone());
    assert_eq!(send(&stack(layer), asked).await.status, 500);
    assert_eq!(log.records()[0].event, "authz.denied");
    assert_eq!(log.records()[0].reason, Some(Reason::NotConfigured));
    assert_eq!(log.records()[0].rule, None);
}
