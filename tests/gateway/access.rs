//! Access rules, consumers and propagation of routes.

use portcullis::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use super::harness::outcome;
use super::setup::Setup;
use super::upstream::header;

#[tokio::test]
async fn requirements_apply_per_route_and_method() {
    let setup = Setup::with(
        r#"ISSUER
        [[routes]]
        path = "/orders"
        upstream = "ORDERS"
        require = { scope = "orders:read" }
        require_for = { POST = { scope = "orders:write" }, DELETE = { any = [{ role = "admin" }, { all = [{ scope = "orders:write" }, { permission = "orders:delete" }] }] } }
        "#,
    )
    .await;
    let issuer = &setup.issuer;
    let without_roles = issuer.token("n").sign();
    let reader = issuer.token("r").scope("orders:read").sign();
    let writer = issuer.token("w").scope("orders:write").sign();
    let admin = issuer.token("a").role("admin").sign();
    let deleter = issuer
        .token("d")
        .scope("orders:write")
        .permission("orders:delete")
        .sign();
    for (method, token, status) in [
        (Method::GET, &without_roles, 403),
        (Method::GET, &reader, 200),
        (Method::GET, &writer, 403),
        (Method::POST, &reader, 403),
        (Method::POST, &writer, 200),
        (Method::DELETE, &reader, 403),
        (Method::DELETE, &writer, 403),
        (Method::DELETE, &deleter, 200),
        (Method::DELETE, &admin, 200),
        // Some servers read these as the upper-case method.
        (Method::from_bytes(b"delete").unwrap(), &reader, 403),
        (Method::from_bytes(b"dElete").unwrap(), &reader, 403),
        (Method::from_bytes(b"post").unwrap(), &reader, 403),
        // TRACE would show what the gateway sends to the service.
        (Method::TRACE, &reader, 405),
    ] {
        let request = setup
            .client
            .request(method.clone(), setup.gateway.url("/orders"));
        let answer = request.bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), status, "{method}");
        if status == 403 && method == Method::POST {
            let challenge = answer.headers()["www-authenticate"]
                .to_str()
                .unwrap()
                .to_owned();
            assert!(challenge.contains("scope=\"orders:write\""), "{challenge}");
        }
    }
}

#[tokio::test]
async fn every_kind_of_requirement_is_enforced() {
    let setup = Setup::with(
        r#"ISSUER
        [[routes]]
        path = "/role"
        upstream = "ORDERS"
        require = { role = "clerk" }
        [[routes]]
        path = "/permission"
        upstream = "ORDERS"
        require = { permission_or_wildcard = "order:read" }
        [[routes]]
        path = "/pattern"
        upstream = "ORDERS"
        require = { permission_pattern = "order:*" }
        [[routes]]
        path = "/group"
        upstream = "ORDERS"
        require = { group = "staff" }
        [[routes]]
        path = "/issuer"
        upstream = "ORDERS"
        require = { issuer = "https://other.example.com/" }
        [[routes]]
        path = "/client"
        upstream = "ORDERS"
        require = { client = "app" }
        [[routes]]
        path = "/subject"
        upstream = "ORDERS"
        require = { subject = "alice" }
        [[routes]]
        path = "/tenant"
        upstream = "ORDERS"
        require = { claim = ["org", "tenant"], is = "acme" }
        [[routes]]
        path = "/level"
        upstream = "ORDERS"
        require = { claim = "level", at_least = 3 }
        [[routes]]
        path = "/acr"
        upstream = "ORDERS"
        require = { acr = "gold" }
        [[routes]]
        path = "/recent"
        upstream = "ORDERS"
        require = { max_age = 300 }
        [[routes]]
        path = "/not"
        upstream = "ORDERS"
        require = { not = { claim = "level", at_most = 2 } }
        "#,
    )
    .await;
    let now = Clock::System.unix_time().as_secs();
    let all = setup
        .issuer
        .token("alice")
        .role("clerk")
        .permission("order:*");
    let all = all.claim("groups", json!(["staff"])).claim("azp", "app");
    let all = all
        .claim("org", json!({ "tenant": "acme" }))
        .claim("level", 3);
    let all = all.claim("acr", "gold").claim("auth_time", now - 9).sign();
    let none = setup.issuer.token("bob").claim("level", 2);
    let none = none.claim("auth_time", now - 999).sign();
    let step_up = (401, "insufficient_user_authentication".to_owned());
    let refused = (403, "insufficient_scope".to_owned());
    for (path, answer) in [
        ("/role", &refused),
        ("/permission", &refused),
        ("/pattern", &refused),
        ("/group", &refused),
        ("/client", &refused),
        ("/subject", &refused),
        ("/tenant", &refused),
        ("/level", &refused),
        ("/acr", &step_up),
        ("/recent", &step_up),
        ("/not", &refused),
    ] {
        let ask = |token| outcome(setup.get(path).bearer_auth(token));
        assert_eq!(ask(&all).await.0, 200, "{path}");
        assert_eq!(ask(&none).await, *answer, "{path}");
    }
    assert_eq!(
        outcome(setup.get("/issuer").bearer_auth(&all)).await,
        refused
    );
}

