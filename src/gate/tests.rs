use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::Notify;
use tokio_test::{assert_pending, assert_ready_ok};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_test::mock;

use super::*;
use crate::rejection::Reason;
use crate::stage::Stage;

/// Decides by the `x-gate` header: admit, `wait` for the notification, `reject`, `wait-reject`.
#[derive(Clone, Default)]
struct Scripted {
    released: Arc<Notify>,
    responses: Arc<AtomicUsize>,
}

struct Ticket {
    number: u64,
    responses: Arc<AtomicUsize>,
}

impl Scripted {
    fn ticket(&self, number: u64) -> Ticket {
        let responses = Arc::clone(&self.responses);
        Ticket { number, responses }
    }
}

impl Admitted for Ticket {
    fn on_response<R>(self, response: &mut Response<R>) {
        self.responses.fetch_add(1, Ordering::Relaxed);
        response
            .headers_mut()
            .insert("x-ticket", self.number.into());
    }
}

impl Gate for Scripted {
    const STAGE: Stage = Stage::Authorization;
    const TIMED: bool = true;
    type Admitted = Ticket;
    type Answer = ();

    fn begin<B>(&self, request: &mut Request<B>, _: Stopwatch) -> Begin<Self> {
        match request.headers().get("x-gate").map(|v| v.as_bytes()) {
            None => Begin::Admit(self.ticket(7)),
            Some(b"reject") => Begin::Reject(Reason::Expired.into()),
            Some(_) => {
                let released = Arc::clone(&self.released);
                Begin::Wait(Box::pin(async move { released.notified().await }))
            }
        }
    }

    fn finish<B>(&self, (): (), request: &mut Request<B>) -> Result<Ticket, Rejection> {
        match request.headers()["x-gate"].as_bytes() {
            b"wait" => Ok(self.ticket(8)),
            _ => Err(Reason::UnknownKey.into()),
        }
    }

    fn describe<'a>(&'a self, _: Result<&'a Ticket, &'a Rejection>) -> Description<'a> {
        Description {
            policy: "test",
            mode: "enforce",
            rule: None,
            source: "",
            has_caller: true,
            metrics: None,
        }
    }
}

#[derive(Clone)]
struct ScriptedLayer(Scripted, bool);

impl<S> Layer<S> for ScriptedLayer {
    type Service = Gated<Scripted, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated::new(self.1.then(|| self.0.clone()), inner)
    }
}

fn request(script: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    if !script.is_empty() {
        request
            .headers_mut()
            .insert("x-gate", script.parse().unwrap());
    }
    request
}

async fn ok(_: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("inner")))
}

#[tokio::test]
async fn calls_the_instance_that_was_polled_ready() {
    type Inner = mock::Mock<Request<Empty<Bytes>>, Response<Full<Bytes>>>;
    let layer = ScriptedLayer(Scripted::default(), true);
    let (mut gate, mut handle) = mock::spawn_with(|inner: Inner| layer.layer(inner));
    handle.allow(1);
    assert_ready_ok!(gate.poll_ready());
    // A clone of the mock would panic here, because only the original was polled ready.
    let mut response = tokio_test::task::spawn(gate.call(request("")));
    assert_pending!(response.poll());
    let (_, send) = handle.next_request().await.unwrap();
    send.send_response(Response::new(Full::from("inner")));
    assert_ready_ok!(response.poll());
    assert_pending!(gate.poll_ready());
}

#[tokio::test]
async fn waiting_request_holds_no_inner_permit() {
    let gate = Scripted::default();
    let service = ServiceBuilder::new()
        .layer(ScriptedLayer(gate.clone(), true))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(ok));

    // Each instance stays alive, as that of a connection does while its request waits.
    let mut clients: Vec<_> = (0..10).map(|_| service.clone()).collect();
    let mut waiting = Vec::new();
    for client in &mut clients {
        let future = client.ready().await.unwrap().call(request("wait"));
        waiting.push(tokio::spawn(future));
    }
    tokio::task::yield_now().await;

    let other = service.clone().oneshot(request(""));
    let other = tokio::time::timeout(Duration::from_secs(5), other).await;
    assert_eq!(other.unwrap().unwrap().headers()["x-ticket"], "7");

    for task in waiting {
        gate.released.notify_one();
        let response = task.await.unwrap().unwrap();
        assert_eq!(response.headers()["x-ticket"], "8");
    }
}

#[tokio::test]
async fn rejected_request_gives_its_permit_back() {
    let service = ServiceBuilder::new()
        .layer(ScriptedLayer(Scripted::default(), true))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(ok));
    let mut client = service.clone();
    let rejected = client.ready().await.unwrap().call(request("reject"));
    assert_eq!(rejected.await.unwrap().status(), 401);
    let other = tokio::time::timeout(Duration::from_secs(5), service.oneshot(request("")));
    assert_eq!(other.await.unwrap().unwrap().status(), 200);
    drop(client);
}

#[tokio::test]
async fn rejection_after_wait_skips_inner_service() {
    let gate = Scripted::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = ScriptedLayer(gate.clone(), true).layer(service_fn(move |request| {
        counted.fetch_add(1, Ordering::Relaxed);
        ok(request)
    }));
    gate.released.notify_one();
    let response = service.oneshot(request("wait-reject")).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    assert_eq!(gate.responses.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn dropped_wait_leaves_service_usable() {
    let gate = Scripted::default();
    let service = ServiceBuilder::new()
        .layer(ScriptedLayer(gate.clone(), true))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(ok));
    drop(service.clone().oneshot(request("wait")));
    assert_eq!(service.oneshot(request("")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn disabled_gate_passes_everything_unchanged() {
    let layer = ScriptedLayer(Scripted::default(), false);
    let response = layer
        .layer(service_fn(ok))
        .oneshot(request("reject"))
        .await
        .unwrap();
    assert!(response.headers().is_empty());
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "inner"
    );
}

#[tokio::test]
async fn inner_error_passes_through() {
    let layer = ScriptedLayer(Scripted::default(), true);
    let service = layer.layer(service_fn(|_: Request<Empty<Bytes>>| async {
        Err::<Response<Full<Bytes>>, _>("broken")
    }));
    assert_eq!(service.oneshot(request("")).await.err(), Some("broken"));
}

#[test]
fn future_is_little_larger_than_inner() {
    fn size_beyond_inner<S>(_: &S) -> usize
    where
        S: Service<Request<Empty<Bytes>>>,
        Gated<Scripted, S>: Service<Request<Empty<Bytes>>>,
    {
        let outer = size_of::<<Gated<Scripted, S> as Service<Request<Empty<Bytes>>>>::Future>();
        outer.saturating_sub(size_of::<S::Future>())
    }
    let small = size_beyond_inner(&service_fn(ok));
    assert!(small <= 64, "{small}");
}
