//! Route matching and upstreams.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::harness::outcome;
use super::setup::Setup;
use super::upstream::header;

#[tokio::test]
async fn path_host_and_method_select_route() {
    let setup = Setup::with(
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
        let received = setup.received(setup.get(path)).await;
        assert_eq!(
            (&received["service"], &received["target"]),
            (&json!(service), &json!(path))
        );
    }
    let received = setup
        .received(
            setup
                .get("/api/orders")
                .header("host", "partner.EXAMPLE.:80"),
        )
        .await;
    assert_eq!(received["service"], "other");
    assert_eq!(
        outcome(setup.get("/elsewhere")).await,
        (404, "no_route".into())
    );

    let before = (setup.orders.hits(), setup.other.hits());
    for method in [
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
        Method::HEAD,
        Method::from_bytes(b"BREW").unwrap(),
    ] {
        let request = setup
            .client
            .request(method.clone(), setup.gateway.url("/api/orders/7"));
        let answer = request.bearer_auth(setup.token()).send().await.unwrap();
        assert_eq!(answer.status(), 405, "{method}");
        assert_eq!(answer.headers()["allow"], "GET, POST");
    }
    assert_eq!((setup.orders.hits(), setup.other.hits()), before);
}

#[tokio::test]
async fn upstream_host_is_configurable_and_redirects_pass() {
    let setup = Setup::with(
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
    let own = setup.orders.address.to_string();
    for (path, host) in [("/own", own.as_str()), ("/clients", "shop.example")] {
        let received = setup
            .received(setup.get(path).header("host", "shop.example"))
            .await;
        assert_eq!(header(&received, "host"), Some(host));
        assert_eq!(header(&received, "x-forwarded-host"), Some("shop.example"));
    }
    let request = setup
        .get("/own")
        .bearer_auth(setup.token())
        .header("x-do", "redirect");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.headers()["location"], "/elsewhere");
    assert_eq!(setup.orders.hits(), 3);
}

#[tokio::test]
async fn upstream_failure_uses_the_clients_protocol() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let setup = Setup::with(
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
            setup
                .get(path)
                .bearer_auth(setup.token())
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
    let websocket = setup.get("/patient").bearer_auth(setup.token());
    let websocket = websocket
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    assert_eq!(
        outcome(websocket).await,
        (501, "upgrade_not_supported".into())
    );
}

/// Many clients send their whole request before they read a response.
#[tokio::test]
async fn rejection_reaches_client_that_is_still_sending() {
    let setup = Setup::with(
        "ISSUER\n[[routes]]\npath = \"/orders\"\nupstream = \"ORDERS\"\nmethods = [\"POST\"]\n",
    )
    .await;
    let length = 8 * 1024 * 1024;
    let bearer = format!("authorization: Bearer {}\r\n", setup.token());
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
            let mut connection = TcpStream::connect(setup.gateway.address).await.unwrap();
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
    // A client that waits for `100 Continue` does not receive it.
    let mut connection = TcpStream::connect(setup.gateway.address).await.unwrap();
    let head = format!(
        "POST /orders HTTP/1.1\r\nhost: a\r\n{bearer}content-length: {length}\r\nexpect: 100-continue\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert_eq!(setup.orders.whole(), 0);
}

#[tokio::test]
async fn oversized_body_never_arrives_complete() {
    let setup = Setup::with(
        "max_body = \"64KiB\"\nISSUER\n[[routes]]\npath = \"/\"\nupstream = \"ORDERS\"\n",
    )
    .await;
    let post = || {
        setup
            .client
            .post(setup.gateway.url("/"))
            .bearer_auth(setup.token())
    };
    assert_eq!(outcome(post().body(vec![0; 65536])).await.0, 200);
    assert_eq!(setup.orders.whole(), 1);
    // The content length exceeds the limit, so the request is not forwarded.
    assert_eq!(
        outcome(post().body(vec![0; 65537])).await,
        (413, "body_too_large".into())
    );
    assert_eq!(setup.orders.hits(), 1);
    // Without a content length, the limit is detected while reading.
    let parts =
        || futures_util::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 8192])));
    for _ in 0..5 {
        let answer = outcome(post().body(reqwest::Body::wrap_stream(parts()))).await;
        assert_eq!(answer, (413, "body_too_large".into()));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(setup.orders.whole(), 1, "a part was taken for the whole");
    let few = futures_util::stream::iter((0..7).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 8192])));
    assert_eq!(
        outcome(post().body(reqwest::Body::wrap_stream(few)))
            .await
            .0,
        200
    );
    assert_eq!(setup.orders.whole(), 2);
}
