//! Destinations that must not receive the caller's token.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::response::Redirect;
use axum::routing::any;
use http::{Extensions, HeaderMap, Request, Response};
use http_body_util::BodyExt;
use portcullis::propagate::with_caller;
use portcullis::{Caller, TokenPropagationLayer};
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::board::Board;
use super::site::{Site, attempt, over, request, send, with};

const OWN: &str = "https://orders.internal";

pub(crate) async fn mount(board: &mut Board) {
    let site = Site::open().await;
    let alice = verified(&site).await;
    destinations(board, &alice).await;
    urls(board, &alice).await;
    callers(board, &site, &alice).await;
    redirects(board, &alice).await;
    leaks(board, &site, &alice).await;
}

/// The caller that authentication puts into the extensions.
async fn verified(site: &Site) -> Caller {
    let kept: Arc<Mutex<Option<Extensions>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let service = site.auth.layer(service_fn(move |request: Request<Body>| {
        *keep.lock().unwrap() = Some(request.extensions().clone());
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    }));
    let token = site.issuer.token("alice").sign();
    service.oneshot(request(Some(&token))).await.unwrap();
    let extensions = kept.lock().unwrap().take().unwrap();
    extensions.get::<Caller>().unwrap().clone()
}

fn layer() -> TokenPropagationLayer {
    TokenPropagationLayer::forward_to([OWN, "https://stock.internal"]).unwrap()
}

/// Whether the token is sent: `sent`, or `nothing sent`.
async fn leaves(layer: TokenPropagationLayer, request: Request<()>) -> String {
    let client = layer.layer(service_fn(|request: Request<()>| async move {
        Ok::<_, Infallible>(word(request.headers()))
    }));
    client.oneshot(request).await.unwrap()
}

fn word(headers: &HeaderMap) -> String {
    let sent = headers.contains_key("authorization");
    if sent { "sent" } else { "nothing sent" }.to_owned()
}

fn to(uri: &str, caller: &Caller) -> Request<()> {
    let mut request = Request::get(uri).body(()).unwrap();
    request.extensions_mut().insert(caller.clone());
    request
}

async fn destinations(board: &mut Board, alice: &Caller) {
    let good = leaves(layer(), to("https://ORDERS.internal:443/v1", alice)).await;
    assert_eq!(good, "sent", "control");
    for (id, uri) in [
        (
            "host-that-ends-elsewhere",
            "https://orders.internal.evil.example/",
        ),
        ("host-with-a-dot-at-the-end", "https://orders.internal./"),
        (
            "user-information-before-another-host",
            "https://orders.internal@evil.example/",
        ),
        (
            "another-port-of-a-listed-host",
            "https://orders.internal:8443/",
        ),
        ("listed-host-in-clear", "http://orders.internal/"),
        ("path-without-an-origin", "/v1"),
    ] {
        board.row(id, leaves(layer(), to(uri, alice)).await);
    }
    let mut named = to("https://evil.example/", alice);
    let host = "orders.internal".parse().unwrap();
    named.headers_mut().insert("host", host);
    board.row(
        "listed-host-in-the-host-header",
        leaves(layer(), named).await,
    );

    let implied = || layer().for_origin(OWN).unwrap();
    assert_eq!(leaves(implied(), to("/v1", alice)).await, "sent", "control");
    let other = to("https://stock.internal/", alice);
    board.row(
        "other-origin-through-a-client-of-one",
        leaves(implied(), other).await,
    );
}

/// reqwest parses URLs as browsers do.
async fn urls(board: &mut Board, alice: &Caller) {
    let plain = reqwest::Client::new();
    for (id, url) in [
        (
            "host-in-letters-that-look-alike",
            "https://оrders.internal/",
        ),
        (
            "backslash-before-the-listed-host",
            "https://evil.example\\@orders.internal/",
        ),
    ] {
        let client = layer().layer(service_fn(|request: reqwest::Request| async move {
            Ok::<_, Infallible>(word(request.headers()))
        }));
        let request = plain.get(url).build().unwrap();
        let outgoing = with_caller(Some(alice.clone()), client.oneshot(request)).await;
        board.row(id, outgoing.unwrap());
    }
}

