//! Builds the library's values from the model. Reading a configuration builds them once on trial,
//! so that errors of the library name a line.

use portcullis::rate_limit::{OnOutage, RedisStore};
use portcullis::{ConfigError, Issuer, JwksCache, JwksSource, JwtAuthLayer, KeySet};

use super::model::{IssuerSettings, KeySource, OnError, RedisSettings, StoreMode};
use super::secrets::Secret;

/// Replaces an unusable secret while errors are collected. It is public, so it must never verify a
/// token.
const NO_SECRET: &[u8] = b"portcullis gateway without a secret";

/// The library's error, without its name for the setting.
pub(super) fn problem(error: ConfigError) -> String {
    match error {
        ConfigError::Setting { problem, .. } | ConfigError::Header { problem, .. } => {
            problem.to_owned()
        }
        other => other.to_string(),
    }
}

// === impl IssuerSettings ===

impl IssuerSettings {
    /// The issuer's token policy. It includes keys only if they are a shared secret; other keys
    /// come from [`source`](Self::source).
    pub(crate) fn policy(&self) -> Result<Issuer, ConfigError> {
        let mut policy = match &self.keys {
            KeySource::Secret(secret) => Issuer::new(&self.issuer).with_secret(secret.reveal())?,
            _ => Issuer::new(&self.issuer),
        };
        // Must come first, because it resets what the following calls set.
        policy = policy.profile(self.profile);
        for audience in &self.audiences {
            policy = policy.audience(audience);
        }
        if let Some(roles) = &self.roles_claim {
            policy = policy.roles_claim(roles.path());
        }
        if let Some(permissions) = &self.permissions_claim {
            policy = policy.permissions_claim(permissions.path());
        }
        Ok(policy
            .algorithms(self.algorithms.iter().copied())
            .token_types(self.token_types.iter().map(String::as_str))
            .required_claims(self.required_claims.iter().map(String::as_str))
            .leeway(self.leeway)
            .subject_claim(self.subject_claim.path()))
    }

    /// The source of the issuer's public keys; `None` if the issuer uses a shared secret.
    pub(crate) fn source(&self) -> Result<Option<JwksSource>, ConfigError> {
        let issuer = &self.issuer;
        let key = |problem: String| ConfigError::Key { problem };
        let source = match &self.keys {
            KeySource::Discovery => JwksSource::discover(issuer)?,
            KeySource::JwksUri(uri) => JwksSource::uri(issuer, uri)?,
            KeySource::JwksFile(file) => {
                let keys = KeySet::from_json(&file.content);
                JwksSource::keys(issuer, keys.map_err(|error| key(error.to_string()))?)
            }
            KeySource::PublicKeyFile(file) => {
                let pem = std::str::from_utf8(&file.content);
                let pem = pem.map_err(|_| key("give the key in PEM".to_owned()))?;
                JwksSource::keys(issuer, KeySet::from_pem(pem)?)
            }
            KeySource::Secret(_) => return Ok(None),
        };
        let source = match &self.ca {
            Some(ca) => source.root_certificates(&ca.content)?,
            None => source,
        };
        let kept = &self.jwks;
        let source = source
            .default_ttl(kept.default_ttl)
            .min_ttl(kept.min_ttl)
            .max_ttl(kept.max_ttl)
            .cooldown(kept.cooldown)
            .timeout(kept.timeout)
            .max_stale(kept.max_stale);
        Ok(Some(source))
    }

    /// Builds a layer for this issuer alone, to find errors.
    pub(super) fn try_out(&self) -> Result<(), ConfigError> {
        let policy = match self.source()? {
            Some(source) => self.policy()?.with_keys(JwksCache::new([source])?),
            None => self.policy()?,
        };
        JwtAuthLayer::new([policy]).map(drop)
    }
}

// === impl RedisSettings ===

impl RedisSettings {
    /// The store, not yet connected.
    pub(crate) fn store(&self) -> Result<RedisStore, ConfigError> {
        let url = String::from_utf8_lossy(self.url.reveal());
        let secret = self.secret.as_ref().map_or(NO_SECRET, Secret::reveal);
        let store = RedisStore::new(&url, secret)?;
        let store = match self.mode {
            StoreMode::Exact => store.exact(),
            // The library's default for overshoot is used.
            StoreMode::Leased => store,
        };
        Ok(store.on_outage(match self.on_error {
            OnError::Local => OnOutage::LocalFallback {
                expected_nodes: self.expected_nodes,
            },
            OnError::Open => OnOutage::Open,
            OnError::Closed => OnOutage::Closed,
        }))
    }
}

/// Checks the URL without connecting.
pub(super) fn try_redis(url: &str) -> Result<(), ConfigError> {
    RedisStore::new(url, NO_SECRET).map(drop)
}
