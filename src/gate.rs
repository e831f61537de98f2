//! The service that all deciding layers share: authentication, authorization, rate limits and
//! identity headers.
//!
//! 1. The gate reads the request and admits it, rejects it, or waits (for keys, for a store).
//! 2. An admitted request calls the inner service that was polled ready: no clone, no box.
//! 3. Before a wait and after a rejection, the gate gives back the readiness of the inner service,
//!    so that neither waiting nor rejected requests hold a permit of an inner concurrency limit.
//! 4. After a wait the gate decides again, and only then is an inner service driven to readiness.
//! 5. Every decision is reported here, once, and every rejection is rendered here.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use crate::body::{BodyGuard, ResponseBody};
use crate::caller_scope::{CallerScope, Entered};
use crate::observe::{self, Description, RequestView, Stopwatch};
use crate::protocol::Protocol;
use crate::rejection::Rejection;
use crate::stage::Stage;

/// A decision about requests. It must be cheap to clone: each waiting request keeps a clone.
pub(crate) trait Gate: Clone {
    /// The stage that decides, for events and rejections.
    const STAGE: Stage;
    /// Whether every decision is timed.
    const TIMED: bool;
    /// What is kept of an admitted request for its response.
    type Admitted: Admitted;
    /// The result of a wait.
    type Answer;

    /// Decides. `watch` was started immediately before this call.
    fn begin<B>(&self, request: &mut Request<B>, watch: Stopwatch) -> Begin<Self>;

    /// Decides again, after the wait that `begin` asked for.
    fn finish<B>(
        &self,
        answer: Self::Answer,
        request: &mut Request<B>,
    ) -> Result<Self::Admitted, Rejection>;

    /// What is kept of a request that passes because its rejection is only reported.
    fn passed(&self) -> Option<Self::Admitted> {
        None
    }

    /// Describes a decision for metrics and events.
    fn describe<'a>(
        &'a self,
        verdict: Result<&'a Self::Admitted, &'a Rejection>,
    ) -> Description<'a>;
}

/// What a gate keeps of an admitted request.
pub(crate) trait Admitted: Sized {
    /// The scope in which the inner service runs.
    fn scope(&mut self) -> Option<&mut CallerScope> {
        None
    }

    /// The value that the response body holds until it ends.
    fn body_guard(&mut self) -> Option<BodyGuard> {
        None
    }

    /// Reads the response of the inner service, or adds headers to it.
    fn on_response<R>(self, _response: &mut Response<R>) {}
}

/// The future that a gate waits for, boxed because it outlives the call.
pub(crate) type Wait<A> = Pin<Box<dyn Future<Output = A> + Send>>;

/// The first decision about a request.
pub(crate) enum Begin<G: Gate> {
    Admit(G::Admitted),
    Wait(Wait<G::Answer>),
    Reject(Rejection),
}

/// An inner service behind a gate.
#[derive(Clone, Debug)]
pub(crate) struct Gated<G, S> {
    gate: Option<G>,
    inner: S,
}

pin_project! {
    /// The response of a gated service.
    pub(crate) struct GateFuture<G: Gate, S: Service<Request<B>>, B> {
        #[pin]
        state: State<G, S, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<G: Gate, S: Service<Request<B>>, B> {
        Called { #[pin] future: S::Future, admitted: Option<G::Admitted> },
        Rejected { rejection: Option<Rejection> },
        Waiting { waiting: Pin<Box<Waiting<G, S, B>>> },
    }
}

pin_project! {
    struct Waiting<G: Gate, S: Service<Request<B>>, B> {
        gate: G,
        // Until the gate has decided.
        wait: Option<Wait<G::Answer>>,
        watch: Stopwatch,
        inner: S,
        // Until the inner service is called.
        request: Option<Request<B>>,
        admitted: Option<G::Admitted>,
        #[pin]
        called: Option<S::Future>,
    }
}

// === impl Gated ===

impl<G, S> Gated<G, S> {
    /// Without a gate, every request passes unchanged: the layer is switched off.
    pub(crate) fn new(gate: Option<G>, inner: S) -> Self {
        Self { gate, inner }
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.inner
    }

    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    pub(crate) fn into_inner(self) -> S {
        self.inner
    }
}

impl<G, S, B, R> Service<Request<B>> for Gated<G, S>
where
    G: Gate,
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = GateFuture<G, S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Some(gate) = &self.gate else {
            return GateFuture::called(self.inner.call(request), None);
        };
        let watch = Stopwatch::start(G::TIMED, request.extensions());
        match gate.begin(&mut request, watch) {
            Begin::Admit(admitted) => {
                report_admitted(gate, &request, &admitted, watch);
                let mut admitted = Some(admitted);
                let entered = enter(&mut admitted);
                let future = self.inner.call(request);
                drop(entered);
                GateFuture::called(future, admitted)
            }
            Begin::Reject(rejection) => match report_rejected(gate, &request, rejection, watch) {
                None => {
                    let mut passed = gate.passed();
                    let entered = enter(&mut passed);
                    let future = self.inner.call(request);
                    drop(entered);
                    GateFuture::called(future, passed)
                }
                Some(rejection) => {
                    give_readiness_back(&mut self.inner);
                    GateFuture::rejected(rejection)
                }
            },
            Begin::Wait(wait) => {
                give_readiness_back(&mut self.inner);
                GateFuture::waiting(Waiting {
                    gate: gate.clone(),
                    wait: Some(wait),
                    watch,
                    inner: self.inner.clone(),
                    request: Some(request),
                    admitted: None,
                    called: None,
                })
            }
        }
    }
}

