//! Which bytes of requests and responses the gateway forwards.

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

use super::standalone::{Keys, Standalone, serve};

/// Reads the head, and at most one chunk of the body.
async fn head(connection: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = connection.read_buf(&mut text).await.unwrap();
        assert!(read > 0, "ended early: {}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).unwrap()
}

/// A service that answers one request with these bytes, and returns the request.
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

/// Sends these lines with a valid token.
async fn send(standalone: &Standalone, lines: &[&str]) -> String {
    let mut connection = TcpStream::connect(standalone.gateway).await.unwrap();
    let bearer = format!("authorization: Bearer {}", standalone.token);
    let request = [lines, &[&bearer, "", ""]].concat().join("\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    head(&mut connection).await
}

#[tokio::test]
async fn request_arrives_without_gateway_headers() {
    let (upstream, request) = raw("HTTP/1.1 204 No Content\r\n\r\n").await;
    let standalone = Standalone::before(upstream, Keys::Configured).await;
    let target = "/A%7e;v=1/b%20c/?q=%2f%2F&&a=b+c&../x";
    let answer = send(
        &standalone,
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
    // The ID differs in each run.
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
async fn response_returns_without_hop_by_hop_headers() {
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
    let standalone = Standalone::before(upstream, Keys::Configured).await;
    let answer = send(&standalone, &["GET / HTTP/1.1", "Host: a"]).await;
    assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
    assert!(answer.contains("location: http://127.0.0.1:1/elsewhere\r\n"));
    assert!(answer.contains("set-cookie: a=1\r\nset-cookie: b=2\r\n"));
    for gone in ["connection", "x-hop", "keep-alive", "proxy-authenticate"] {
        assert!(!answer.contains(gone), "{gone}: {answer}");
    }
}

#[tokio::test]
async fn ambiguous_requests_are_not_forwarded() {
    let upstream = serve(Router::new().fallback(async || "hello")).await;
    let standalone = Standalone::before(upstream, Keys::Configured).await;
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
        let answer = send(&standalone, &[&format!("GET {path} HTTP/1.1"), "Host: a"]).await;
        let expected = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&expected), "{path}: {answer}");
    }
    let websocket = ["Connection: Upgrade", "Upgrade: websocket"];
    let lines = [&["GET / HTTP/1.1", "Host: a"], &websocket[..]].concat();
    let answer = send(&standalone, &lines).await;
    assert!(answer.starts_with("HTTP/1.1 501"), "{answer}");
}

#[tokio::test]
async fn unreachable_service_is_bad_gateway() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = unused.local_addr().unwrap();
    drop(unused);
    let standalone = Standalone::before(upstream, Keys::Configured).await;
    let answer = standalone
        .client
        .get(standalone.url("/"))
        .bearer_auth(&standalone.token);
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

    let answer = standalone
        .client
        .post(standalone.url("/"))
        .bearer_auth(&standalone.token);
    let answer = answer.header("content-type", "application/grpc");
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["grpc-status"], "14");
}

#[tokio::test]
async fn malformed_body_is_a_client_error() {
    let take = async |body: Bytes| body.len().to_string();
    let upstream = serve(Router::new().fallback(take)).await;
    let standalone = Standalone::before(upstream, Keys::Configured).await;
    let mut connection = TcpStream::connect(standalone.gateway).await.unwrap();
    let bearer = format!("authorization: Bearer {}", standalone.token);
    let lines = ["POST / HTTP/1.1", "host: a", "transfer-encoding: chunked"];
    let request = [&lines[..], &[&bearer, "", "3", "one", "x", ""]].concat();
    let request = request.join("\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let answer = head(&mut connection).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn unresponsive_service_is_a_timeout() {
    let never = async || std::future::pending::<()>().await;
    let upstream = serve(Router::new().fallback(never)).await;
    let standalone = Standalone::before(upstream, Keys::Configured).await;
    let answer = standalone
        .client
        .get(standalone.url("/"))
        .bearer_auth(&standalone.token);
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 504);
    assert!(answer.text().await.unwrap().contains("upstream_timeout"));
}

/// A client that sends the rest of its body after it has received the first part of the response.
#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    let echo = async |request: Request| Response::new(request.into_body());
    let upstream = serve(Router::new().fallback(echo)).await;
    let standalone = Standalone::before(upstream, Keys::Configured).await;
    let (parts, body) = mpsc::unbounded_channel();
    let body = UnboundedReceiverStream::new(body).map(Ok::<_, Infallible>);
    // A GET, whose body is easily lost.
    let request = Request::get(standalone.url("/"))
        .header("authorization", format!("Bearer {}", standalone.token))
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
async fn grpc_uses_http2_and_returns_trailers() {
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
    let standalone = Standalone::before(upstream, Keys::Configured).await;
    let request = Request::post(standalone.url("/a.Service/Method"))
        .header("authorization", format!("Bearer {}", standalone.token))
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
