//! The access log: one line and one metric per request, written when the response has been sent or
//! the client has disconnected.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, Method};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use portcullis::client_address::ClientAddress;
use portcullis::{DecisionLog, Identity, Rejection};
use tokio::time::Instant;

use crate::gateway::Gateway;

/// The access-log record of a request; written on drop.
pub(crate) struct Entry {
    gateway: Arc<Gateway>,
    decisions: DecisionLog,
    started: Instant,
    method: Method,
    client: ClientAddress,
    id: String,
    pub(crate) route: Option<Arc<str>>,
    /// `None` until there is a response.
    status: Option<u16>,
    code: Option<&'static str>,
    bytes: u64,
}

/// A response body that finishes its record when it ends.
struct LoggedBody {
    body: Body,
    entry: Entry,
}

// === impl Entry ===

impl Entry {
    /// Starts a record and lets the layers below add their decisions to it.
    pub(crate) fn begin(
        gateway: Arc<Gateway>,
        client: ClientAddress,
        request: &mut Request,
    ) -> Self {
        let decisions = DecisionLog::default();
        if is_logged() {
            request.extensions_mut().insert(decisions.clone());
        }
        Self {
            gateway,
            decisions,
            started: Instant::now(),
            method: request.method().clone(),
            client,
            id: request_id(request),
            route: None,
            status: None,
            code: None,
            bytes: 0,
        }
    }

    /// Finishes the record when the response body ends.
    pub(crate) fn end_with(mut self, response: Response) -> Response {
        self.status = Some(response.status().as_u16());
        let rejection = response.extensions().get::<Rejection>();
        self.code = rejection.map(|rejection| rejection.reason().code());
        let id = HeaderValue::from_str(&self.id).ok();
        let mut response = response.map(|body| Body::new(LoggedBody { body, entry: self }));
        if let Some(id) = id {
            response.headers_mut().insert("x-request-id", id);
        }
        response
    }

    /// The caller, and `policy=event` for each decision with the code of a rejection, in the order
    /// of the layers.
    fn decisions(&self) -> (Option<Identity>, String) {
        let mut caller = None;
        let mut list = Vec::new();
        for record in self.decisions.records() {
            let mut text = format!("{}={}", record.policy, record.event);
            if let Some(reason) = record.reason {
                text = format!("{text}:{}", reason.code());
            }
            list.push(text);
            caller = record.caller.or(caller);
        }
        (caller, list.join(" "))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        let route = self.route.as_deref().unwrap_or("none").to_owned();
        // A client that disconnects before the response has a separate status.
        let status = self
            .status
            .map_or_else(|| "gone".to_owned(), |status| status.to_string());
        metrics::counter!(
            "gateway_requests_total",
            "route" => route.clone(), "method" => known(&self.method), "status" => status,
        )
        .increment(1);
        metrics::histogram!("gateway_request_duration_seconds", "route" => route).record(elapsed);
        if !is_logged() {
            return;
        }
        let (caller, decisions) = self.decisions();
        let caller = caller.as_ref();
        tracing::info!(
            target: "access",
            method = known(&self.method),
            route = self.route.as_deref(),
            status = self.status,
            code = self.code,
            duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            bytes = self.bytes,
            client = %self.client,
            issuer = caller.map(Identity::issuer),
            user = caller.map(Identity::pseudonym),
            consumer = caller.and_then(|caller| self.gateway.consumers.name(caller)),
            request_id = self.id,
            decisions,
        );
    }
}

impl HttpBody for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.entry.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Skips the line if its level is disabled: formatting it costs as much as all layers together.
fn is_logged() -> bool {
    tracing::enabled!(target: "access", tracing::Level::INFO)
}

/// Metric labels live forever and clients can invent methods, so unknown methods share one label.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 8] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
    ];
    let known = KNOWN.into_iter().find(|known| *known == method.as_str());
    known.unwrap_or("other")
}

/// Keeps the client's request ID if it is plain, so that one ID follows a request through all
/// services. Otherwise generates one.
fn request_id(request: &mut Request) -> String {
    use std::hash::{BuildHasher, RandomState};
    const NAME: &str = "x-request-id";

    let headers = request.headers_mut();
    let is_plain = |id: &&str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=64).contains(&id.len()) && id.bytes().all(is_plain)
    };
    let own = headers.get(NAME).and_then(|id| id.to_str().ok());
    // Every `RandomState` has different keys.
    let new = || format!("{:016x}", RandomState::new().hash_one(NAME));
    let id = own.filter(is_plain).map_or_else(new, str::to_owned);
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(NAME, value);
    }
    id
}
