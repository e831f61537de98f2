//! Public service types for the layers that use a gate.

/// Defines the public service of a layer, `$Service<S>`, and its `ResponseFuture`.
///
/// They only give `Gated` and `GateFuture` a name without private types: `call` is `Gated::call` in
/// `gate.rs`, which calls `$Gate`. `$wrap` is the module or type with the functions `new`,
/// `get_ref`, `get_mut` and `into_inner` that put a service between the gate and the inner service,
/// or `unwrapped` for none.
macro_rules! gated_service {
    ($(#[$doc:meta])* $Service:ident, $Gate:ty) => {
        $crate::gated_service::gated_service! { $(#[$doc])* $Service, $Gate, S, S, $crate::gated_service::unwrapped }
    };
    ($(#[$doc:meta])* $Service:ident, $Gate:ty, $Wrap:ident) => {
        $crate::gated_service::gated_service! { $(#[$doc])* $Service, $Gate, S, $Wrap<S>, $Wrap }
    };
    ($(#[$doc:meta])* $Service:ident, $Gate:ty, $S:ident, $Inner:ty, $($wrap:tt)+) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $Service<$S> {
            gated: $crate::gate::Gated<$Gate, $Inner>,
        }

        pin_project_lite::pin_project! {
            #[doc = concat!("The response future of [`", stringify!($Service), "`].")]
            pub struct ResponseFuture<$S: tower::Service<http::Request<B>>, B> {
                #[pin]
                future: $crate::gate::GateFuture<$Gate, $Inner, B>,
            }
        }

        impl<$S> $Service<$S> {
            pub(super) fn new(gate: Option<$Gate>, inner: $S) -> Self {
                let gated = $crate::gate::Gated::new(gate, $($wrap)+::new(inner));
                Self { gated }
            }

            /// Returns a reference to the inner service.
            pub fn get_ref(&self) -> &$S {
                $($wrap)+::get_ref(self.gated.get_ref())
            }

            /// Returns a mutable reference to the inner service.
            pub fn get_mut(&mut self) -> &mut $S {
                $($wrap)+::get_mut(self.gated.get_mut())
            }

            /// Consumes `self` and returns the inner service.
            pub fn into_inner(self) -> $S {
                $($wrap)+::into_inner(self.gated.into_inner())
            }
        }

        impl<$S, B, R> tower::Service<http::Request<B>> for $Service<$S>
        where
            $S: tower::Service<http::Request<B>, Response = http::Response<R>> + Clone,
        {
            type Response = http::Response<$crate::body::ResponseBody<R>>;
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
            type Output = Result<http::Response<$crate::body::ResponseBody<R>>, $S::Error>;

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

/// For [`gated_service`]: nothing between the gate and the inner service.
pub(crate) mod unwrapped {
    pub(crate) fn new<S>(inner: S) -> S {
        inner
    }

    pub(crate) fn get_ref<S>(inner: &S) -> &S {
        inner
    }

    pub(crate) fn get_mut<S>(inner: &mut S) -> &mut S {
        inner
    }

    pub(crate) fn into_inner<S>(inner: S) -> S {
        inner
    }
}
