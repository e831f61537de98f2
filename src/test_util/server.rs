//! What the issuer answers, and the faults it was told to have.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::issue::KeyRing;

/// Shared by the issuer's handles and the tasks that answer.
pub(super) struct Server {
    pub(super) issuer: String,
    pub(super) jwks_uri: String,
    pub(super) ring: KeyRing,
    pub(super) held: watch::Sender<bool>,
    pub(super) fetches: watch::Sender<usize>,
    pub(super) discoveries: watch::Sender<usize>,
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
    /// Serves until the sender drops.
    pub(super) async fn start(ring: KeyRing) -> io::Result<(Arc<Self>, oneshot::Sender<()>)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let server = Arc::new(Self {
            jwks_uri: format!("{issuer}/jwks.json"),
            issuer,
            ring,
            held: watch::Sender::new(false),
            fetches: watch::Sender::new(0),
            discoveries: watch::Sender::new(0),
            faults: Mutex::default(),
        });

        let (stop, stopped) = oneshot::channel();
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks.json", get(jwks))
            .with_state(Arc::clone(&server));
        // Graceful, so that a client's idle connection is closed too, not only the listener.
        let serve = axum::serve(listener, router).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        tokio::spawn(serve.into_future());
        Ok((server, stop))
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The faults are read after the wait: what counts is how the issuer fares when it answers.
    async fn answer(
        &self,
        asked: &watch::Sender<usize>,
        body: impl FnOnce(&Faults) -> Bytes,
    ) -> Response<axum::body::Body> {
        asked.send_modify(|count| *count += 1);
        let mut held = self.held.subscribe();
        let _ = held.wait_for(|held| !held).await;

        let faults = self.faults().clone();
        let mut response = Response::new(axum::body::Body::empty());
        if let Some(status) = faults.status {
            *response.status_mut() = status;
            return response;
        }
        *response.body_mut() = body(&faults).into();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(value) = faults.cache_control {
            headers.insert(CACHE_CONTROL, value);
        }
        response
    }
}

async fn discovery(State(server): State<Arc<Server>>) -> Response<axum::body::Body> {
    let document = serde_json::json!({ "issuer": server.issuer, "jwks_uri": server.jwks_uri });
    let body = |faults: &Faults| {
        faults
            .discovery
            .clone()
            .unwrap_or(document.to_string().into())
    };
    server.answer(&server.discoveries, body).await
}

async fn jwks(State(server): State<Arc<Server>>) -> Response<axum::body::Body> {
    let body = |faults: &Faults| match &faults.jwks {
        Some(raw) => raw.clone(),
        None => server.ring.jwks().into(),
    };
    server.answer(&server.fetches, body).await
}
