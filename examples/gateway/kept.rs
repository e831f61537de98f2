//! What a reload must not lose: counts, keys, connections.

use std::collections::HashMap;

use portcullis::revoke::Revocations;
use portcullis::{ConfigError, JwksCache, Quota, RateLimitLayer};

use crate::clients::{Authorities, Clients};
use crate::config::model::{IssuerSettings, KeySource, Route};
use crate::tls::Unusable;

/// What the gateway before had, to be taken over where the new configuration still has it.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    /// The counts of each limit of each route.
    limits: HashMap<String, RateLimitLayer>,
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

// === impl Keeping ===

impl<'b> Keeping<'b> {
    pub(crate) fn from(before: &'b Kept) -> Self {
        let now = Kept {
            revocations: before.revocations.clone(),
            ..Kept::default()
        };
        Self { before, now }
    }

    /// A limit without counts, or the one that counted here before.
    pub(crate) fn limit(&mut self, place: String) -> RateLimitLayer {
        let before = self.before.limits.get(&place).cloned();
        let limit = before.unwrap_or_else(|| RateLimitLayer::new(Quota::per_second(1)));
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
