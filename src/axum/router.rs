//! A router on which every route has a rule or is declared public.

use std::convert::Infallible;
use std::fmt;

use ::axum::Router;
use ::axum::extract::Request;
use ::axum::response::IntoResponse;
use ::axum::routing::{MethodRouter, Route, any_service};
use tower::{Layer, Service};

use crate::manifest::{Describe, Manifest};
use crate::protocol::Protocol;
use crate::rejection::{Reason, Rejection};
use crate::require::RequireLayer;

/// An axum router on which every route has a rule or is declared public.
///
/// 1. A path without a route is answered with 404. The token is not read.
/// 2. A [`public`](Self::public) route is called without any of the layers.
/// 3. Every other route is behind the layers given to [`new`](Self::new), usually `JwtAuthLayer`
///    first, and behind its own rule.
/// 4. A method without a handler is rejected with 405 `method_not_allowed` and `Allow`: the layers
///    run, and the rule is not evaluated. In a nested or merged router, only the layers of the outer
///    router run. A handler for all methods (`any`, `MethodRouter::fallback`) is behind the rule.
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
///     .route("/me", get(|| async { "a verified caller" }), Rule::verified())
///     .public("/health", get(|| async { "ok" }));
/// assert_eq!(routes.manifest().routes().len(), 3);
/// let app: Router = routes.into_router();
/// # Ok(())
/// # }
/// ```
///
/// # Routes for anonymous and verified callers
///
/// Make authentication [`optional`](crate::JwtAuthLayer::optional), and give such a route a rule
/// that admits [`anonymous`](crate::Rule::anonymous) callers. All other rules refuse them with 401.
///
/// ```
/// use axum::routing::get;
/// use portcullis::{GuardedRouter, Identity, JwtAuthLayer, Rule};
///
/// async fn prices(me: Option<Identity>) -> String {
///     me.map_or("list prices".to_owned(), |me| format!("prices for {}", me.subject()))
/// }
///
/// # fn main() -> Result<(), portcullis::ConfigError> {
/// let auth = JwtAuthLayer::from_issuer("https://id.example.com/", "orders-api")?.optional();
/// let app: axum::Router = GuardedRouter::new(auth)
///     .route("/prices", get(prices), Rule::anonymous() | Rule::verified())
///     .route("/me", get(|me: Identity| async move { me.subject().to_owned() }), Rule::verified())
///     .into_router();
/// # Ok(())
/// # }
/// ```
///
/// # Layers of other crates
///
/// A layer that does not implement [`Describe`] is wrapped in
/// [`Undescribed`](crate::manifest::Undescribed): it runs, and the manifest does not list it.
///
/// # A route without a rule does not compile
///
/// ```compile_fail,E0061
/// # use axum::routing::get;
/// # use portcullis::{GuardedRouter, JwtAuthLayer};
/// # let auth = JwtAuthLayer::from_issuer("https://id.example.com/", "orders-api").unwrap();
/// let routes: GuardedRouter<_> = GuardedRouter::new(auth).route("/orders", get(|| async {}));
/// ```
#[derive(Clone)]
#[must_use]
pub struct GuardedRouter<L, S = ()> {
    layers: L,
    guarded: Router<S>,
    public: Router<S>,
    manifest: Manifest,
    /// For each route of the manifest, whether it is behind the layers.
    is_guarded: Vec<bool>,
}

// === impl GuardedRouter ===

