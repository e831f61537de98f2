//! Public service types for the layers that use a gate.

/// Defines the public service of a layer, `$Service<S>`, and its `ResponseFuture`.
///
/// They only give `Gated` and `GateFuture` a name without private types: `call` is `Gated::call` in
/// `gate.rs`, which calls `$Gate`.
macro_rules! gated_service {
    ($(#[$doc:meta])* $Service:ident, $Gate:ty) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $Service<S> {
            gated: $crate::gate::Gated<$Gate, S>,
        }

        pin_project_lite::pin_project! {
            #[doc = concat!("The response future of [`", stringify!($Service), "`].")]
            pub struct ResponseFuture<S: tower::Service<http::Request<B>>, B> {
                #[pin]
                future: $crate::gate::GateFuture<$Gate, S, B>,
            }
        }

        impl<S> $Service<S> {
            pub(super) fn new(gate: Option<$Gate>, inner: S) -> Self {
                let gated = $crate::gate::Gated::new(gate, inner);
                Self { gated }
            }

            /// The inner service.
            pub fn get_ref(&self) -> &S {
                self.gated.get_ref()
            }

            /// The inner service, to change it.
            pub fn get_mut(&mut self) -> &mut S {
                self.gated.get_mut()
            }

            /// Returns the inner service.
            pub fn into_inner(self) -> S {
                self.gated.into_inner()
            }
        }

        impl<S, B, R> tower::Service<http::Request<B>> for $Service<S>
        where
            S: tower::Service<http::Request<B>, Response = http::Response<R>> + Clone,
        {
            type Response = http::Response<$crate::body::ResponseBody<R>>;
            type Error = S::Error;
            type Future = ResponseFuture<S, B>;

            fn poll_ready(
                &mut self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), S::Error>> {
                self.gated.poll_ready(cx)
            }

            fn call(&mut self, request: http::Request<B>) -> Self::Future {
                let future = self.gated.call(request);
                ResponseFuture { future }
            }
        }

        impl<S, B, R> std::future::Future for ResponseFuture<S, B>
        where
            S: tower::Service<http::Request<B>, Response = http::Response<R>>,
        {
            type Output = Result<http::Response<$crate::body::ResponseBody<R>>, S::Error>;

            fn poll(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Self::Output> {
                self.project().future.poll(cx)
            }
        }

        impl<S: tower::Service<http::Request<B>>, B> std::fmt::Debug for ResponseFuture<S, B> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct("ResponseFuture").finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use gated_service;
