//! Builds a gateway from its configuration.

use std::fmt::Display;
use std::sync::Arc;

use portcullis::manifest::Entry;
use portcullis::{ConfigError, Identity, IdentityHeadersLayer, Issuer, JwksCache, JwtAuthLayer};

use crate::config::model::{
    Access, Configuration, CorsPreflight, IdentityHeader, Place, RevocationStore, Route,
};
use crate::consumers::Consumers;
use crate::gateway::{Gateway, ReadyRoute, Unbuildable, template};
use crate::proxy::Proxy;
use crate::reload_state::{ReloadState, StateBuilder};
use crate::stack::Common;
use crate::table::Table;
use crate::tls;

pub(crate) fn gateway(
    configuration: Configuration,
    before: &ReloadState,
) -> Result<Gateway, Unbuildable> {
    let mut state = StateBuilder::from(before);
    let (issuers, keys) = issuers(&configuration, &mut state)?;
    let consumers = Arc::new(Consumers::of(&configuration));
    let store = &configuration.rate_limit_store;
    state.store(store).map_err(anywhere)?;
    let auth = auth(&configuration, issuers, &state).map_err(anywhere)?;
    let failed_auth = configuration.failed_auth_limit.as_ref().map(|limit| {
        let verifier = auth.clone();
        let layer = state.limit("failed_auth".to_owned());
        let layer = layer.named("failed-auth")?.by_address();
        // The client address is already in the request's extensions. Without trusted proxies the
        // layer logs a warning that there may be one.
        let proxies = configuration.trusted_proxies.networks();
        let layer = layer.trusted_proxies(proxies.map(|network| network.to_string()))?;
        Ok(layer
            .with_quota(limit.quota())
            .failures_only()
            // One client behind a NAT does not lock out the others.
            .exempt(move |headers, _| {
                let verifier = verifier.as_ref();
                verifier.is_some_and(|verifier| verifier.is_cached(headers))
            })
            .without_fields())
    });
    let common = Common {
        failed_auth: failed_auth.transpose().map_err(anywhere)?,
        auth,
        identity: identity(&configuration, &consumers)?,
        consumers: Arc::clone(&consumers),
        realm: configuration.realm.clone(),
        cors_preflight: configuration.cors_preflight,
    };
    let (mut routes, mut guarded) = (Vec::new(), Vec::new());
    for route in &configuration.routes {
        let (ready, entry) = ready(route, &common, &configuration, &mut state)?;
        guarded.push(entry);
        routes.push((route.host.clone(), route.path.clone(), Arc::new(ready)));
    }
    let tls = configuration.tls.as_ref();
    let tls = tls.map(|tls| tls::server(tls).map_err(at(&tls.place)));
    Ok(Gateway {
        table: Table::new(routes),
        guarded,
        consumers,
        keys,
        tls: tls.transpose()?,
        state: state.now,
        configuration,
    })
}

fn issuers(
    configuration: &Configuration,
    state: &mut StateBuilder<'_>,
) -> Result<(Vec<Issuer>, Vec<JwksCache>), Unbuildable> {
    let mut policies = Vec::new();
    let mut caches = Vec::new();
    for issuer in &configuration.issuers {
        let policy = issuer.policy().map_err(at(&issuer.place))?;
        let policy = policy.max_token_bytes(issuer.max_token_bytes);
        match state.keys(issuer).map_err(at(&issuer.place))? {
            None => policies.push(policy),
            Some(keys) => {
                policies.push(policy.with_keys(keys.clone()));
                caches.push(keys);
            }
        }
    }
    Ok((policies, caches))
}

fn auth(
    configuration: &Configuration,
    issuers: Vec<Issuer>,
    state: &StateBuilder<'_>,
) -> Result<Option<JwtAuthLayer>, ConfigError> {
    if issuers.is_empty() {
        return Ok(None);
    }
    let remembered = usize::try_from(configuration.token_cache).unwrap_or(usize::MAX);
    let mut auth = JwtAuthLayer::new(issuers)?
        .realm(&configuration.realm)?
        .token_cache(remembered);
    if let Some(cookie) = &configuration.token_sources.cookie {
        auth = auth.cookie(cookie)?;
    }
    if configuration.token_sources.websocket_protocol {
        auth = auth.websocket_protocol();
    }
    if let Some(RevocationStore::Memory) = configuration.revocation {
        auth = auth.revocations(state.now.revocations.clone());
    }
    if configuration.cors_preflight == CorsPreflight::Pass {
        auth = auth.pass_cors_preflight();
    }
    Ok(Some(auth))
}

fn identity(
    configuration: &Configuration,
    consumers: &Arc<Consumers>,
) -> Result<Option<IdentityHeadersLayer>, Unbuildable> {
    let headers = &configuration.identity_headers;
    let layer = IdentityHeadersLayer::none().realm(&configuration.realm);
    let mut layer = layer.map_err(anywhere)?;
    for IdentityHeader { place, name, value } in headers {
        layer = match value.field() {
            Some(field) => layer.header(name, field),
            None => {
                let consumers = Arc::clone(consumers);
                let name_of = move |me: &Identity| consumers.name(me).map(str::to_owned);
                layer.header_from(name, name_of)
            }
        }
        .map_err(at(place))?;
    }
    Ok((!headers.is_empty()).then_some(layer))
}

fn ready(
    route: &Route,
    common: &Common,
    configuration: &Configuration,
    state: &mut StateBuilder<'_>,
) -> Result<(ReadyRoute, Entry), Unbuildable> {
    if common.auth.is_none() && !matches!(route.access, Access::Public) {
        return Err(at(&route.place)("name an issuer, or make the route public"));
    }
    let clients = state.clients(route).map_err(at(&route.place))?;
    let cookie = configuration.token_sources.cookie.as_deref();
    let proxy = Proxy::new(route, clients, cookie).map_err(at(&route.place))?;
    let stack = common.before(proxy.into_stack(), route, state);
    let stack = stack.map_err(at(&route.place))?;
    let template: Arc<str> = template(route).into();
    let guarded = stack.entry(&template);
    let ready = ReadyRoute {
        template,
        methods: route.methods.clone(),
        stack: stack.stack,
    };
    Ok((ready, guarded))
}

fn at<E: Display>(place: &Place) -> impl Fn(E) -> Unbuildable {
    let place = Some(place.clone());
    move |problem| Unbuildable {
        place: place.clone(),
        problem: problem.to_string(),
    }
}

fn anywhere(problem: ConfigError) -> Unbuildable {
    Unbuildable {
        place: None,
        problem: problem.to_string(),
    }
}