impl<L, S> GuardedRouter<L, S>
where
    L: Describe,
    S: Clone + Send + Sync + 'static,
{
    /// Creates a router without routes. `layers` is one layer or a tuple of layers, outermost
    /// first.
    pub fn new(layers: L) -> Self {
        Self {
            layers,
            guarded: Router::new(),
            public: Router::new(),
            manifest: Manifest::new(),
            is_guarded: Vec::new(),
        }
    }

    /// Adds a route for the callers that satisfy `rule`: a [`Rule`](crate::Rule),
    /// [`Rules`](crate::Rules), or a layer such as [`RequireRoleLayer`](crate::RequireRoleLayer).
    ///
    /// A path may be added again with other methods and another rule.
    ///
    /// # Panics
    ///
    /// As [`Router::route`], if the path is invalid or a method has a handler already.
    #[track_caller]
    pub fn route(
        mut self,
        path: &str,
        handlers: MethodRouter<S>,
        rule: impl Into<RequireLayer>,
    ) -> Self {
        let rule = rule.into();
        self.manifest = self.manifest.route(path, &(&self.layers, &rule));
        self.is_guarded.push(true);
        // `route_layer` would leave out `any` and `fallback`.
        self.guarded = self.guarded.route(path, handlers.layer(rule));
        self
    }

    /// Adds a service for the callers that satisfy `rule`, with any method: tonic's `Routes`, or
    /// tower-http's `ServeDir`.
    ///
    /// ```
    /// use axum::extract::Request;
    /// use axum::response::Response;
    /// use portcullis::{GuardedRouter, JwtAuthLayer, Rule};
    ///
    /// # fn main() -> Result<(), portcullis::ConfigError> {
    /// # let auth = JwtAuthLayer::from_issuer("https://id.example.com/", "orders-api")?;
    /// let reports = tower::service_fn(|_: Request| async {
    ///     Ok::<_, std::convert::Infallible>(Response::new("a report".to_owned()))
    /// });
    /// let app: axum::Router = GuardedRouter::new(auth)
    ///     .route_service("/reports/{*path}", reports, Rule::role("auditor"))
    ///     .into_router();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`route`](Self::route).
    #[track_caller]
    pub fn route_service<T>(self, path: &str, service: T, rule: impl Into<RequireLayer>) -> Self
    where
        T: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        T::Response: IntoResponse + 'static,
        T::Future: Send + 'static,
    {
        self.route(path, any_service(service), rule)
    }

    /// Adds a public route. No layer runs for it, and its requests have no caller.
    ///
    /// # Panics
    ///
    /// As [`Router::route`], if the path is invalid or a method has a handler already.
    #[track_caller]
    pub fn public(mut self, path: &str, handlers: MethodRouter<S>) -> Self {
        self.manifest = self.manifest.route(path, &());
        self.is_guarded.push(false);
        self.public = self.public.route(path, handlers);
        self
    }

    /// Adds the routes of `other` below `path`.
    ///
    /// The guarded routes of `other` are behind the layers of `self` first, then behind its own
    /// layers. The modules of a service therefore declare rules only, and the outermost router
    /// authenticates. [`Rules::path`](crate::Rules::path) of a nested route is compared with the
    /// path below `path`.
    ///
    /// ```
    /// use axum::routing::get;
    /// use portcullis::{GuardedRouter, JwtAuthLayer, Rule};
    ///
    /// fn orders() -> GuardedRouter<()> {
    ///     GuardedRouter::new(()).route("/{id}", get(|| async { "an order" }), Rule::scope("orders"))
    /// }
    ///
    /// # fn main() -> Result<(), portcullis::ConfigError> {
    /// let auth = JwtAuthLayer::from_issuer("https://id.example.com/", "orders-api")?;
    /// let routes = GuardedRouter::new(auth).nest("/orders", orders());
    /// assert_eq!(
    ///     routes.manifest().to_string(),
    ///     "\
    /// /orders/{id}
    ///   authenticates jwt: tokens of https://id.example.com/ for orders-api
    ///   requires require: all requests scope:orders
    /// "
    /// );
    /// # let _: axum::Router = routes.into_router();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Router::nest`], if `path` is invalid or `/`, or if routes overlap.
    #[track_caller]
    pub fn nest<M>(self, path: &str, other: GuardedRouter<M, S>) -> Self
    where
        M: Layer<Route> + Clone + Send + Sync + 'static,
        M::Service: Service<Request> + Clone + Send + Sync + 'static,
        <M::Service as Service<Request>>::Response: IntoResponse + 'static,
        <M::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <M::Service as Service<Request>>::Future: Send + 'static,
    {
        let mut other = other.layered();
        other.guarded = Router::new().nest(path, other.guarded);
        other.public = Router::new().nest(path, other.public);
        other.manifest = other.manifest.nest(path);
        self.add(other)
    }

    /// Adds the routes of `other`, behind the layers of `self` first, as [`nest`](Self::nest) does.
    ///
    /// # Panics
    ///
    /// As [`Router::merge`], if routes overlap.
    #[track_caller]
    pub fn merge<M>(self, other: GuardedRouter<M, S>) -> Self
    where
        M: Layer<Route> + Clone + Send + Sync + 'static,
        M::Service: Service<Request> + Clone + Send + Sync + 'static,
        <M::Service as Service<Request>>::Response: IntoResponse + 'static,
        <M::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <M::Service as Service<Request>>::Future: Send + 'static,
    {
        self.add(other.layered())
    }

    #[track_caller]
    fn add(mut self, other: GuardedRouter<(), S>) -> Self {
        let manifest = other.manifest.behind(&self.layers, &other.is_guarded);
        self.manifest = self.manifest.merge(manifest);
        self.is_guarded.extend(other.is_guarded);
        self.guarded = self.guarded.merge(other.guarded);
        self.public = self.public.merge(other.public);
        self
    }

    /// The layers and rules of each route, in the order in which the routes were added.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl<L, S> GuardedRouter<L, S>
where
    L: Layer<Route> + Clone + Send + Sync + 'static,
    L::Service: Service<Request> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request>>::Response: IntoResponse + 'static,
    <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
    <L::Service as Service<Request>>::Future: Send + 'static,
    S: Clone + Send + Sync + 'static,
{
    /// Converts this router into an axum router, with every guarded route behind its layers.
    ///
    /// # Panics
    ///
    /// As [`Router::merge`], if a public route and a guarded route overlap, or if one path has both
    /// and the public one has a handler for all methods.
    #[track_caller]
    pub fn into_router(mut self) -> Router<S> {
        // Replaces the fallbacks that axum added, and no others: they are behind the rules, which
        // would answer 403 instead of 405.
        self.guarded = self.guarded.method_not_allowed_fallback(method_not_allowed);
        let layered = self.layered();
        layered.public.merge(layered.guarded)
    }

    /// The same routes, with the layers added to them.
    fn layered(self) -> GuardedRouter<(), S> {
        // `route_layer` panics without a route.
        let guarded = if self.guarded.has_routes() {
            self.guarded.route_layer(self.layers)
        } else {
            self.guarded
        };
        GuardedRouter {
            layers: (),
            guarded,
            public: self.public,
            manifest: self.manifest,
            is_guarded: self.is_guarded,
        }
    }
}

/// axum adds `Allow`.
async fn method_not_allowed(request: Request) -> Rejection {
    Rejection::new(Reason::MethodNotAllowed).answering(Protocol::of(&request))
}

impl<L, S> fmt::Debug for GuardedRouter<L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedRouter")
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}
