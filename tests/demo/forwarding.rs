//! What the gateway passes on, byte for byte, and what it does not.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Version};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::alone::{Alone, Keys, serve};

/// Reads until the end of the headers, and the one chunk or none that comes with them.
async fn head(connection: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = connection.read_buf(&mut text).await.unwrap();
        assert!(read > 0, "ended early: {}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).unwrap()
}

/// A service that answers one request with these bytes, and tells what the request was.
async fn raw(answer: &'static str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let request = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let request = head(&mut connection).await;
        connection.write_all(answer.as_bytes()).await.unwrap();
        request
    });
    (address, request)
}

/// Sends these lines as they are, with a good token.
async fn send(alone: &Alone, lines: &[&str]) -> String {
    let mut connection = TcpStream::connect(alone.gateway).await.unwrap();
    let bearer = format!("authorization: Bearer {}", alone.token);
    let request = [lines, &[&bearer, "", ""]].concat().join("\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    head(&mut connection).await
}

#[tokio::test]
async fn a_request_arrives_as_it_was_sent_without_what_was_for_the_gateway() {
    let (upstream, request) = raw("HTTP/1.1 204 No Content\r\n\r\n").await;
    let alone = Alone::before(upstream, Keys::Told).await;
    let target = "/A%7e;v=1/b%20c/?q=%2f%2F&&a=b+c&../x";
    let answer = send(
        &alone,
        &[
            &format!("GET {target} HTTP/1.1"),
            "Host: shop.example",
            "Connection: keep-alive, X-Debug, Upgrade, HTTP2-Settings",
            "X-Debug: 1",
            "Keep-Alive: timeout=5",
            "Proxy-Authorization: Basic YTpi",
            "Proxy-Connection: keep-alive",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
            "TE: gzip, trailers",
            "X-Forwarded-For: 192.0.2.1",
            "X_Forwarded_For: 192.0.2.1",
            "X-Forwarded-Host: bank.example",
            "X-Forwarded-Proto: https",
            "Forwarded: for=192.0.2.1",
            "X-Real-IP: 192.0.2.1",
            "X-User-Id: root",
            "X_USER_ROLES: root",
            "x-user.scopes: root",
            "Cookie: a=1",
            "Cookie: b=2",
            "X-Kept: 1",
        ],
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");

    let request = request.await.unwrap();
    let mut lines: Vec<_> = request.trim_end().split("\r\n").collect();
    let first = lines.remove(0);
    assert_eq!(first, format!("GET {target} HTTP/1.1"));
    // Another one in each run.
    lines.retain(|line| !line.starts_with("x-request-id: "));
    lines.sort_unstable();
    let host = format!("host: {upstream}");
    let expected = [
        "connection: te",
        "cookie: a=1; b=2",
        &host,
        "te: trailers",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: shop.example",
        "x-forwarded-proto: http",
        "x-kept: 1",
        "x-user-id: alice",
        "x-user-roles: admin",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn an_answer_comes_back_without_what_was_for_the_gateway() {
    let (upstream, _request) = raw(concat!(
        "HTTP/1.1 302 Found\r\n",
        "Connection: close, X-Hop\r\n",
        "X-Hop: 1\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Proxy-Authenticate: Basic\r\n",
        "Location: http://127.0.0.1:1/elsewhere\r\n",
        "Set-Cookie: a=1\r\n",
        "Set-Cookie: b=2\r\n",
        "Content-Length: 0\r\n\r\n",
    ))
    .await;
    let alone = Alone::before(upstream, Keys::Told).await;
    let answer = send(&alone, &["GET / HTTP/1.1", "Host: a"]).await;
    assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
    assert!(answer.contains("location: http://127.0.0.1:1/elsewhere\r\n"));
    assert!(answer.contains("set-cookie: a=1\r\nset-cookie: b=2\r\n"));
    for gone in ["connection", "x-hop", "keep-alive", "proxy-authenticate"] {
        assert!(!answer.contains(gone), "{gone}: {answer}");
    }
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_goes_no_further() {
    let upstream = serve(Router::new().fallback(async || "hello")).await;
    let alone = Alone::before(upstream, Keys::Told).await;
    for (path, status) in [
        ("/a/../b", 400),
        ("/a/%2e%2E/b", 400),
        ("/a/.%2e;x/b", 400),
        ("/./a", 400),
        ("/a/..", 400),
        ("/a%2fb", 400),
        ("/a%5cb", 400),
        ("/a\\b", 400),
        ("/a%00", 400),
        ("//a", 400),
        ("/a//b", 400),
        ("/a%2", 400),
        ("/a%zz", 400),
        ("*", 400),
        ("/a.b/..c/d../%20/", 200),
        ("/%252e%252e/a", 200),
    ] {
        let answer = send(&alone, &[&format!("GET {path} HTTP/1.1"), "Host: a"]).await;
        let expected = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&expected), "{path}: {answer}");
    }
    let websocket = ["Connection: Upgrade", "Upgrade: websocket"];
    let lines = [&["GET / HTTP/1.1", "Host: a"], &websocket[..]].concat();
    let answer = send(&alone, &lines).await;
    assert!(answer.starts_with("HTTP/1.1 501"), "{answer}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_a_bad_gateway() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = nobody.local_addr().unwrap();
    drop(nobody);
    let alone = Alone::before(upstream, Keys::Told).await;
    let answer = alone.client.get(alone.url("/")).bearer_auth(&alone.token);
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert!(
        answer
            .text()
            .await
            .unwrap()
            .contains("upstream_unreachable")
    );

    let answer = alone.client.post(alone.url("/")).bearer_auth(&alone.token);
    let answer = answer.header("content-type", "application/grpc");
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["grpc-status"], "14");
}

#[tokio::test]
async fn a_body_that_is_malformed_is_the_clients_fault() {
    let take = async |body: Bytes| body.len().to_string();
    let upstream = serve(Router::new().fallback(take)).await;
    let alone = Alone::before(upstream, Keys::Told).await;
    let mut connection = TcpStream::connect(alone.gateway).await.unwrap();
    let bearer = format!("authorization: Bearer {}", alone.token);
    let lines = ["POST / HTTP/1.1", "host: a", "transfer-encoding: chunked"];
    let request = [&lines[..], &[&bearer, "", "3", "one", "x", ""]].concat();
    let request = request.join("\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let answer = head(&mut connection).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_a_timeout() {
    let never = async || std::future::pending::<()>().await;
    let upstream = serve(Router::new().fallback(never)).await;
    let alone = Alone::before(upstream, Keys::Told).await;
    let answer = alone.client.get(alone.url("/")).bearer_auth(&alone.token);
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 504);
    assert!(answer.text().await.unwrap().contains("upstream_timeout"));
}

/// A client that holds the rest of its body back until the first part has been answered.
#[tokio::test]
async fn bodies_are_streams_both_ways() {
    let echo = async |request: Request| Response::new(request.into_body());
    let upstream = serve(Router::new().fallback(echo)).await;
    let alone = Alone::before(upstream, Keys::Told).await;
    let (parts, body) = mpsc::unbounded_channel();
    let body = UnboundedReceiverStream::new(body).map(Ok::<_, Infallible>);
    // GET, whose body is easily lost on the way.
    let request = Request::get(alone.url("/"))
        .header("authorization", format!("Bearer {}", alone.token))
        .header("transfer-encoding", "chunked")
        .body(Body::from_stream(body))
        .unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    parts.send(Bytes::from_static(b"one")).unwrap();
    let answer = client.request(request).await.unwrap();
    assert_eq!(answer.status(), 200);

    let mut answer = answer.into_body().into_data_stream();
    assert_eq!(answer.next().await.unwrap().unwrap(), "one");
    parts.send(Bytes::from_static(b"two")).unwrap();
    assert_eq!(answer.next().await.unwrap().unwrap(), "two");
    drop(parts);
    assert!(answer.next().await.is_none());
}

#[tokio::test]
async fn grpc_goes_over_http_2_and_its_trailers_come_back() {
    let service = async |request: Request| {
        assert_eq!(request.version(), Version::HTTP_2);
        assert_eq!(request.headers()["te"], "trailers");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [Frame::data(Bytes::from("hello")), Frame::trailers(trailers)];
        let body = stream::iter(frames.map(Ok::<_, Infallible>));
        Response::new(Body::new(StreamBody::new(body)))
    };
    let upstream = serve(Router::new().fallback(service)).await;
    let alone = Alone::before(upstream, Keys::Told).await;
    let request = Request::post(alone.url("/a.Service/Method"))
        .header("authorization", format!("Bearer {}", alone.token))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::empty())
        .unwrap();
    let mut client = Client::builder(TokioExecutor::new());
    let client = client.http2_only(true).build_http();
    let answer = client.request(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), "hello");
}
