//! A router that takes no route without a rule.

use std::convert::Infallible;
use std::fmt;

use ::axum::Router;
use ::axum::extract::Request;
use ::axum::response::IntoResponse;
use ::axum::routing::{MethodRouter, Route};
use tower::{Layer, Service};

use crate::manifest::{Describe, Manifest};
use crate::require::RequireLayer;

/// An axum router on which every route says who may call it, or says that it is public.
///
/// What is guarded stands behind the layers that [`new`](Self::new) is given, which begin with `JwtAuthLayer`; what is
/// public stands beside them. Paths without a route are 404, without a look at the token. The rule stands before every
/// method of its route, so one without a handler is 405 only for those whom the rule admits.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use portcullis::{GuardedRouter, Identity, JwtAuthLayer, Quota, RateLimitLayer, Rule, Rules};
///
/// # fn main() -> Result<(), portcullis::ConfigError> {
/// let auth = JwtAuthLayer::from_issuer("https://id.example.com/", "orders-api")?;
/// let limit = RateLimitLayer::new(Quota::per_second(50)).by_subject();
/// let orders = Rules::new().reads(Rule::scope("orders:read")).writes(Rule::scope("orders:write"));
///
/// let routes = GuardedRouter::new((auth, limit))
///     .route("/orders", get(|me: Identity| async move { me.subject().to_owned() }), orders)
///     .route("/me", get(|| async { "somebody" }), Rule::verified())
///     .public("/health", get(|| async { "ok" }));
/// assert_eq!(routes.manifest().routes().len(), 3);
/// let app: Router = routes.into_router();
/// # Ok(())
/// # }
/// ```
///
/// There is no way to leave the rule out:
///
/// ```compile_fail,E0061
/// # use axum::routing::get;
/// # use portcullis::{GuardedRouter, JwtAuthLayer};
/// # let auth = JwtAuthLayer::from_issuer("https://id.example.com/", "orders-api").unwrap();
/// let routes: GuardedRouter<_> = GuardedRouter::new(auth).route("/orders", get(|| async {}));
/// ```
#[must_use]
pub struct GuardedRouter<L, S = ()> {
    layers: L,
    guarded: Router<S>,
    public: Router<S>,
    manifest: Manifest,
}

// === impl GuardedRouter ===

impl<L, S> GuardedRouter<L, S>
where
    L: Describe,
    S: Clone + Send + Sync + 'static,
{
    /// A router without routes, and the layers that will stand before its guarded ones: one, or a tuple of them,
    /// outermost first.
    pub fn new(layers: L) -> Self {
        Self {
            layers,
            guarded: Router::new(),
            public: Router::new(),
            manifest: Manifest::new(),
        }
    }

    /// Adds a route for the callers that a [`Rule`](crate::Rule), [`Rules`](crate::Rules) or a [`RequireLayer`] of your own
    /// settings admits.
    ///
    /// # Panics
    ///
    /// As [`Router::route`] does, for a path that is none or that has a route already.
    pub fn route(
        mut self,
        path: &str,
        handlers: MethodRouter<S>,
        rule: impl Into<RequireLayer>,
    ) -> Self {
        let rule = rule.into();
        self.manifest = self.manifest.route(path, &(&self.layers, &rule));
        // Not `route_layer`, which leaves out the fallback: that may be a handler, and is the one that `any` makes.
        self.guarded = self.guarded.route(path, handlers.layer(rule));
        self
    }

    /// Adds a route for everybody. No token is looked at, and no caller is known there.
    ///
    /// # Panics
    ///
    /// As [`Router::route`] does, for a path that is none or that has a route already.
    pub fn public(mut self, path: &str, handlers: MethodRouter<S>) -> Self {
        self.manifest = self.manifest.route(path, &());
        self.public = self.public.route(path, handlers);
        self
    }

    /// What stands before each route, in the order in which they were added.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The routes behind their layers.
    ///
    /// # Panics
    ///
    /// As [`Router::merge`] does, if a path is guarded and public.
    pub fn into_router(self) -> Router<S>
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        // Without a route there is nothing that a layer could stand before.
        let guarded = if self.guarded.has_routes() {
            self.guarded.route_layer(self.layers)
        } else {
            self.guarded
        };
        self.public.merge(guarded)
    }
}

impl<L, S> fmt::Debug for GuardedRouter<L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedRouter")
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}
