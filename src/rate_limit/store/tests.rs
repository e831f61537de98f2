//! Requests through a limit whose states are in a shared store.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Mutex;

use http::{Request, Response};
use tokio::sync::oneshot;
use tokio_test::task;
use tower::{Layer, ServiceExt, service_fn};

use super::*;
use crate::body::ResponseBody;
use crate::client_address::PeerAddr;
use crate::clock::ManualClock;
use crate::rate_limit::memory::Memory;
use crate::rate_limit::{Quota, RateLimitLayer};
use crate::rejection::{Reason, Rejection};

/// Counts in memory, and answers on demand.
#[derive(Debug)]
struct Slow {
    states: Memory,
    knows: bool,
    questions: Mutex<Vec<oneshot::Sender<Option<()>>>>,
}

impl Store for Slow {
    fn try_local(&self, check: &Check<'_>) -> Option<Outcome> {
        self.knows.then(|| self.states.decide(check))
    }

    fn ask(&self, check: &Check<'_>) -> OutcomeFuture {
        let (tell, told) = oneshot::channel();
        self.questions.lock().unwrap().push(tell);
        let verdicts = self.states.decide(check).verdicts;
        Box::pin(async move {
            told.await.ok().flatten().ok_or(StoreError)?;
            let source = Source::Exact;
            Ok(Outcome { verdicts, source })
        })
    }

    fn charge(&self, check: &Check<'_>) {
        self.states.charge(check);
    }
}

impl Slow {
    fn new(knows: bool) -> Arc<Self> {
        Arc::new(Self {
            states: Memory::new(Memory::DEFAULT_KEYS),
            knows,
            questions: Mutex::default(),
        })
    }

    fn answer(&self, answer: Option<()>) {
        let question = self.questions.lock().unwrap().pop().unwrap();
        let _ = question.send(answer);
    }
}

fn layer(store: &Arc<Slow>, quota: Quota) -> RateLimitLayer {
    let store = Arc::clone(store);
    let layer = RateLimitLayer::new(quota).clock(ManualClock::at(1_800_000_000));
    layer.with_store(store, b"0123456789abcdef")
}

fn request() -> Request<()> {
    let mut request = Request::new(());
    let peer = PeerAddr("203.0.113.7:1".parse().unwrap());
    request.extensions_mut().insert(peer);
    request
}

type Answer = Result<Response<ResponseBody<String>>, Infallible>;

fn send(layer: &RateLimitLayer) -> impl Future<Output = Answer> + use<> {
    let hello = service_fn(|_: Request<()>| ready(Ok(Response::new(String::from("hello")))));
    layer.layer(hello).oneshot(request())
}

#[tokio::test]
async fn local_decisions_are_immediate() {
    let store = Slow::new(true);
    let layer = layer(&store, Quota::per_minute(1));
    assert_eq!(send(&layer).await.unwrap().status(), 200);
    assert_eq!(send(&layer).await.unwrap().status(), 429);
    assert!(store.questions.lock().unwrap().is_empty());
}

#[test]
fn request_waits_if_not_decided_locally() {
    let store = Slow::new(false);
    let layer = layer(&store, Quota::per_minute(1)).also("daily", Quota::per_day(5));
    let layer = layer.unwrap();
    for (status, left) in [
        (200, r#""default";r=0;t=60,"daily";r=4;t=17280"#),
        (429, r#""default";r=0;t=60,"daily";r=4;t=17280"#),
    ] {
        let mut asked = task::spawn(send(&layer));
        assert!(asked.poll().is_pending());
        store.answer(Some(()));
        assert!(asked.is_woken());
        let response = tokio_test::assert_ready!(asked.poll()).unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["ratelimit"], left);
    }
}

#[test]
fn a_silent_store_is_503() {
    let store = Slow::new(false);
    let layer = layer(&store, Quota::per_minute(1)).max_in_flight(NonZeroU32::MIN);
    for _ in 0..2 {
        let mut asked = task::spawn(send(&layer));
        assert!(asked.poll().is_pending());
        store.answer(None);
        let response = tokio_test::assert_ready!(asked.poll()).unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert_eq!(rejection.reason(), Reason::StoreUnavailable);
        assert_eq!(rejection.details().unwrap().source, Some("closed"));
    }
}

#[test]
fn a_waiting_request_is_in_flight() {
    let store = Slow::new(false);
    let layer = layer(&store, Quota::per_minute(9)).max_in_flight(NonZeroU32::MIN);
    let mut asked = task::spawn(send(&layer));
    assert!(asked.poll().is_pending());
    let refused = tokio_test::assert_ready!(task::spawn(send(&layer)).poll()).unwrap();
    assert_eq!(refused.status(), 429);
    // The client goes away.
    drop(asked);
    let mut asked = task::spawn(send(&layer));
    assert!(asked.poll().is_pending());
    store.answer(Some(()));
    let response = tokio_test::assert_ready!(asked.poll()).unwrap();
    assert_eq!(response.status(), 200);
    assert!(
        tokio_test::assert_ready!(task::spawn(send(&layer)).poll())
            .unwrap()
            .status()
            == 429
    );
    drop(response);
    assert!(task::spawn(send(&layer)).poll().is_pending());
}

#[test]
fn the_cost_of_a_response_is_charged() {
    let store = Slow::new(true);
    let layer = layer(&store, Quota::per_minute(5)).charge_after(|_, _| 5);
    let once = || tokio_test::assert_ready!(task::spawn(send(&layer)).poll()).unwrap();
    assert_eq!(once().headers()["ratelimit"], r#""default";r=0;t=12"#);
    assert_eq!(once().status(), 429);
}
