//! Which requests a route takes, and where it sends them.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::harness::outcome;
use super::upstream::header;
use super::world::World;

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

/// Many clients send all that they have before they read anything.
#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let world = World::with(
        "ISSUER\n[[routes]]\npath = \"/orders\"\nupstream = \"ORDERS\"\nmethods = [\"POST\"]\n",
    )
    .await;
    let length = 8 * 1024 * 1024;
    let bearer = format!("authorization: Bearer {}\r\n", world.token());
    for (head, status) in [
        ("POST /nowhere", 404),
        ("PUT /orders", 405),
        ("POST /orders/../x", 400),
        ("POST /orders", 413),
    ] {
        for framing in [
            format!("content-length: {length}"),
            "transfer-encoding: chunked".to_owned(),
        ] {
            let mut connection = TcpStream::connect(world.gateway.address).await.unwrap();
            let head = format!("{head} HTTP/1.1\r\nhost: a\r\n{bearer}{framing}\r\n\r\n");
            connection.write_all(head.as_bytes()).await.unwrap();
            let (chunk, count) = match framing.contains("chunked") {
                true => (
                    format!("10000\r\n{}\r\n", "x".repeat(65536)),
                    length / 65536,
                ),
                false => ("x".repeat(65536), length / 65536),
            };
            for _ in 0..count {
                connection.write_all(chunk.as_bytes()).await.unwrap();
            }
            if framing.contains("chunked") {
                connection.write_all(b"0\r\n\r\n").await.unwrap();
            }
            let mut answer = [0; 12];
            connection.read_exact(&mut answer).await.unwrap();
            let expected = format!("HTTP/1.1 {status}");
            assert_eq!(String::from_utf8_lossy(&answer), expected, "{head}");
        }
    }
    // Who waits to be told to go on is not told to.
    let mut connection = TcpStream::connect(world.gateway.address).await.unwrap();
    let head = format!(
        "POST /orders HTTP/1.1\r\nhost: a\r\n{bearer}content-length: {length}\r\nexpect: 100-continue\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert_eq!(world.orders.whole(), 0);
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
