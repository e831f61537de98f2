//! The layers that stand before one route.

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

/// Layers on top of each other, and what is below them.
pub(crate) struct Pile {
    pub(crate) stack: Stack,
    /// From the inside.
    layers: Vec<Box<dyn Describe>>,
}

// === impl Common ===

impl Common {
    /// What requests pass on their way to `upstream`, built from the inside.
    pub(crate) fn before(
        &self,
        upstream: Stack,
        route: &Route,
        keeping: &mut Keeping<'_>,
    ) -> Result<Pile, ConfigError> {
        // Outermost: a flood is stopped before any signature is verified. Inside, none but callers use up what they share.
        let is_outermost = |limit: &&RateLimit| limit.key == LimitKey::Address;
        let (outermost, inside): (Vec<_>, Vec<_>) =
            route.rate_limits.iter().rev().partition(is_outermost);
        let mut pile = Pile {
            stack: upstream,
            layers: Vec::new(),
        };
        if let Some(rules) = route.access.rules() {
            pile.put(self.require("require", rules, route)?);
            if let Some(rule) = self.consumers.rule(&route.consumers) {
                pile.put(self.require("consumers", rule.into(), route)?);
            }
        }
        for limit in inside {
            pile.put(self.limit(limit, route, keeping)?);
        }
        if let Some(identity) = &self.identity {
            pile.put(identity.clone());
        }
        if let (Access::Verified { .. }, Some(auth)) = (&route.access, &self.auth) {
            pile.put(auth.clone());
            if let Some(failed_auth) = &self.failed_auth {
                pile.put(failed_auth.clone());
            }
        }
        for limit in outermost {
            pile.put(self.limit(limit, route, keeping)?);
        }
        Ok(pile)
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
        keeping: &mut Keeping<'_>,
    ) -> Result<RateLimitLayer, ConfigError> {
        let host = route.host.as_deref().unwrap_or("*");
        let place = format!("{host} {} {}", route.path, limit.name);
        let layer = keeping.limit(place).named(&limit.name)?;
        // A store counts together what it cannot tell apart.
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
                // The layer's own quota is for those without a plan: other callers, and preflights.
                let others = others.as_ref().map_or(Quota::UNLIMITED, Limit::quota);
                let layer = layer.with_quota(others);
                layer.quota_for(move |caller| consumers.quota(caller))
            }
        };
        Ok(layer.mode(route.mode))
    }
}

// === impl Pile ===

impl Pile {
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

    /// What the layers say of themselves.
    pub(crate) fn entry(&self, route: &str) -> Entry {
        let mut entry = Entry::new(route);
        let outermost_first = self.layers.iter().rev();
        outermost_first.for_each(|layer| layer.describe(&mut entry));
        entry
    }
}

/// No box round a body that is in one already.
fn boxed(body: ResponseBody<Body>) -> Body {
    match body.into_inner() {
        Ok(inner) => inner,
        Err(own) => Body::new(own),
    }
}