/// A service that was polled ready may hold a permit for the call. Only dropping it returns the
/// permit.
fn give_readiness_back<S: Clone>(inner: &mut S) {
    *inner = inner.clone();
}

fn report_admitted<G: Gate, B>(
    gate: &G,
    request: &Request<B>,
    admitted: &G::Admitted,
    watch: Stopwatch,
) {
    let description = gate.describe(Ok(admitted));
    observe::report(G::STAGE, description, None, RequestView::of(request), watch);
}

/// Returns the rejection with its stage and the protocol of its request, or `None` if it is only
/// reported and the request passes.
fn report_rejected<G: Gate, B>(
    gate: &G,
    request: &Request<B>,
    rejection: Rejection,
    watch: Stopwatch,
) -> Option<Rejection> {
    let rejection = rejection.at(G::STAGE).answering(Protocol::of(request));
    let description = gate.describe(Err(&rejection));
    let view = RequestView::of(request);
    observe::report(G::STAGE, description, Some(&rejection), view, watch).then_some(rejection)
}

// === impl GateFuture ===

impl<G: Gate, S: Service<Request<B>>, B> GateFuture<G, S, B> {
    fn called(future: S::Future, admitted: Option<G::Admitted>) -> Self {
        let state = State::Called { future, admitted };
        Self { state }
    }

    fn rejected(rejection: Rejection) -> Self {
        let rejection = Some(rejection);
        let state = State::Rejected { rejection };
        Self { state }
    }

    fn waiting(waiting: Waiting<G, S, B>) -> Self {
        let waiting = Box::pin(waiting);
        let state = State::Waiting { waiting };
        Self { state }
    }
}

impl<G, S, B, R> Future for GateFuture<G, S, B>
where
    G: Gate,
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Called { future, admitted } => {
                let entered = enter(admitted);
                let response = ready!(future.poll(cx))?;
                drop(entered);
                Poll::Ready(Ok(finish_response(admitted.take(), response)))
            }
            // Returns `Pending` if it is polled again after it was ready.
            StateProj::Rejected { rejection } => {
                rejection.take().map_or(Poll::Pending, |rejection| {
                    Poll::Ready(Ok(render(rejection)))
                })
            }
            StateProj::Waiting { waiting } => waiting.as_mut().poll(cx),
        }
    }
}

/// Enters the scope in which the inner service runs.
fn enter<A: Admitted>(admitted: &mut Option<A>) -> Option<Entered<'_>> {
    admitted.as_mut()?.scope().map(CallerScope::enter)
}

fn finish_response<A: Admitted, R>(
    admitted: Option<A>,
    mut response: Response<R>,
) -> Response<ResponseBody<R>> {
    let mut guard = None;
    if let Some(mut admitted) = admitted {
        guard = admitted.body_guard();
        admitted.on_response(&mut response);
    }
    response.map(|body| ResponseBody::inner(body, guard))
}

fn render<R>(rejection: Rejection) -> Response<ResponseBody<R>> {
    let protocol = rejection.protocol();
    rejection.render(protocol)
}

// === impl Waiting ===

impl<G, S, B, R> Future for Waiting<G, S, B>
where
    G: Gate,
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let (Some(request), Some(wait)) = (this.request.as_mut(), this.wait.as_mut()) {
            let answer = ready!(wait.as_mut().poll(cx));
            *this.wait = None;
            match this.gate.finish(answer, request) {
                Ok(admitted) => {
                    report_admitted(this.gate, request, &admitted, *this.watch);
                    *this.admitted = Some(admitted);
                }
                Err(rejection) => {
                    let rejection = report_rejected(this.gate, request, rejection, *this.watch);
                    if let Some(rejection) = rejection {
                        *this.request = None;
                        return Poll::Ready(Ok(render(rejection)));
                    }
                    *this.admitted = this.gate.passed();
                }
            }
        }
        if this.request.is_some() {
            ready!(this.inner.poll_ready(cx))?;
            if let Some(request) = this.request.take() {
                let _entered = enter(this.admitted);
                this.called.set(Some(this.inner.call(request)));
            }
        }
        let Some(future) = this.called.as_pin_mut() else {
            return Poll::Pending;
        };
        let entered = enter(this.admitted);
        let response = ready!(future.poll(cx))?;
        drop(entered);
        Poll::Ready(Ok(finish_response(this.admitted.take(), response)))
    }
}

// === impl Admitted ===

/// Leaves the response unchanged.
impl Admitted for () {}

#[cfg(test)]
mod tests;
