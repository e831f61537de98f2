//! The gateway: a route table, and the layers that stand before each route.

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::any;
use portcullis::{
    ConfigError, IdentityHeadersLayer, Issuer, JwksCache, JwksSource, JwtAuthLayer, Quota,
    RateLimitLayer, Reason, RequireRoleLayer,
};

use crate::entrance;
use crate::proxy::{Proxy, refuse};
use crate::upstream::Upstream;

/// What is let through, and where to.
pub(crate) struct Gateway {
    /// By address: stops floods before any signature is verified.
    pub(crate) floods: RateLimitLayer,
    pub(crate) auth: JwtAuthLayer,
    pub(crate) identity: IdentityHeadersLayer,
    pub(crate) proxy: Proxy,
    pub(crate) routes: Vec<Route>,
}

/// A path, everything below it, and the service that answers there.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) upstream: Upstream,
    pub(crate) limit: RateLimitLayer,
    pub(crate) access: Access,
}

/// Who may pass.
pub(crate) enum Access {
    /// Everybody, known or not. The limit counts addresses.
    Public,
    /// Verified callers, of whom the layer may ask more. The limit counts subjects.
    Callers(RequireRoleLayer),
}

// === impl Gateway ===

impl Gateway {
    /// A gateway before one service, for every caller whom the issuer knows.
    pub(crate) fn before(
        upstream: Upstream,
        issuer: &str,
        audience: &str,
        jwks_uri: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let auth = match jwks_uri {
            None => JwtAuthLayer::from_issuer(issuer, audience)?,
            Some(uri) => {
                let keys = JwksCache::new([JwksSource::uri(issuer, uri)?])?;
                JwtAuthLayer::new([Issuer::new(issuer).audience(audience).with_keys(keys)])?
            }
        };
        let route = Route {
            path: "/",
            upstream,
            limit: RateLimitLayer::new(Quota::per_second(100).burst(200)),
            access: Access::Callers(RequireRoleLayer::all::<&str>([])),
        };
        Ok(Self {
            floods: RateLimitLayer::new(Quota::per_second(500).burst(1_000)).named("address")?,
            auth,
            identity: IdentityHeadersLayer::new(),
            proxy: Proxy::new()?,
            routes: vec![route],
        })
    }

    /// The whole of it, to be served with each connection's address.
    pub(crate) fn router(self) -> Result<Router, ConfigError> {
        let mut router = Router::new().fallback(no_route);
        for route in &self.routes {
            let upstream = route.upstream.clone();
            let proxy = self.proxy.clone();
            let handler = any(move |request: Request| proxy.forward(upstream, request));
            // Outermost first. One `layer` for all: each further one costs axum a box.
            let handler = match &route.access {
                Access::Public => handler.layer((self.identity.clone(), route.limit.clone())),
                Access::Callers(role) => handler.layer((
                    self.auth.clone(),
                    self.identity.clone(),
                    route.limit.clone().by_subject(),
                    role.clone(),
                )),
            };
            for path in route.paths() {
                router = router.route(&path, handler.clone());
            }
        }
        Ok(router.layer((self.floods, from_fn(entrance::check))))
    }
}

// === impl Route ===

impl Route {
    /// Below it means below its last slash: `/api/orders` is no prefix of `/api/orders-old`.
    fn paths(&self) -> Vec<String> {
        let path = self.path.trim_end_matches('/');
        let mut paths = vec![format!("{path}/"), format!("{path}/{{*below}}")];
        if !path.is_empty() {
            paths.push(path.to_owned());
        }
        paths
    }
}

async fn no_route(request: Request) -> Response {
    refuse(Reason::NoRoute, &request)
}