#[tokio::test]
async fn token_is_forwarded_only_where_configured() {
    let setup = Setup::with(
        r#"ISSUER
        [token_sources]
        cookie = "__Host-token"
        [[routes]]
        path = "/none"
        upstream = "ORDERS"
        [[routes]]
        path = "/forward"
        upstream = "ORDERS"
        propagate = "forward"
        [[routes]]
        path = "/public"
        upstream = "ORDERS"
        public = true
        "#,
    )
    .await;
    let token = setup.token();
    let bearer = format!("Bearer {token}");
    for (path, sent) in [
        ("/none", None),
        ("/forward", Some(&*bearer)),
        ("/public", None),
    ] {
        let request = setup.get(path).header("authorization", &bearer);
        let answer = request.send().await.unwrap();
        let received: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(header(&received, "authorization"), sent, "{path}");
        let cookie = format!("a=1; __Host-token={token}; b=2");
        let answer = setup
            .get(path)
            .header("cookie", cookie)
            .send()
            .await
            .unwrap();
        let received: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(header(&received, "cookie"), Some("a=1; b=2"), "{path}");
        assert_eq!(header(&received, "authorization"), sent, "{path}");
    }
    // Requests without a route do not count as rejections.
    let metrics = setup.client.get(setup.gateway.admin("/metrics")).send();
    let metrics = metrics.await.unwrap().text().await.unwrap();
    let counted: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("portcullis_propagation_total{"))
        .collect();
    let forwarded = "portcullis_propagation_total{mode=\"forward\",result=\"sent\",reason=\"\"} 2";
    assert_eq!(counted, [forwarded], "{metrics}");
    let basic = setup
        .get("/public")
        .basic_auth("a", Some("b"))
        .send()
        .await
        .unwrap();
    let received: Value = serde_json::from_slice(&basic.bytes().await.unwrap()).unwrap();
    assert_eq!(header(&received, "authorization"), None);
}

