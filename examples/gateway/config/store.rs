//! `[rate_limit_store]`: where limits are counted.

use std::num::NonZeroU32;

use super::build;
use super::model::{OnError, RateLimitStore, RedisSettings, StoreMode};
use super::secrets::Secret;
use super::section::{Fault, Section};
use super::values::{choice, count};

const URL: &str = "redis://127.0.0.1:6379";

pub(super) fn read(root: &mut Section<'_>) -> RateLimitStore {
    let Some(mut section) = root.section("rate_limit_store") else {
        return RateLimitStore::Memory;
    };
    let kinds = [("memory", false), ("redis", true)];
    let is_redis = section.or("kind", false, choice(&kinds));
    // Reads all keys for either kind, so that mistakes are found before the kind is changed.
    let url = section.secret("url", "url_file", redis_url);
    let modes = StoreMode::ALL.map(|mode| (mode.name(), mode));
    let policies = OnError::ALL.map(|policy| (policy.name(), policy));
    let settings = RedisSettings {
        url: url.unwrap_or_else(|| Secret::new(URL)),
        secret: section.secret("secret", "secret_file", long_enough),
        mode: section.or("mode", StoreMode::Leased, choice(&modes)),
        on_error: section.or("on_error", OnError::Local, choice(&policies)),
        expected_nodes: section.or("expected_nodes", NonZeroU32::MIN.saturating_add(1), count),
    };
    if is_redis && settings.secret.is_none() {
        let text = "is missing: anyone who can read the server can identify the counted callers";
        section.warn(&section.place, "secret", text);
    }
    section.finish();
    if is_redis {
        RateLimitStore::Redis(settings)
    } else {
        RateLimitStore::Memory
    }
}

pub(super) fn redis_url(bytes: Vec<u8>) -> Result<Secret, Fault> {
    let url = std::str::from_utf8(&bytes).map_err(|_| "invalid UTF-8")?;
    build::try_redis(url).map_err(build::problem)?;
    Ok(Secret::new(bytes))
}

fn long_enough(secret: Vec<u8>) -> Result<Secret, Fault> {
    if secret.len() < 16 {
        return Err("use at least 16 random bytes, the same in all gateways".into());
    }
    Ok(Secret::new(secret))
}
