//! The layers that stand before one route.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, Response};
use portcullis::{
    ConfigError, IdentityHeadersLayer, JwtAuthLayer, Quota, RateLimitLayer, RequireRoleLayer,
    ResponseBody, Rule,
};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt};

use crate::config::model::{
    Access, Allowance, CorsPreflight, LimitKey, Mode, RateLimit, Requirement, Route,
};
use crate::consumers::Consumers;
use crate::kept::Keeping;

/// A service behind any number of layers.
pub(crate) type Stack = BoxCloneSyncService<Request, Response<Body>, Infallible>;

/// What all routes have in common.
pub(crate) struct Common {
    /// By address, of refusals of invalid tokens alone.
    pub(crate) failed_auth: Option<RateLimitLayer>,
    /// `None` only where every route is public.
    pub(crate) auth: Option<JwtAuthLayer>,
    /// `None` where upstreams are told nothing.
    pub(crate) identity: Option<IdentityHeadersLayer>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) realm: String,
    pub(crate) cors_preflight: CorsPreflight,
}

// === impl Common ===

impl Common {
    /// What requests pass on their way to `upstream`, built from the inside: those of this method, or of all that have
    /// no requirement of their own.
    pub(crate) fn before(
        &self,
        upstream: Stack,
        route: &Route,
        method: Option<&Method>,
        keeping: &mut Keeping<'_>,
    ) -> Result<Stack, ConfigError> {
        let limits = |key: fn(LimitKey) -> bool| {
            let limits = route.rate_limits.iter().rev();
            limits.filter(move |limit| key(limit.key))
        };
        let is_address = |key| key == LimitKey::Address;
        let is_caller = |key| key != LimitKey::Address;
        let mut stack = upstream;
        if let Access::Verified { .. } = route.access {
            for (name, rule) in self.rules(route, method) {
                stack = put(&self.require(name, rule, route)?, stack);
            }
            for limit in limits(is_caller) {
                stack = put(&self.limit(limit, route, keeping)?, stack);
            }
        }
        if let Some(identity) = &self.identity {
            stack = put(identity, stack);
        }
        if let (Access::Verified { .. }, Some(auth)) = (&route.access, &self.auth) {
            stack = put(auth, stack);
            if let Some(failed_auth) = &self.failed_auth {
                stack = put(failed_auth, stack);
            }
        }
        // Outermost: a flood is stopped before any signature is verified.
        for limit in limits(is_address) {
            stack = put(&self.limit(limit, route, keeping)?, stack);
        }
        Ok(stack)
    }

    /// From the inside. Without any, a verified caller is asked for all the same.
    fn rules(&self, route: &Route, method: Option<&Method>) -> Vec<(&'static str, Rule)> {
        let require = match (&route.access, method) {
            (access, Some(method)) => access.rule(method),
            (Access::Verified { require, .. }, None) => require.as_ref().map(Requirement::rule),
            (Access::Public, None) => None,
        };
        let require = require.unwrap_or_else(|| Rule::all([]));
        let consumers = self.consumers.rule(&route.consumers);
        let consumers = consumers.map(|rule| ("consumers", rule));
        [("require", require)]
            .into_iter()
            .chain(consumers)
            .collect()
    }

    fn require(
        &self,
        name: &str,
        rule: Rule,
        route: &Route,
    ) -> Result<RequireRoleLayer, ConfigError> {
        let mut layer = RequireRoleLayer::rule(rule)
            .named(name)
            .realm(&self.realm)?;
        if self.cors_preflight == CorsPreflight::Pass {
            layer = layer.pass_cors_preflight();
        }
        if route.mode == Mode::Report {
            layer = layer.mode(portcullis::Mode::Report);
        }
        Ok(layer)
    }

    fn limit(
        &self,
        limit: &RateLimit,
        route: &Route,
        keeping: &mut Keeping<'_>,
    ) -> Result<RateLimitLayer, ConfigError> {
        let host = route.host.as_deref().unwrap_or("*");
        let place = format!("{host} {} {}", route.path, limit.name);
        let layer = keeping.limit(place).named(&limit.name)?;
        let layer = match limit.key {
            LimitKey::Subject => layer.by_subject(),
            LimitKey::Client => layer.by_client(),
            LimitKey::Address => layer.by_address(),
        };
        let layer = match &limit.allowance {
            Allowance::Fixed(limit) => layer.with_quota(limit.quota()),
            Allowance::Plan => {
                let consumers = Arc::clone(&self.consumers);
                // The layer's own quota is for those without a plan: other callers, and preflights.
                let layer = layer.with_quota(Quota::UNLIMITED);
                layer.quota_for(move |caller| consumers.quota(caller))
            }
        };
        Ok(match route.mode {
            Mode::Enforce => layer,
            Mode::Report => layer.mode(portcullis::Mode::Report),
        })
    }
}

fn put<L>(layer: &L, stack: Stack) -> Stack
where
    L: Layer<Stack>,
    L::Service: Service<Request, Response = Response<ResponseBody<Body>>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    <L::Service as Service<Request>>::Future: Send + 'static,
{
    let service = layer.layer(stack);
    let service = service.map_response(|response| response.map(Body::new));
    BoxCloneSyncService::new(service)
}
