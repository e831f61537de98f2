//! What a route says, option by option.

use std::time::Duration;

use portcullis::TestIssuer;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::harness::{Gateway, client, issuer, outcome, section};
use super::upstream::{Upstream, header};

/// A gateway before two services.
struct World {
    gateway: Gateway,
    issuer: TestIssuer,
    orders: Upstream,
    other: Upstream,
    client: reqwest::Client,
}

// === impl World ===

impl World {
    /// ISSUER, ORDERS and OTHER are replaced.
    async fn with(configuration: &str) -> Self {
        let (issuer, orders, other) = (
            issuer().await,
            Upstream::start("orders").await,
            Upstream::start("other").await,
        );
        let configuration = configuration
            .replace("ISSUER", &section(&issuer))
            .replace("ORDERS", &orders.url())
            .replace("OTHER", &other.url());
        Self {
            gateway: Gateway::start(&configuration).await,
            issuer,
            orders,
            other,
            client: client(),
        }
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(self.gateway.url(path))
    }

    fn token(&self) -> String {
        self.issuer.token("alice").sign()
    }

    /// What the upstream was told.
    async fn told(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.bearer_auth(self.token()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }
}

#[tokio::test]
async fn path_host_and_methods_choose_a_route() {
    let world = World::with(
        r#"ISSUER
        [[routes]]
        path = "/api"
        upstream = "OTHER"
        [[routes]]
        path = "/api/orders"
        methods = ["GET", "POST"]
        upstream = "ORDERS"
        [[routes]]
        path = "/api/orders"
        host = "Partner.example"
        upstream = "OTHER"
        "#,
    )
    .await;
    for (path, service) in [
        ("/api/orders", "orders"),
        ("/api/orders/", "orders"),
        ("/api/orders/7?a=%2f&&b=c+d", "orders"),
        ("/api/orders-old", "other"),
        ("/api", "other"),
    ] {
        let told = world.told(world.get(path)).await;
        assert_eq!(
            (&told["service"], &told["target"]),
            (&json!(service), &json!(path))
        );
    }
    let told = world
        .told(
            world
                .get("/api/orders")
                .header("host", "partner.EXAMPLE.:80"),
        )
        .await;
    assert_eq!(told["service"], "other");
    assert_eq!(
        outcome(world.get("/elsewhere")).await,
        (404, "no_route".into())
    );

    let before = (world.orders.hits(), world.other.hits());
    for method in [
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
        Method::HEAD,
        Method::from_bytes(b"BREW").unwrap(),
    ] {
        let request = world
            .client
            .request(method.clone(), world.gateway.url("/api/orders/7"));
        let answer = request.bearer_auth(world.token()).send().await.unwrap();
        assert_eq!(answer.status(), 405, "{method}");
        assert_eq!(answer.headers()["allow"], "GET, POST");
    }
    assert_eq!((world.orders.hits(), world.other.hits()), before);
}

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
async fn a_host_goes_to_the_upstream_as_the_route_says_and_redirects_come_back() {
    let world = World::with(
        r#"ISSUER
        [[routes]]
        path = "/own"
        upstream = "ORDERS"
        [[routes]]
        path = "/clients"
        upstream = "ORDERS"
        upstream_host = "client"
        "#,
    )
    .await;
    let own = world.orders.address.to_string();
    for (path, host) in [("/own", own.as_str()), ("/clients", "shop.example")] {
        let told = world
            .told(world.get(path).header("host", "shop.example"))
            .await;
        assert_eq!(header(&told, "host"), Some(host));
        assert_eq!(header(&told, "x-forwarded-host"), Some("shop.example"));
    }
    let request = world
        .get("/own")
        .bearer_auth(world.token())
        .header("x-do", "redirect");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.headers()["location"], "/elsewhere");
    assert_eq!(world.orders.hits(), 3);
}

#[tokio::test]
async fn an_upstream_that_is_slow_or_away_is_told_of_in_the_clients_protocol() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let world = World::with(
        &r#"request_timeout = "300ms"
        ISSUER
        [[routes]]
        path = "/slow"
        upstream = "ORDERS"
        timeout = "100ms"
        [[routes]]
        path = "/patient"
        upstream = "ORDERS"
        [[routes]]
        path = "/away"
        upstream = "AWAY"
        "#
        .replace("AWAY", &away),
    )
    .await;
    for (path, sleep, expected, grpc) in [
        ("/slow", "200", (504, "upstream_timeout"), "4"),
        ("/patient", "200", (200, ""), ""),
        ("/patient", "900", (504, "upstream_timeout"), "4"),
        ("/away", "0", (502, "upstream_unreachable"), "14"),
        ("/nowhere", "0", (404, "no_route"), "12"),
    ] {
        let request = || {
            world
                .get(path)
                .bearer_auth(world.token())
                .header("x-do", format!("sleep {sleep}"))
        };
        assert_eq!(
            outcome(request()).await,
            (expected.0, expected.1.to_owned()),
            "{path}"
        );
        if !grpc.is_empty() && path != "/slow" && path != "/patient" {
            let answer = request()
                .header("content-type", "application/grpc")
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["grpc-status"], grpc, "{path}");
        }
    }
    let websocket = world.get("/patient").bearer_auth(world.token());
    let websocket = websocket
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    assert_eq!(
        outcome(websocket).await,
        (501, "upgrade_not_supported".into())
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_never_arrives_as_a_whole() {
    let world = World::with(
        "max_body = \"64KiB\"\nISSUER\n[[routes]]\npath = \"/\"\nupstream = \"ORDERS\"\n",
    )
    .await;
    let post = || {
        world
            .client
            .post(world.gateway.url("/"))
            .bearer_auth(world.token())
    };
    assert_eq!(outcome(post().body(vec![0; 65536])).await.0, 200);
    assert_eq!(world.orders.whole(), 1);
    // The length says so: it goes no further.
    assert_eq!(
        outcome(post().body(vec![0; 65537])).await,
        (413, "body_too_large".into())
    );
    assert_eq!(world.orders.hits(), 1);
    // Nothing says so until it is too late.
    let parts =
        || futures_util::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 8192])));
    for _ in 0..5 {
        let answer = outcome(post().body(reqwest::Body::wrap_stream(parts()))).await;
        assert_eq!(answer, (413, "body_too_large".into()));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.orders.whole(), 1, "a part was taken for the whole");
    let few = futures_util::stream::iter((0..7).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 8192])));
    assert_eq!(
        outcome(post().body(reqwest::Body::wrap_stream(few)))
            .await
            .0,
        200
    );
    assert_eq!(world.orders.whole(), 2);
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
        "#,
    )
    .await;
    let acme = world
        .issuer
        .token("alice")
        .claim("azp", "acme-mobile")
        .sign();
    let zoe = world.issuer.token("zoe").sign();
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
