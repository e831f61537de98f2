//! The HTTP server of a test issuer, and its faults.

use std::io;
use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::crypto::sha256;
use crate::issue::KeyRing;
use crate::sync::lock;

/// Shared by the handles of the issuer and the tasks that answer requests.
pub(super) struct Server {
    pub(super) issuer: String,
    pub(super) jwks_uri: String,
    pub(super) ring: KeyRing,
    pub(super) held: watch::Sender<bool>,
    pub(super) fetches: watch::Sender<usize>,
    pub(super) discoveries: watch::Sender<usize>,
    pub(super) not_modified: AtomicUsize,
    faults: Mutex<Faults>,
}

#[derive(Clone, Default)]
pub(super) struct Faults {
    pub(super) status: Option<StatusCode>,
    pub(super) jwks: Option<Bytes>,
    pub(super) discovery: Option<Bytes>,
    pub(super) cache_control: Option<HeaderValue>,
}

// === impl Server ===

impl Server {
    /// A server that does not listen.
    pub(super) fn offline(issuer: String, ring: KeyRing) -> Arc<Self> {
        Arc::new(Self {
            jwks_uri: format!("{issuer}/jwks.json"),
            issuer,
            ring,
            held: watch::Sender::new(false),
            fetches: watch::Sender::new(0),
            discoveries: watch::Sender::new(0),
            not_modified: AtomicUsize::new(0),
            faults: Mutex::default(),
        })
    }

    /// Listens on loopback until the returned sender is dropped.
    pub(super) async fn start(ring: KeyRing) -> io::Result<(Arc<Self>, oneshot::Sender<()>)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let server = Self::offline(format!("http://{}", listener.local_addr()?), ring);

        let (stop, stopped) = oneshot::channel();
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks.json", get(jwks))
            .with_state(Arc::clone(&server));
        // Graceful shutdown closes idle connections too, not only the listener.
        let serve = axum::serve(listener, router).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        tokio::spawn(serve.into_future());
        Ok((server, stop))
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    /// Reads the faults after the wait: those at the time of the answer count.
    async fn answer(
        &self,
        requests: &watch::Sender<usize>,
        request: &HeaderMap,
        body: impl FnOnce(&Faults) -> Bytes,
    ) -> Response<Body> {
        requests.send_modify(|count| *count += 1);
        let mut held = self.held.subscribe();
        let _ = held.wait_for(|held| !held).await;

        let faults = self.faults().clone();
        let mut response = Response::new(Body::empty());
        if let Some(status) = faults.status {
            *response.status_mut() = status;
            return response;
        }
        let body = body(&faults);
        let etag = etag(&body);
        let unchanged = etag.is_some() && request.get(IF_NONE_MATCH) == etag.as_ref();
        let headers = response.headers_mut();
        headers.extend(etag.map(|etag| (ETAG, etag)));
        headers.extend(faults.cache_control.map(|value| (CACHE_CONTROL, value)));
        if unchanged {
            self.not_modified.fetch_add(1, Ordering::Relaxed);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *response.body_mut() = body.into();
        response
    }
}

/// A strong validator (RFC 9110 section 8.8.3): equal bodies have equal tags.
fn etag(body: &[u8]) -> Option<HeaderValue> {
    let hash = URL_SAFE_NO_PAD.encode(sha256(body).as_ref());
    HeaderValue::try_from(format!("\"{hash}\"")).ok()
}

async fn discovery(State(server): State<Arc<Server>>, request: HeaderMap) -> Response<Body> {
    let document = serde_json::json!({ "issuer": server.issuer, "jwks_uri": server.jwks_uri });
    let body = |faults: &Faults| {
        faults
            .discovery
            .clone()
            .unwrap_or(document.to_string().into())
    };
    server.answer(&server.discoveries, &request, body).await
}

async fn jwks(State(server): State<Arc<Server>>, request: HeaderMap) -> Response<Body> {
    let body = |faults: &Faults| match &faults.jwks {
        Some(raw) => raw.clone(),
        None => server.ring.jwks().into(),
    };
    server.answer(&server.fetches, &request, body).await
}
