//! The client that the layer wraps around another client.

use std::sync::{Arc, Once};
use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request};
use tower::Service;

use super::policy::{Destination, Policy, Verdict, Withheld};
use crate::caller_scope::current_caller;
use crate::identity::Caller;
use crate::inner_accessors::inner_accessors;
use crate::observe;

/// A client that adds the caller's token to requests to the allowed origins.
///
/// Made by [`TokenPropagationLayer`](crate::TokenPropagationLayer).
#[derive(Clone, Debug)]
pub struct TokenPropagation<S> {
    /// `None` if the layer is switched off.
    settings: Option<Arc<Settings>>,
    inner: S,
}

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) policy: Policy,
    /// Done once a request to an allowed origin had no caller.
    warned: Once,
}

// === impl Settings ===

impl Settings {
    pub(super) fn new(policy: Policy) -> Arc<Self> {
        let warned = Once::new();
        Arc::new(Self { policy, warned })
    }
}

// === impl TokenPropagation ===

impl<S> TokenPropagation<S> {
    pub(super) fn new(settings: Option<Arc<Settings>>, inner: S) -> Self {
        Self { settings, inner }
    }

    fn verdict(&self, destination: &Destination<'_>, explicit: Option<&Caller>) -> Option<Verdict> {
        let Settings { policy, warned } = self.settings.as_deref()?;
        let verdict = policy.decide(destination, explicit, current_caller().as_ref());
        observe::propagated(verdict.withheld(), destination.origin());
        if verdict == Verdict::Nothing(Withheld::NoCaller) {
            warned.call_once(observe::propagation_without_caller);
        }
        Some(verdict)
    }
}

inner_accessors!(pub TokenPropagation);

#[cfg(feature = "reqwest-client")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest-client")))]
impl TokenPropagation<reqwest::Client> {
    /// Sends a request that was built with any `reqwest` client, for example with the one inside.
    ///
    /// `RequestBuilder::send` would send it without a token.
    ///
    /// ```
    /// use portcullis::propagate::TokenPropagation;
    ///
    /// async fn orders(client: &TokenPropagation<reqwest::Client>) -> reqwest::Result<String> {
    ///     let request = client.get_ref().get("https://orders.internal/v1?limit=10");
    ///     client.send(request).await?.error_for_status()?.text().await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`reqwest::RequestBuilder::build`] and [`reqwest::Client::execute`].
    pub async fn send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> reqwest::Result<reqwest::Response> {
        // A `reqwest::Client` is always ready.
        self.clone().call(request.build()?).await
    }
}

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

/// Replaces a credential that the application set, but only if the caller's is sent.
fn apply(verdict: Option<Verdict>, headers: &mut HeaderMap) {
    if let Some(Verdict::Forward(authorization)) = verdict {
        headers.insert(AUTHORIZATION, authorization);
    }
}
