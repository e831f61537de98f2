//! The layers of one route.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use portcullis::manifest::{Describe, Entry};
use portcullis::{
    ConfigError, IdentityHeadersLayer, JwtAuthLayer, Quota, RateLimitLayer, RequireLayer,
    ResponseBody, Rules,
};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt};

use crate::config::model::{Access, Allowance, CorsPreflight, Limit, LimitKey, RateLimit, Route};
use crate::consumers::Consumers;
use crate::reload_state::StateBuilder;

/// A type-erased service behind any number of layers.
pub(crate) type Stack = BoxCloneSyncService<Request, Response<Body>, Infallible>;

/// The layers that all routes share.
pub(crate) struct Common {
    /// Per address; counts rejected tokens only.
    pub(crate) failed_auth: Option<RateLimitLayer>,
    /// `None` if every route is public.
    pub(crate) auth: Option<JwtAuthLayer>,
    /// `None` if no identity headers are configured.
    pub(crate) identity: Option<IdentityHeadersLayer>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) realm: String,
    pub(crate) cors_preflight: CorsPreflight,
}

/// The layers of a route and the service below them.
pub(crate) struct RouteStack {
    pub(crate) stack: Stack,
    /// Innermost first.
    layers: Vec<Box<dyn Describe>>,
}

// === impl Common ===

impl Common {
    /// Builds the layers in front of `upstream`, from the inside out.
    pub(crate) fn before(
        &self,
        upstream: Stack,
        route: &Route,
        state: &mut StateBuilder<'_>,
    ) -> Result<RouteStack, ConfigError> {
        // Limits by address are outermost, so that a flood is rejected before any signature is
        // verified. All other limits are inside authentication, so that only verified callers use
        // up a shared quota.
        let is_outermost = |limit: &&RateLimit| limit.key == LimitKey::Address;
        let (outermost, inside): (Vec<_>, Vec<_>) =
            route.rate_limits.iter().rev().partition(is_outermost);
        let mut stack = RouteStack {
            stack: upstream,
            layers: Vec::new(),
        };
        if let Some(rules) = route.access.rules() {
            stack.put(self.require("require", rules, route)?);
            if let Some(rule) = self.consumers.rule(&route.consumers) {
                stack.put(self.require("consumers", rule.into(), route)?);
            }
        }
        for limit in inside {
            stack.put(self.limit(limit, route, state)?);
        }
        if let Some(identity) = &self.identity {
            stack.put(identity.clone());
        }
        if let (Access::Verified { .. }, Some(auth)) = (&route.access, &self.auth) {
            stack.put(auth.clone());
            if let Some(failed_auth) = &self.failed_auth {
                stack.put(failed_auth.clone());
            }
        }
        for limit in outermost {
            stack.put(self.limit(limit, route, state)?);
        }
        Ok(stack)
    }

    fn require(
        &self,
        name: &str,
        rules: Rules,
        route: &Route,
    ) -> Result<RequireLayer, ConfigError> {
        let layer = RequireLayer::new(rules)
            .named(name)?
            .mode(route.mode)
            .realm(&self.realm)?;
        Ok(match self.cors_preflight {
            CorsPreflight::Pass => layer.pass_cors_preflight(),
            CorsPreflight::Authenticate => layer,
        })
    }

    fn limit(
        &self,
        limit: &RateLimit,
        route: &Route,
        state: &mut StateBuilder<'_>,
    ) -> Result<RateLimitLayer, ConfigError> {
        let host = route.host.as_deref().unwrap_or("*");
        let place = format!("{host} {} {}", route.path, limit.name);
        let layer = state.limit(place).named(&limit.name)?;
        // The store counts requests with equal keys together: separate them by route.
        let layer = layer.per_route();
        let layer = match &limit.key {
            LimitKey::Subject => layer.by_subject(),
            LimitKey::Client => layer.by_client(),
            LimitKey::Address => layer.by_address(),
            LimitKey::Route => layer.by_route(),
            LimitKey::Claim(place) => layer.by_claim(place.path()),
        };
        let layer = match &limit.allowance {
            Allowance::Fixed(limit) => layer.with_quota(limit.quota()),
            Allowance::Plan(others) => {
                let consumers = Arc::clone(&self.consumers);
                // The layer's own quota applies to callers without a plan and to CORS preflights.
                let others = others.as_ref().map_or(Quota::UNLIMITED, Limit::quota);
                let layer = layer.with_quota(others);
                layer.quota_for(move |caller| consumers.quota(caller))
            }
        };
        Ok(layer.mode(route.mode))
    }
}

// === impl RouteStack ===

impl RouteStack {
    fn put<L>(&mut self, layer: L)
    where
        L: Layer<Stack> + Describe + 'static,
        L::Service: Service<Request, Response = Response<ResponseBody<Body>>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        let service = layer.layer(self.stack.clone());
        let service = service.map_response(|response| response.map(boxed));
        self.stack = BoxCloneSyncService::new(service);
        self.layers.push(Box::new(layer));
    }

    /// The manifest entry of the route: what its layers enforce.
    pub(crate) fn entry(&self, route: &str) -> Entry {
        let mut entry = Entry::new(route);
        let outermost_first = self.layers.iter().rev();
        outermost_first.for_each(|layer| layer.describe(&mut entry));
        entry
    }
}

/// Avoids a second box around a body that is already boxed.
fn boxed(body: ResponseBody<Body>) -> Body {
    match body.into_inner() {
        Ok(inner) => inner,
        Err(own) => Body::new(own),
    }
}
