//! Limits on how long keys are kept and how often they are fetched.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::error::ConfigError;

/// The settings of one [`JwksSource`](super::JwksSource).
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) default_ttl: Duration,
    pub(super) min_ttl: Duration,
    pub(super) max_ttl: Duration,
    pub(super) cooldown: Duration,
    pub(super) max_stale: Duration,
    /// The time limit of one request.
    pub(super) timeout: Duration,
    /// The most requests that one fetch makes.
    pub(super) requests: u32,
    pub(super) max_tenants: NonZeroUsize,
    /// The most memory that one key set may take, as [`KeySet::bytes`](super::KeySet) estimates it.
    pub(super) max_set_bytes: usize,
}

const SECOND: Duration = Duration::from_secs(1);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

// === impl Settings ===

impl Settings {
    /// How long a key set is fresh whose issuer allows `max_age`.
    pub(super) fn ttl(&self, max_age: Option<Duration>) -> Duration {
        max_age
            .unwrap_or(self.default_ttl)
            .max(self.min_ttl)
            .min(self.max_ttl)
    }

    /// The time limit of a whole fetch.
    pub(super) fn deadline(&self) -> Duration {
        self.timeout.saturating_mul(self.requests)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let rules = [
            (
                self.min_ttl >= SECOND,
                "jwks min_ttl",
                "keys would be fetched for almost every token: use at least one second",
            ),
            (
                self.max_ttl <= WEEK,
                "jwks max_ttl",
                "a removed key would be accepted for too long: use at most seven days",
            ),
            (
                self.max_stale <= WEEK,
                "jwks max_stale",
                "a removed key would be accepted for too long while the issuer is down: \
                 use at most seven days",
            ),
            (
                self.min_ttl <= self.max_ttl,
                "jwks min_ttl",
                "longer than max_ttl: lower it or raise max_ttl",
            ),
            (
                self.cooldown >= SECOND,
                "jwks cooldown",
                "clients could cause one fetch after another: use at least one second",
            ),
            (
                !self.timeout.is_zero(),
                "jwks timeout",
                "every fetch would fail: use a few seconds",
            ),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, setting, problem)) => Err(ConfigError::Setting { setting, problem }),
            None => Ok(()),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_ttl: Duration::from_secs(600),
            min_ttl: Duration::from_secs(60),
            max_ttl: Duration::from_secs(3600),
            cooldown: Duration::from_secs(30),
            max_stale: Duration::from_secs(3600),
            timeout: Duration::from_secs(2),
            requests: 1,
            max_tenants: const { NonZeroUsize::new(1000).unwrap() },
            max_set_bytes: usize::MAX,
        }
    }
}
