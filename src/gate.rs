//! The one service behind the layers that decide: authentication, authorization and rate limits.
//!
//! 1. A gate looks at the request and passes it, refuses it, or asks to wait (for a key, for a store).
//! 2. *Pass* calls the inner service that was polled ready: no clone, no box.
//! 3. *Refuse* and *wait* give the inner service's readiness back first, so that neither strangers who wait nor
//!    connections that were refused hold a permit of a concurrency limit below.
//! 4. After a wait the gate decides once more, and only then is an inner service driven to readiness.
//! 5. Every decision is reported here, once, and every refusal becomes a response here.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use crate::answer::{Hold, ResponseBody};
use crate::observe::{self, CachedMetrics, Decision, RequestView, Stopwatch};
use crate::protocol::Protocol;
use crate::rejection::{Reason, Rejection};

/// A decision about requests. A clone must be cheap: one is kept for each request that waits, or whose response is sealed.
pub(crate) trait Gate: Clone {
    /// Whether events always tell how long the decision took.
    const TIMED: bool;
    /// What the gate keeps of a request that passed, for the response.
    type Ticket;
    /// What a wait yields.
    type Answer;

    /// The watch was started just now.
    fn begin<B>(&self, request: &mut Request<B>, watch: Stopwatch) -> Begin<Self>;

    /// Decides once more, after the wait that `begin` asked for.
    fn finish<B>(
        &self,
        answer: Self::Answer,
        request: &mut Request<B>,
    ) -> Result<Self::Ticket, Rejection>;

    /// Whether the response of this request will be sealed.
    fn seals(&self, _ticket: &Self::Ticket) -> bool {
        true
    }

    /// What the response's body takes along until it has ended.
    fn hold(&self, _ticket: &mut Self::Ticket) -> Option<Hold> {
        None
    }

    /// Writes what the client is told on a response of the inner service, or learns from it.
    fn seal<R>(&self, _ticket: Self::Ticket, _response: &mut Response<R>) {}

    /// Whether refusals are reported and then let through.
    fn reports_only(&self) -> bool {
        false
    }

    /// The counter of requests that passed as this one did, so that most need not be described.
    fn tally(&self, _ticket: &Self::Ticket) -> Option<&CachedMetrics> {
        None
    }

    fn describe<'a>(
        &'a self,
        extensions: &'a Extensions,
        verdict: Result<&Self::Ticket, &'a Rejection>,
    ) -> Decision<'a>;
}

/// What a gate waits for. It outlives the request's own stack, hence the box.
pub(crate) type Wait<A> = Pin<Box<dyn Future<Output = A> + Send>>;

/// What a gate says to a request.
pub(crate) enum Begin<G: Gate> {
    Pass(G::Ticket),
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
        Passed { #[pin] future: S::Future, pass: Option<Pass<G>> },
        Refused { rejection: Option<Rejection>, protocol: Protocol },
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
        pass: Option<Pass<G>>,
        #[pin]
        called: Option<S::Future>,
    }
}

/// A gate and what it said, kept for the response.
struct Pass<G: Gate> {
    gate: G,
    ticket: G::Ticket,
}

// === impl Gated ===

impl<G, S> Gated<G, S> {
    /// Without a gate every request passes untouched: a layer that was switched off.
    pub(crate) fn new(gate: Option<G>, inner: S) -> Self {
        Self { gate, inner }
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
            return GateFuture::passed(self.inner.call(request), None);
        };
        let watch = Stopwatch::start(G::TIMED, request.extensions());
        match gate.begin(&mut request, watch) {
            Begin::Pass(ticket) => {
                report(gate, &request, Ok(&ticket), watch);
                let pass = Pass::of(gate, ticket);
                GateFuture::passed(self.inner.call(request), pass)
            }
            Begin::Reject(rejection) => {
                report(gate, &request, Err(&rejection), watch);
                if lets_through(gate, &rejection) {
                    return GateFuture::passed(self.inner.call(request), None);
                }
                give_readiness_back(&mut self.inner);
                GateFuture::refused(rejection, Protocol::of(&request))
            }
            Begin::Wait(wait) => {
                give_readiness_back(&mut self.inner);
                GateFuture::waiting(Waiting {
                    gate: gate.clone(),
                    wait: Some(wait),
                    watch,
                    inner: self.inner.clone(),
                    request: Some(request),
                    pass: None,
                    called: None,
                })
            }
        }
    }
}

/// A service that was polled ready may hold a permit for the call; dropping it is the only way to return that.
fn give_readiness_back<S: Clone>(inner: &mut S) {
    *inner = inner.clone();
}

fn report<G: Gate, B>(
    gate: &G,
    request: &Request<B>,
    verdict: Result<&G::Ticket, &Rejection>,
    watch: Stopwatch,
) {
    let tally = verdict.ok().and_then(|ticket| gate.tally(ticket));
    if tally.is_some_and(|tally| observe::count_again(tally, watch)) {
        return;
    }
    let decision = gate.describe(request.extensions(), verdict);
    observe::report(&decision, RequestView::of(request), watch);
}

// === impl Pass ===

