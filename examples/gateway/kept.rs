//! What a reload must not lose: counts, keys, connections.

use std::collections::HashMap;

use portcullis::rate_limit::RedisStore;
use portcullis::revoke::Revocations;
use portcullis::{ConfigError, JwksCache, Quota, RateLimitLayer};

use crate::clients::{Authorities, Clients};
use crate::config::model::{IssuerSettings, KeySource, RateLimitStore, RedisSettings, Route};
use crate::tls::Unusable;

/// What the gateway before had, to be taken over where the new configuration still has it.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    /// The counts of each limit of each route, where they are in memory.
    limits: HashMap<String, RateLimitLayer>,
    /// The connection to the store that has them otherwise, and what it holds of its permits.
    store: Option<(RedisSettings, RedisStore)>,
    /// The fetched keys of each issuer, by all that says how they are fetched.
    keys: HashMap<String, JwksCache>,
    /// The connections to upstreams.
    clients: HashMap<Authorities, Clients>,
    /// Even where nobody asks for a while: a mistake in a file must not let revoked tokens in again for good.
    pub(crate) revocations: Revocations,
}

/// Takes over what was there, and remembers what is used, for the next one.
pub(crate) struct Keeping<'b> {
    before: &'b Kept,
    pub(crate) now: Kept,
}

// === impl Kept ===

impl Kept {
    pub(crate) fn store(&self) -> Option<&RedisStore> {
        self.store.as_ref().map(|(_, store)| store)
    }
}

// === impl Keeping ===

impl<'b> Keeping<'b> {
    pub(crate) fn from(before: &'b Kept) -> Self {
        let now = Kept {
            revocations: before.revocations.clone(),
            ..Kept::default()
        };
        Self { before, now }
    }

    /// Where the limits of this configuration are counted.
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

    /// A limit without counts, or the one that counted here before.
    pub(crate) fn limit(&mut self, place: String) -> RateLimitLayer {
        let new = || RateLimitLayer::new(Quota::per_second(1));
        if let Some((_, store)) = &self.now.store {
            return new().store(store);
        }
        let before = self.before.limits.get(&place).cloned();
        let limit = before.unwrap_or_else(new);
        self.now.limits.entry(place).or_insert(limit).clone()
    }

    /// The keys of an issuer; `None` for one that shares a secret.
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
