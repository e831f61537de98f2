//! Who may pass a route, who else may be looked at, and what becomes of his token.

use portcullis::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use super::harness::outcome;
use super::upstream::header;
use super::world::World;

#[tokio::test]
async fn requirements_hold_for_a_route_and_for_a_method() {
    let world = World::with(
        r#"ISSUER
        [[routes]]
        path = "/orders"
        upstream = "ORDERS"
        require = { scope = "orders:read" }
        require_for = { POST = { scope = "orders:write" }, DELETE = { any = [{ role = "admin" }, { all = [{ scope = "orders:write" }, { permission = "orders:delete" }] }] } }
        "#,
    )
    .await;
    let issuer = &world.issuer;
    let nobody = issuer.token("n").sign();
    let reader = issuer.token("r").scope("orders:read").sign();
    let writer = issuer.token("w").scope("orders:write").sign();
    let admin = issuer.token("a").role("admin").sign();
    let deleter = issuer
        .token("d")
        .scope("orders:write")
        .permission("orders:delete")
        .sign();
    for (method, token, status) in [
        (Method::GET, &nobody, 403),
        (Method::GET, &reader, 200),
        (Method::GET, &writer, 403),
        (Method::POST, &reader, 403),
        (Method::POST, &writer, 200),
        (Method::DELETE, &reader, 403),
        (Method::DELETE, &writer, 403),
        (Method::DELETE, &deleter, 200),
        (Method::DELETE, &admin, 200),
        // Some services read these as the method in upper case.
        (Method::from_bytes(b"delete").unwrap(), &reader, 403),
        (Method::from_bytes(b"dElete").unwrap(), &reader, 403),
        (Method::from_bytes(b"post").unwrap(), &reader, 403),
        // This one would tell what the gateway says to the service.
        (Method::TRACE, &reader, 405),
    ] {
        let request = world
            .client
            .request(method.clone(), world.gateway.url("/orders"));
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
async fn a_requirement_may_ask_for_anything_that_a_token_says() {
    let world = World::with(
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
    let all = world
        .issuer
        .token("alice")
        .role("clerk")
        .permission("order:*");
    let all = all.claim("groups", json!(["staff"])).claim("azp", "app");
    let all = all
        .claim("org", json!({ "tenant": "acme" }))
        .claim("level", 3);
    let all = all.claim("acr", "gold").claim("auth_time", now - 9).sign();
    let none = world.issuer.token("bob").claim("level", 2);
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
        let ask = |token| outcome(world.get(path).bearer_auth(token));
        assert_eq!(ask(&all).await.0, 200, "{path}");
        assert_eq!(ask(&none).await, *answer, "{path}");
    }
    assert_eq!(
        outcome(world.get("/issuer").bearer_auth(&all)).await,
        refused
    );
}

#[tokio::test]
async fn a_token_goes_where_the_route_forwards_it_and_nowhere_else() {
    let world = World::with(
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
    let token = world.token();
    let bearer = format!("Bearer {token}");
    for (path, sent) in [
        ("/none", None),
        ("/forward", Some(&*bearer)),
        ("/public", None),
    ] {
        let request = world.get(path).header("authorization", &bearer);
        let answer = request.send().await.unwrap();
        let told: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(header(&told, "authorization"), sent, "{path}");
        let cookie = format!("a=1; __Host-token={token}; b=2");
        let answer = world
            .get(path)
            .header("cookie", cookie)
            .send()
            .await
            .unwrap();
        let told: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(header(&told, "cookie"), Some("a=1; b=2"), "{path}");
        assert_eq!(header(&told, "authorization"), sent, "{path}");
    }
    // What no route asks for is not counted as refused either.
    let metrics = world.client.get(world.gateway.admin("/metrics")).send();
    let metrics = metrics.await.unwrap().text().await.unwrap();
    let counted: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("portcullis_propagation_total{"))
        .collect();
    let forwarded = "portcullis_propagation_total{mode=\"forward\",result=\"sent\"} 2";
    assert_eq!(counted, [forwarded], "{metrics}");
    let basic = world
        .get("/public")
        .basic_auth("a", Some("b"))
        .send()
        .await
        .unwrap();
    let told: Value = serde_json::from_slice(&basic.bytes().await.unwrap()).unwrap();
    assert_eq!(header(&told, "authorization"), None);
}

#[tokio::test]
async fn consumers_are_known_by_name_and_may_be_let_in_or_kept_out() {
    let world = World::with(
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
    let acme = world
        .issuer
        .token("alice")
        .claim("azp", "acme-mobile")
        .claim("org", json!({ "tenant": "t-1" }))
        .sign();
    let zoe = world.issuer.token("zoe").sign();
    // A consumer of her own, whatever client she uses.
    let zoe_at_acme = world.issuer.token("zoe").claim("azp", "acme-mobile").sign();
    let other = world.issuer.token("bob").claim("client_id", "other").sign();
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
        let request = world
            .get(path)
            .bearer_auth(token)
            .header("x-consumer", "root");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        if status == 200 {
            let told: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            assert_eq!(header(&told, "x-consumer"), consumer, "{path}");
            assert_eq!(header(&told, "x-issuer"), Some(world.issuer.issuer()));
            let tenant = consumer.filter(|name| *name == "acme").map(|_| "t-1");
            assert_eq!(header(&told, "x-tenant"), tenant, "{path}");
        }
    }
}

#[tokio::test]
async fn report_mode_decides_and_lets_through_and_authenticates_all_the_same() {
    let world = World::with(
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
    assert_eq!(outcome(world.get("/")).await, (401, "missing_token".into()));
    for id in ["first", "second"] {
        let request = world
            .get("/")
            .bearer_auth(world.token())
            .header("x-request-id", id);
        assert_eq!(outcome(request).await.0, 200);
    }
    let line = world.gateway.logged("second").await;
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
async fn preflights_pass_only_where_they_may_and_only_true_ones() {
    for (setting, passes) in [("pass", true), ("authenticate", false)] {
        let world = World::with(
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
            world
                .client
                .request(Method::OPTIONS, world.gateway.url("/"))
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
                world
                    .get("/")
                    .header("origin", "https://a.example")
                    .header("access-control-request-method", "PUT")
            )
            .await
            .0,
            401
        );
        assert_eq!(world.orders.hits(), usize::from(passes));
    }
}
