use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use super::super::scope::Scoped;
use super::owned::Owned;
use crate::answer::ResponseBody;
use crate::gate::{Begin, Gate, GateFuture, Gated};
use crate::identity::Caller;
use crate::observe::{Decision, Stage, Tally};
use crate::rejection::{Reason, Rejection};

/// A service that is told who is calling.
///
/// Made by [`IdentityHeadersLayer`](crate::IdentityHeadersLayer).
#[derive(Clone, Debug)]
pub struct IdentityHeaders<S> {
    gated: Gated<HeadersGate, Scoped<S>>,
}

pin_project! {
    /// The response of an [`IdentityHeaders`] service.
    pub struct ResponseFuture<S: Service<Request<B>>, B> {
        #[pin]
        future: GateFuture<HeadersGate, Scoped<S>, B>,
    }
}

/// Writes the headers, and refuses a caller whom they could not describe.
#[derive(Clone, Debug)]
pub(crate) struct HeadersGate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    owned: Owned,
    set: Tally,
    anonymous: Tally,
}

// === impl IdentityHeaders ===

impl<S> IdentityHeaders<S> {
    pub(crate) fn new(owned: Option<Owned>, inner: S) -> Self {
        let gate = owned.map(HeadersGate::new);
        Self {
            gated: Gated::new(gate, Scoped::new(inner)),
        }
    }
}

impl<S, B, R> Service<Request<B>> for IdentityHeaders<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.gated.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let future = self.gated.call(request);
        ResponseFuture { future }
    }
}

// === impl ResponseFuture ===

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx)
    }
}

// === impl HeadersGate ===

impl HeadersGate {
    fn new(owned: Owned) -> Self {
        Self(Arc::new(Shared {
            owned,
            set: Tally::default(),
            anonymous: Tally::default(),
        }))
    }
}

impl Gate for HeadersGate {
    const TIMED: bool = false;
    type Ticket = ();
    type Answer = Infallible;

    fn begin<B>(&self, request: &mut Request<B>) -> Begin<Self> {
        // The caller is shared, so that the headers can be written while it is read.
        let caller = Caller::of(request.extensions()).cloned();
        let identity = caller.as_ref().and_then(Caller::identity);
        match self.0.owned.rewrite(request.headers_mut(), identity) {
            Ok(()) => Begin::Pass(()),
            Err(reason) => Begin::Reject(unsafe_claim(reason)),
        }
    }

    fn finish<B>(&self, answer: Infallible, _: &mut Request<B>) -> Result<(), Rejection> {
        match answer {}
    }

    fn describe<'a>(
        &'a self,
        extensions: &'a Extensions,
        rejection: Option<&'a Rejection>,
    ) -> Decision<'a> {
        let identity = Caller::of(extensions).and_then(Caller::identity);
        let tally = match identity {
            Some(_) => &self.0.set,
            None => &self.0.anonymous,
        };
        Decision {
            stage: Stage::Propagation,
            policy: "identity_headers",
            mode: "headers",
            identity,
            rejection,
            tally: Some(tally),
        }
    }
}

fn unsafe_claim(reason: Reason) -> Rejection {
    let mut rejection = Rejection::new(reason);
    rejection.details_mut().fix = Some(
        "the issuer should not put commas, outer blanks or anything but visible ASCII into the claims that become headers",
    );
    rejection
}