#[tokio::test]
async fn consumers_are_allowed_or_denied() {
    let setup = Setup::with(
        r#"ISSUER
        [identity_headers]
        x-user-id = "sub"
        x-issuer = "iss"
        x-tenant = ["org", "tenant"]
        x-consumer = "consumer"
        [[consumers]]
        name = "acme"
        client = "acme-mobile"
        [[consumers]]
        name = "zoe"
        subject = "zoe"
        [[routes]]
        path = "/any"
        upstream = "ORDERS"
        [[routes]]
        path = "/acme"
        upstream = "ORDERS"
        consumers = { allow = ["acme"] }
        [[routes]]
        path = "/others"
        upstream = "ORDERS"
        consumers = { deny = ["acme", "zoe"] }
        [[routes]]
        path = "/not-acme"
        upstream = "ORDERS"
        consumers = { deny = ["acme"] }
        "#,
    )
    .await;
    let acme = setup
        .issuer
        .token("alice")
        .claim("azp", "acme-mobile")
        .claim("org", json!({ "tenant": "t-1" }))
        .sign();
    let zoe = setup.issuer.token("zoe").sign();
    // The consumer of the subject takes precedence over the consumer of the client.
    let zoe_at_acme = setup.issuer.token("zoe").claim("azp", "acme-mobile").sign();
    let other = setup.issuer.token("bob").claim("client_id", "other").sign();
    for (path, token, status, consumer) in [
        ("/any", &acme, 200, Some("acme")),
        ("/any", &zoe, 200, Some("zoe")),
        ("/any", &other, 200, None),
        ("/acme", &acme, 200, Some("acme")),
        ("/acme", &zoe, 403, None),
        ("/acme", &other, 403, None),
        ("/others", &acme, 403, None),
        ("/others", &zoe, 403, None),
        ("/others", &other, 200, None),
        ("/any", &zoe_at_acme, 200, Some("zoe")),
        ("/acme", &zoe_at_acme, 403, None),
        ("/others", &zoe_at_acme, 403, None),
        ("/not-acme", &zoe_at_acme, 200, Some("zoe")),
        ("/not-acme", &acme, 403, None),
        ("/not-acme", &other, 200, None),
    ] {
        let request = setup
            .get(path)
            .bearer_auth(token)
            .header("x-consumer", "root");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        if status == 200 {
            let received: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            assert_eq!(header(&received, "x-consumer"), consumer, "{path}");
            assert_eq!(header(&received, "x-issuer"), Some(setup.issuer.issuer()));
            let tenant = consumer.filter(|name| *name == "acme").map(|_| "t-1");
            assert_eq!(header(&received, "x-tenant"), tenant, "{path}");
        }
    }
}

#[tokio::test]
async fn report_mode_authenticates_but_admits() {
    let setup = Setup::with(
        r#"ISSUER
        [[routes]]
        path = "/"
        upstream = "ORDERS"
        mode = "report"
        require = { role = "admin" }
        rate_limits = [{ name = "one", key = "subject", requests = 1, per = "1h" }]
        "#,
    )
    .await;
    assert_eq!(outcome(setup.get("/")).await, (401, "missing_token".into()));
    for id in ["first", "second"] {
        let request = setup
            .get("/")
            .bearer_auth(setup.token())
            .header("x-request-id", id);
        assert_eq!(outcome(request).await.0, 200);
    }
    let line = setup.gateway.logged("second").await;
    let decisions = line["decisions"].as_str().unwrap();
    assert!(
        decisions.contains("one=ratelimit.would_limit:rate_limited"),
        "{decisions}"
    );
    assert!(
        decisions.contains("require=authz.would_deny:insufficient_scope"),
        "{decisions}"
    );
}

#[tokio::test]
async fn only_true_preflights_pass() {
    for (setting, passes) in [("pass", true), ("authenticate", false)] {
        let setup = Setup::with(
            &r#"cors_preflight = "SETTING"
            ISSUER
            [[routes]]
            path = "/"
            methods = ["GET", "PUT"]
            upstream = "ORDERS"
            require = { role = "admin" }
            rate_limits = [{ name = "l", key = "subject", requests = 100, per = "1m" }]
            "#
            .replace("SETTING", setting),
        )
        .await;
        let options = || {
            setup
                .client
                .request(Method::OPTIONS, setup.gateway.url("/"))
        };
        let preflight = |asked| {
            options()
                .header("origin", "https://a.example")
                .header("access-control-request-method", asked)
        };
        let expected = if passes { 200 } else { 405 };
        assert_eq!(outcome(preflight("PUT")).await.0, expected, "{setting}");
        assert_eq!(outcome(preflight("DELETE")).await.0, 405);
        assert_eq!(outcome(options()).await.0, 405);
        assert_eq!(
            outcome(
                setup
                    .get("/")
                    .header("origin", "https://a.example")
                    .header("access-control-request-method", "PUT")
            )
            .await
            .0,
            401
        );
        assert_eq!(setup.orders.hits(), usize::from(passes));
    }
}