async fn callers(board: &mut Board, site: &Site, alice: &Caller) {
    let without_caller = || Request::get(OWN).body(()).unwrap();
    let scoped = |request| with_caller(Some(alice.clone()), leaves(layer(), request));
    assert_eq!(scoped(without_caller()).await, "sent", "control");
    let anonymous = scoped(to(OWN, &Caller::Anonymous)).await;
    board.row("anonymous-request-in-a-callers-task", anonymous);

    let spawned = async {
        tokio::spawn(leaves(layer(), without_caller()))
            .await
            .unwrap()
    };
    let spawned = with_caller(Some(alice.clone()), spawned).await;
    board.row("task-that-outlives-its-caller", spawned);

    // A request without a token, served on the task of another caller.
    let auth = site.auth.clone().optional();
    let service = auth.layer(service_fn(|_: Request<Body>| async {
        let outgoing = leaves(layer(), Request::get(OWN).body(()).unwrap()).await;
        Ok::<_, Infallible>(Response::new(outgoing))
    }));
    let response = with_caller(Some(alice.clone()), service.oneshot(request(None))).await;
    let body = response.unwrap().into_body().collect().await.unwrap();
    board.row(
        "strangers-request-on-a-callers-task",
        std::str::from_utf8(&body.to_bytes()).unwrap(),
    );
}

async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    origin
}

async fn redirects(board: &mut Board, alice: &Caller) {
    let reached: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&reached);
    let evil = any(move |headers: HeaderMap| async move {
        seen.lock().unwrap().push(word(&headers));
    });
    let evil = serve(Router::new().fallback(evil)).await;
    let away = format!("{evil}/");
    let own = any(move || async move { Redirect::temporary(&away) });
    let own = serve(Router::new().fallback(own)).await;

    let layer = TokenPropagationLayer::forward_to([&own]).unwrap();
    let builder = reqwest::Client::builder().no_proxy();
    let mut client = layer.reqwest_client(builder).unwrap();
    let call = async {
        let request = reqwest::Client::new().get(&own).build().unwrap();
        let answer = client.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(answer.status(), 307);
        assert!(
            reached.lock().unwrap().is_empty(),
            "reqwest followed the redirect"
        );
        let next = answer.headers()["location"].to_str().unwrap();
        let next = reqwest::Client::new().get(next).build().unwrap();
        client.ready().await.unwrap().call(next).await.unwrap();
    };
    with_caller(Some(alice.clone()), call).await;
    let outgoing = reached.lock().unwrap().join(" or ");
    board.row("redirect-to-another-origin", outgoing);
}

/// Exposures of the token other than requests.
async fn leaks(board: &mut Board, site: &Site, alice: &Caller) {
    let token = site.issuer.token("alice").sign();
    let auth = site.auth.clone().cookie("__Host-token").unwrap();
    let upstream = over(auth, |request| format!("{:?}", request.headers()));
    let bearer = format!("Bearer {token}");
    let cookie = format!("theme=dark; __Host-token={token}");
    for (id, header) in [
        (
            "token-passed-on-to-the-handler",
            ("authorization", &*bearer),
        ),
        ("cookie-passed-on-to-the-handler", ("cookie", &*cookie)),
    ] {
        assert_eq!(attempt(&upstream, with(&[header])).await, "200", "control");
        let seen = send(&upstream, with(&[header])).await.body;
        let seen = String::from_utf8(seen.to_vec()).unwrap();
        let is_gone = !seen.contains(&token) && seen.contains("theme") == (header.0 == "cookie");
        board.row(id, if is_gone { "removed" } else { "kept" });
    }

    let trial = site.auth.clone().dangerous_query_parameter("access_token");
    let trial = over(
        trial.unwrap().dangerous_report_authentication(),
        |request| request.uri().to_string(),
    );
    let mut disguised = with(&[]);
    let query = format!("/orders?theme=dark&access%5Ftoken={token}");
    *disguised.uri_mut() = query.parse().unwrap();
    let seen = send(&trial, disguised).await.body;
    let outcome = match std::str::from_utf8(&seen).unwrap() {
        "/orders?theme=dark" => "removed",
        other => other,
    };
    board.row("token-in-escapes-passed-on-by-a-trial", outcome);

    let client = layer().layer(service_fn(|request: Request<()>| async move {
        let logged = format!(
            "{:?} {:?}",
            request.headers(),
            request.extensions().get::<Caller>()
        );
        Ok::<_, Infallible>((word(request.headers()), logged))
    }));
    let (sent, logged) = client.oneshot(to(OWN, alice)).await.unwrap();
    assert_eq!(sent, "sent", "control");
    let shown = logged.contains("eyJ") || logged.contains("Bearer");
    board.row(
        "request-written-to-a-log",
        if shown { "shown" } else { "redacted" },
    );
}
