//! State that survives a reload: limit counters, keys and connections.

use std::collections::HashMap;

use portcullis::rate_limit::RedisStore;
use portcullis::revoke::Revocations;
use portcullis::{ConfigError, JwksCache, Quota, RateLimitLayer};

use crate::clients::{Authorities, Clients};
use crate::config::model::{IssuerSettings, KeySource, RateLimitStore, RedisSettings, Route};
use crate::tls::Unusable;

/// State of the previous gateway. The next one takes over what its configuration still uses.
#[derive(Clone, Default)]
pub(crate) struct ReloadState {
    /// The in-memory counters of each limit of each route.
    limits: HashMap<String, RateLimitLayer>,
    /// The connection to the shared store, with the permits that it holds.
    store: Option<(RedisSettings, RedisStore)>,
    /// The fetched keys of each issuer, by everything that determines how they are fetched.
    keys: HashMap<String, JwksCache>,
    /// The connections to upstreams.
    clients: HashMap<Authorities, Clients>,
    /// Kept even if the current configuration has no revocation store: otherwise one mistake in a
    /// file would make revoked tokens valid again.
    pub(crate) revocations: Revocations,
}

/// Takes over the previous state, and records what is in use for the next reload.
pub(crate) struct StateBuilder<'b> {
    before: &'b ReloadState,
    pub(crate) now: ReloadState,
}

// === impl ReloadState ===

impl ReloadState {
    pub(crate) fn store(&self) -> Option<&RedisStore> {
        self.store.as_ref().map(|(_, store)| store)
    }
}

// === impl StateBuilder ===

impl<'b> StateBuilder<'b> {
    pub(crate) fn from(before: &'b ReloadState) -> Self {
        let now = ReloadState {
            revocations: before.revocations.clone(),
            ..ReloadState::default()
        };
        Self { before, now }
    }

    /// Connects the store in which the limits of this configuration are counted.
    pub(crate) fn store(&mut self, store: &RateLimitStore) -> Result<(), ConfigError> {
        let RateLimitStore::Redis(settings) = store else {
            return Ok(());
        };
        let before = self.before.store.as_ref();
        self.now.store = match before.filter(|(before, _)| before == settings) {
            Some(before) => Some(before.clone()),
            None => Some((settings.clone(), settings.store()?)),
        };
        Ok(())
    }

    /// Returns the limit that counted at this place before, or a new one.
    pub(crate) fn limit(&mut self, place: String) -> RateLimitLayer {
        let new = || RateLimitLayer::new(Quota::per_second(1));
        if let Some((_, store)) = &self.now.store {
            return new().store(store);
        }
        let before = self.before.limits.get(&place).cloned();
        let limit = before.unwrap_or_else(new);
        self.now.limits.entry(place).or_insert(limit).clone()
    }

    /// Returns the key cache of an issuer; `None` if the issuer uses a shared secret.
    pub(crate) fn keys(
        &mut self,
        issuer: &IssuerSettings,
    ) -> Result<Option<JwksCache>, ConfigError> {
        let Some(source) = issuer.source()? else {
            return Ok(None);
        };
        let keys = || JwksCache::new([source]);
        let (KeySource::Discovery | KeySource::JwksUri(_)) = &issuer.keys else {
            return keys().map(Some);
        };
        let authorities = issuer.ca.as_ref().map(|file| &file.content);
        let fetched = (&issuer.issuer, &issuer.keys, authorities, &issuer.jwks);
        let fetched = format!("{fetched:?}");
        let keys = match self.before.keys.get(&fetched) {
            Some(keys) => keys.clone(),
            None => keys()?,
        };
        self.now.keys.insert(fetched, keys.clone());
        Ok(Some(keys))
    }

    pub(crate) fn clients(&mut self, route: &Route) -> Result<Clients, Unusable> {
        let authorities = Authorities::of(route);
        let known = self.now.clients.get(&authorities);
        let clients = match known.or_else(|| self.before.clients.get(&authorities)) {
            Some(clients) => clients.clone(),
            None => Clients::trusting(&authorities)?,
        };
        self.now.clients.insert(authorities, clients.clone());
        Ok(clients)
    }
}