impl<G: Gate> Pass<G> {
    /// Nothing where the response is left as it is: the gates' counts of clones are shared by all processors.
    fn of(gate: &G, ticket: G::Ticket) -> Option<Self> {
        gate.seals(&ticket).then(|| Self {
            gate: gate.clone(),
            ticket,
        })
    }
}

/// A misconfiguration is never let through: nothing was decided.
fn lets_through<G: Gate>(gate: &G, rejection: &Rejection) -> bool {
    gate.reports_only() && rejection.reason() != Reason::NotConfigured
}

// === impl GateFuture ===

impl<G: Gate, S: Service<Request<B>>, B> GateFuture<G, S, B> {
    fn passed(future: S::Future, pass: Option<Pass<G>>) -> Self {
        let state = State::Passed { future, pass };
        Self { state }
    }

    fn refused(rejection: Rejection, protocol: Protocol) -> Self {
        let rejection = Some(rejection);
        let state = State::Refused {
            rejection,
            protocol,
        };
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
            StateProj::Passed { future, pass } => {
                let response = ready!(future.poll(cx))?;
                Poll::Ready(Ok(seal(pass.take(), response)))
            }
            // Polled again after it was ready, it stays pending.
            StateProj::Refused {
                rejection,
                protocol,
            } => rejection.take().map_or(Poll::Pending, |rejection| {
                Poll::Ready(Ok(rejection.into_response(*protocol)))
            }),
            StateProj::Waiting { waiting } => waiting.as_mut().poll(cx),
        }
    }
}

fn seal<G: Gate, R>(pass: Option<Pass<G>>, mut response: Response<R>) -> Response<ResponseBody<R>> {
    let mut held = None;
    if let Some(Pass { gate, mut ticket }) = pass {
        held = gate.hold(&mut ticket);
        gate.seal(ticket, &mut response);
    }
    response.map(|body| ResponseBody::inner(body, held))
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
            let verdict = this.gate.finish(answer, request);
            report(this.gate, request, verdict.as_ref(), *this.watch);
            match verdict {
                Ok(ticket) => *this.pass = Pass::of(this.gate, ticket),
                Err(rejection) if lets_through(this.gate, &rejection) => {}
                Err(rejection) => {
                    let protocol = Protocol::of(request);
                    *this.request = None;
                    return Poll::Ready(Ok(rejection.into_response(protocol)));
                }
            }
        }
        if this.request.is_some() {
            ready!(this.inner.poll_ready(cx))?;
            if let Some(request) = this.request.take() {
                this.called.set(Some(this.inner.call(request)));
            }
        }
        let Some(future) = this.called.as_pin_mut() else {
            return Poll::Pending;
        };
        let response = ready!(future.poll(cx))?;
        Poll::Ready(Ok(seal(this.pass.take(), response)))
    }
}

/// The public service of a layer: a name over [`Gated`], and a response future that says nothing of its making.
///
/// A third name puts a service of one argument between the gate and the inner service.
macro_rules! gated_service {
    ($(#[$doc:meta])* $Service:ident, $Gate:ty) => {
        $crate::gate::gated_service! { $(#[$doc])* $Service, $Gate, S, S, |inner| inner }
    };
    ($(#[$doc:meta])* $Service:ident, $Gate:ty, $Between:ident) => {
        $crate::gate::gated_service! { $(#[$doc])* $Service, $Gate, S, $Between<S>, $Between::new }
    };
    ($(#[$doc:meta])* $Service:ident, $Gate:ty, $S:ident, $Inner:ty, $between:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $Service<$S> {
            gated: $crate::gate::Gated<$Gate, $Inner>,
        }

        pin_project_lite::pin_project! {
            #[doc = concat!("The response of [`", stringify!($Service), "`].")]
            pub struct ResponseFuture<$S: tower::Service<http::Request<B>>, B> {
                #[pin]
                future: $crate::gate::GateFuture<$Gate, $Inner, B>,
            }
        }

        impl<$S> $Service<$S> {
            pub(super) fn new(gate: Option<$Gate>, inner: $S) -> Self {
                let between: fn($S) -> $Inner = $between;
                let gated = $crate::gate::Gated::new(gate, between(inner));
                Self { gated }
            }
        }

        impl<$S, B, R> tower::Service<http::Request<B>> for $Service<$S>
        where
            $S: tower::Service<http::Request<B>, Response = http::Response<R>> + Clone,
        {
            type Response = http::Response<$crate::answer::ResponseBody<R>>;
            type Error = $S::Error;
            type Future = ResponseFuture<$S, B>;

            fn poll_ready(
                &mut self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), $S::Error>> {
                self.gated.poll_ready(cx)
            }

            fn call(&mut self, request: http::Request<B>) -> Self::Future {
                let future = self.gated.call(request);
                ResponseFuture { future }
            }
        }

        impl<$S, B, R> std::future::Future for ResponseFuture<$S, B>
        where
            $S: tower::Service<http::Request<B>, Response = http::Response<R>>,
        {
            type Output = Result<http::Response<$crate::answer::ResponseBody<R>>, $S::Error>;

            fn poll(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Self::Output> {
                self.project().future.poll(cx)
            }
        }

        impl<$S: tower::Service<http::Request<B>>, B> std::fmt::Debug for ResponseFuture<$S, B> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct("ResponseFuture").finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use gated_service;

#[cfg(test)]
mod tests;
