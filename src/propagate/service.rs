use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request};
use tower::Service;

use super::policy::{Destination, Policy, Verdict};
use super::scope::current_caller;
use crate::identity::Caller;
use crate::inner_accessors::inner_accessors;
use crate::observe;

/// A client whose requests bear the caller's token where the policy allows.
///
/// Made by [`TokenPropagationLayer`](crate::TokenPropagationLayer).
#[derive(Clone, Debug)]
pub struct TokenPropagation<S> {
    policy: Option<Arc<Policy>>,
    inner: S,
}

// === impl TokenPropagation ===

impl<S> TokenPropagation<S> {
    pub(crate) fn new(policy: Option<Arc<Policy>>, inner: S) -> Self {
        Self { policy, inner }
    }

    fn verdict(&self, destination: &Destination<'_>, explicit: Option<&Caller>) -> Option<Verdict> {
        let policy = self.policy.as_deref()?;
        let verdict = policy.decide(destination, explicit, current_caller().as_ref());
        observe::propagated(verdict.withheld(), destination.origin());
        Some(verdict)
    }
}

inner_accessors!(pub TokenPropagation);

impl<S, B> Service<Request<B>> for TokenPropagation<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let destination = Destination::of(request.uri());
        let verdict = self.verdict(&destination, Caller::of(request.extensions()));
        apply(verdict, request.headers_mut());
        self.inner.call(request)
    }
}

#[cfg(feature = "reqwest-client")]
impl<S> Service<reqwest::Request> for TokenPropagation<S>
where
    S: Service<reqwest::Request>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: reqwest::Request) -> S::Future {
        let verdict = self.verdict(&Destination::of_url(request.url()), None);
        apply(verdict, request.headers_mut());
        self.inner.call(request)
    }
}

/// A credential that the application set itself is replaced where the caller's is sent, and is its own affair elsewhere.
fn apply(verdict: Option<Verdict>, headers: &mut HeaderMap) {
    if let Some(Verdict::Forward(authorization)) = verdict {
        headers.insert(AUTHORIZATION, authorization);
    }
}
