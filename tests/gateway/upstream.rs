//! An upstream service that counts requests and behaves as its header `x-do` requests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

#[derive(Clone)]
pub(crate) struct Upstream {
    name: &'static str,
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Requests that arrived.
    hits: AtomicUsize,
    /// Requests whose body arrived completely.
    whole: AtomicUsize,
}

// === impl Upstream ===

impl Upstream {
    pub(crate) async fn start(name: &'static str) -> Self {
        // A thousand connections may arrive at once.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(4096).unwrap();
        let upstream = Self {
            name,
            address: listener.local_addr().unwrap(),
            counts: Arc::default(),
        };
        let router = upstream.router();
        tokio::spawn(axum::serve(listener, router).into_future());
        upstream
    }

    pub(crate) fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn hits(&self) -> usize {
        self.counts.hits.load(Ordering::SeqCst)
    }

    pub(crate) fn whole(&self) -> usize {
        self.counts.whole.load(Ordering::SeqCst)
    }
}

/// `x-do` selects the response: `echo` the body, `send` a number of megabytes, `sleep` a number of
/// milliseconds, `redirect`. By default the response describes the request.
async fn answer(State(upstream): State<Upstream>, request: Request) -> Response {
    upstream.counts.hits.fetch_add(1, Ordering::SeqCst);
    let wanted = request.headers().get("x-do").cloned();
    let wanted = wanted
        .as_ref()
        .map_or("", |wanted| wanted.to_str().unwrap());
    match wanted.split_once(' ').unwrap_or((wanted, "")) {
        ("echo", _) => return Response::new(request.into_body()),
        ("send", megabytes) => {
            let chunk = Bytes::from(vec![7; 64 * 1024]);
            let chunks = stream::iter(vec![chunk; megabytes.parse::<usize>().unwrap() * 16]);
            return Response::new(Body::from_stream(chunks.map(Ok::<_, Infallible>)));
        }
        ("redirect", _) => {
            return (axum::http::StatusCode::FOUND, [(LOCATION, "/elsewhere")]).into_response();
        }
        ("sleep", time) => tokio::time::sleep(Duration::from_millis(time.parse().unwrap())).await,
        _ => {}
    }
    let headers = request.headers().iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        json!([name.as_str(), value])
    });
    let received = json!({
        "service": upstream.name,
        "method": request.method().as_str(),
        "target": request.uri().path_and_query().unwrap().as_str(),
        "version": format!("{:?}", request.version()),
        "headers": headers.collect::<Vec<_>>(),
    });
    if to_bytes(request.into_body(), usize::MAX).await.is_ok() {
        upstream.counts.whole.fetch_add(1, Ordering::SeqCst);
    }
    Response::new(Body::from(received.to_string()))
}

/// A header of a request, as the upstream received it.
pub(crate) fn header<'t>(received: &'t Value, name: &str) -> Option<&'t str> {
    let mut headers = received["headers"].as_array().unwrap().iter();
    headers.find(|header| header[0] == name)?[1].as_str()
}

/// The request that the upstream received.
pub(crate) async fn received(answer: reqwest::Response) -> reqwest::Result<Value> {
    Ok(serde_json::from_slice(&answer.bytes().await?).unwrap())
}
