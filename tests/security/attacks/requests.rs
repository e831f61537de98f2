//! Requests that mean one thing to a client and another to a server, mostly over a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::any;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use portcullis::{Caller, RequireRoleLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::board::Board;
use super::site::{Answer, Site, attempt, request, send, stack};

pub(crate) async fn mount(board: &mut Board) {
    let site = Site::open().await;
    over_a_socket(board, &site).await;
    preflights(board, &site).await;
    protocols(board, &site).await;
}

/// A server on loopback with the public path `/public`. Counts the requests that reach the
/// protected handler.
async fn serve(site: &Site) -> (SocketAddr, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let inner = any(move || async move {
        count.fetch_add(1, Ordering::Relaxed);
        "inner"
    });
    let app = Router::new()
        .route("/orders", inner.clone())
        .fallback(inner)
        .layer(site.auth.clone())
        .route("/public", any(|| async { "inner" }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, reached)
}

/// The response to the last request in these bytes, and whether the server or a layer sent it.
async fn exchange(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    let text = String::from_utf8(read).unwrap();
    let last = text.rfind("HTTP/1.").unwrap();
    let (head, body) = text[last..].split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, value.parse().unwrap());
    }
    let answer = Answer {
        status: StatusCode::from_bytes(status.as_bytes()).unwrap(),
        headers,
        body: body.to_owned().into(),
    };
    if body.is_empty() {
        return format!("{status} of the server");
    }
    answer.outcome()
}

async fn over_a_socket(board: &mut Board, site: &Site) {
    let (address, reached) = serve(site).await;
    let bearer = format!(
        "Authorization: Bearer {}\r\n",
        site.issuer.token("alice").sign()
    );
    let end = "Host: orders\r\nConnection: close\r\n\r\n";
    let good = format!("GET /orders HTTP/1.1\r\n{bearer}{end}");
    assert_eq!(exchange(address, &good).await, "200", "control");
    let public = format!("GET /public HTTP/1.1\r\n{end}");
    assert_eq!(exchange(address, &public).await, "200", "control");
    let passed = reached.load(Ordering::Relaxed);

    let folded = bearer.replacen('.', ".\r\n ", 1);
    for (id, bytes) in [
        (
            "token-folded-over-two-lines",
            format!("GET /orders HTTP/1.1\r\n{folded}{end}"),
        ),
        (
            "token-in-the-trailers",
            format!(
                "POST /orders HTTP/1.1\r\nTrailer: Authorization\r\nTransfer-Encoding: chunked\r\n{end}0\r\n{bearer}\r\n"
            ),
        ),
        (
            "fragment-in-the-path",
            format!("GET /orders#/../public HTTP/1.1\r\n{end}"),
        ),
        (
            "question-mark-in-the-path",
            format!("GET /orders?/public HTTP/1.1\r\n{end}"),
        ),
        (
            "dots-in-the-path",
            format!("GET /public/../orders HTTP/1.1\r\n{end}"),
        ),
        (
            "path-of-another-request-in-a-header",
            format!(
                "GET /orders HTTP/1.1\r\nX-Original-URL: /public\r\nX-Forwarded-Uri: /public\r\nX-Envoy-Original-Path: /public\r\n{end}"
            ),
        ),
    ] {
        board.row(id, exchange(address, &bytes).await);
    }
    assert_eq!(
        reached.load(Ordering::Relaxed),
        passed,
        "the handler was reached"
    );

    let kept = good.replace("Connection: close\r\n", "");
    let second = format!("{kept}GET /orders HTTP/1.1\r\n{end}");
    board.row(
        "second-request-of-a-good-connection",
        exchange(address, &second).await,
    );
}

async fn preflights(board: &mut Board, site: &Site) {
    let passing = stack(site.auth.clone().pass_cors_preflight());
    let preflight = || {
        let mut request = request(None);
        *request.method_mut() = Method::OPTIONS;
        let headers = request.headers_mut();
        headers.insert("origin", HeaderValue::from_static("https://app.example"));
        let method = HeaderValue::from_static("POST");
        headers.insert("access-control-request-method", method);
        request
    };
    assert_eq!(attempt(&passing, preflight()).await, "200", "control");
    let without = |name: &str| {
        let mut request = preflight();
        request.headers_mut().remove(name);
        request
    };
    let mut get = preflight();
    *get.method_mut() = Method::GET;
    let mut overridden = request(None);
    overridden
        .headers_mut()
        .extend(preflight().headers().clone());
    let options = HeaderValue::from_static("OPTIONS");
    overridden
        .headers_mut()
        .insert("x-http-method-override", options);
    for (id, request) in [
        (
            "options-that-ask-for-no-method",
            without("access-control-request-method"),
        ),
        ("get-dressed-as-a-preflight", get),
        ("preflight-by-method-override", overridden),
    ] {
        board.row(id, attempt(&passing, request).await);
    }
    let mut bad = preflight();
    let value = HeaderValue::from_static("Bearer a.b.c");
    bad.headers_mut().insert("authorization", value);
    board.row("preflight-with-a-bad-token", attempt(&passing, bad).await);
    let half = (
        site.auth.clone().pass_cors_preflight(),
        RequireRoleLayer::any(["admin"]),
    );
    board.row(
        "preflight-into-a-route-with-a-rule",
        attempt(&stack(half), preflight()).await,
    );
}

async fn protocols(board: &mut Board, site: &Site) {
    let stack = site.stack().await;
    let mut grpc = request(None);
    let content_type = HeaderValue::from_static("application/grpc");
    grpc.headers_mut().insert("content-type", content_type);
    let answer = send(&stack, grpc).await;
    let status = answer.headers["grpc-status"].to_str().unwrap();
    assert!(answer.body.is_empty(), "the handler was reached");
    let outcome = format!("{} grpc-status {status}", answer.status.as_u16());
    board.row("plain-client-that-says-grpc", outcome);

    let mut planted: Request<_> = request(None);
    planted.extensions_mut().insert(Caller::Anonymous);
    board.row(
        "caller-planted-by-somebody-else",
        attempt(&stack, planted).await,
    );

    let mut named = request(None);
    let host = HeaderValue::from_static("\"evil.example\"");
    named.headers_mut().insert("host", host);
    let answer = send(&stack, named).await;
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    board.row(
        "host-that-wants-into-the-challenge",
        format!("401 {challenge}"),
    );
}
