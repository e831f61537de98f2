//! Where the keys of one issuer come from.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tower::Service;

use super::fetch::{Boxed, Connection, Fetch, FetchJwks};
use super::issuer::IssuerKeys;
use super::set::KeySet;
use super::tenants::Tenants;
use crate::clock::Clock;
use crate::error::ConfigError;
use crate::tenant::{PLACE, TenantPattern};

/// Where the keys of one issuer come from, and how long they are kept.
///
/// An issuer is compared exactly, byte for byte, with the `iss` of a token.
///
/// # Tenants
///
/// An issuer with `{tenant}` for one segment of its path stands for the issuers of all tenants, for
/// [`Issuer::tenants`](crate::Issuer::tenants) to trust. Where keys are [discovered](Self::discover), come from a
/// [service](Self::service), or from a [URL](Self::uri) with `{tenant}` in it too, every tenant has a key set of its own, which
/// is fetched when the first token comes that names the tenant. [Given keys](Self::keys) and a URL without `{tenant}` are
/// one key set for all of them.
///
/// Anybody can name a tenant. So until a token of it was verified, a tenant has one of 32 places, keeps it for a cooldown, and is
/// fetched for once in that time (an unknown kid may ask twice more). An issuer that answers 400, 404 or 410, or with the metadata of
/// another issuer, does not know the tenant: 401. While all places are taken, further tenants are refused, 401 too, or 503
/// where their names were [checked](crate::Issuer::allow_tenants) or fetches fail. Known tenants notice nothing of it.
/// After a restart nobody is known, unless [saved keys](crate::JwksCache::restore) tell.
#[must_use]
pub struct JwksSource {
    issuer: Arc<str>,
    origin: Origin,
    settings: Settings,
    clock: Clock,
}

/// The keys of a source.
pub(super) enum Keys {
    /// Of one issuer.
    One(Arc<IssuerKeys>),
    /// Of all tenants together.
    Common(TenantPattern, Arc<IssuerKeys>),
    /// Of each tenant its own.
    Each(Box<Tenants>),
}

enum Origin {
    Keys(KeySet),
    Service(Arc<dyn Fetch>),
    #[cfg(feature = "reqwest")]
    Http(super::http::Origin),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    default_ttl: Duration,
    min_ttl: Duration,
    max_ttl: Duration,
    pub(super) cooldown: Duration,
    pub(super) max_stale: Duration,
    pub(super) timeout: Duration,
    /// How many requests one fetch makes at most.
    requests: u32,
    pub(super) max_tenants: NonZeroUsize,
}

// === impl JwksSource ===

impl JwksSource {
    /// Keys that are given here and never fetched.
    pub fn keys(issuer: impl AsRef<str>, keys: KeySet) -> Self {
        Self::new(issuer.as_ref(), Origin::Keys(keys))
    }

    /// Keys from a service: a client of one's own, or layers of tower round one, such as its retry and timeout. The example
    /// `own_key_client` has all three.
    ///
    /// A service for tenants is asked with the issuer of one of them. It says by [`FetchError::Status`] 404 that there is no such
    /// tenant; every other error counts as an outage.
    ///
    /// [`FetchError::Status`]: super::FetchError::Status
    pub fn service<S>(issuer: impl AsRef<str>, service: S) -> Self
    where
        S: Service<FetchJwks, Response = KeySet> + Clone + Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send,
    {
        let service = Arc::new(Boxed::new(service));
        Self::new(issuer.as_ref(), Origin::Service(service))
    }

    fn new(issuer: &str, origin: Origin) -> Self {
        Self {
            issuer: issuer.into(),
            origin,
            settings: Settings::default(),
            clock: Clock::default(),
        }
    }

    #[cfg(feature = "reqwest")]
    pub(super) fn http(issuer: &str, origin: super::http::Origin) -> Self {
        let requests = origin.requests();
        let mut source = Self::new(issuer, Origin::Http(origin));
        source.settings.requests = requests;
        source
    }

    #[cfg(feature = "reqwest")]
    pub(super) fn http_origin(&mut self) -> Option<&mut super::http::Origin> {
        match &mut self.origin {
            Origin::Http(origin) => Some(origin),
            Origin::Keys(_) | Origin::Service(_) => None,
        }
    }

    /// How long keys are fresh when the issuer does not say. Default: 10 minutes.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.settings.default_ttl = ttl;
        self
    }

    /// The least time that keys are fresh, whatever the issuer says: a second or more. Default: 60 seconds.
    pub fn min_ttl(mut self, ttl: Duration) -> Self {
        self.settings.min_ttl = ttl;
        self
    }

    /// The longest time that keys are fresh, whatever the issuer says: seven days or less. Default: 1 hour.
    pub fn max_ttl(mut self, ttl: Duration) -> Self {
        self.settings.max_ttl = ttl;
        self
    }

    /// Unknown kids cause at most two refetches in any such time: a second or more. Default: 30 seconds.
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.settings.cooldown = cooldown;
        self
    }

    /// How long keys serve past their time to live while the issuer is down: seven days or less. Default: 1 hour.
    pub fn max_stale(mut self, max_stale: Duration) -> Self {
        self.settings.max_stale = max_stale;
        self
    }

    /// How long one request to the issuer may take; of a [service](Self::service), the whole fetch with its retries. Default: 2
    /// seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// How many tenants' key sets are kept, where every tenant has its own: the tenant that was asked for longest ago makes room for
    /// another. Default: 1,000.
    pub fn max_tenants(mut self, tenants: NonZeroUsize) -> Self {
        self.settings.max_tenants = tenants;
        self
    }

    /// The clock by which keys age. Default: the system's.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    pub(super) fn build(self) -> Result<Keys, ConfigError> {
        if self.issuer.is_empty() {
            return Err(ConfigError::MissingIssuer);
        }
        self.settings.check()?;
        let (issuer, settings, clock) = (self.issuer, self.settings, self.clock);
        let pattern = match issuer.contains(PLACE) {
            true => Some(TenantPattern::parse(&issuer)?),
            false => None,
        };
        let connection = match self.origin {
            Origin::Keys(keys) => {
                let keys = Arc::new(IssuerKeys::fixed(issuer, settings, clock, keys));
                return Ok(Keys::of(keys, pattern));
            }
            Origin::Service(service) if pattern.is_some() => {
                Connection::Each(Box::new(move |_, _| Some(Arc::clone(&service))))
            }
            Origin::Service(service) => Connection::One(service),
            #[cfg(feature = "reqwest")]
            Origin::Http(origin) => origin.connect(&clock)?,
        };
        match (connection, pattern) {
            (Connection::One(fetch), pattern) => {
                let keys = Arc::new(IssuerKeys::fetched(issuer, settings, clock, fetch));
                Ok(Keys::of(keys, pattern))
            }
            (Connection::Each(fetch), Some(pattern)) => {
                let tenants = Tenants::new(issuer, pattern, settings, clock, fetch);
                Ok(Keys::Each(Box::new(tenants)))
            }
            (Connection::Each(_), None) => Err(ConfigError::Url {
                url: issuer.to_string(),
                problem: "the keys are those of a `{tenant}`: write it where the issuer has it too",
            }),
        }
    }
}

impl Keys {
    fn of(keys: Arc<IssuerKeys>, pattern: Option<TenantPattern>) -> Self {
        match pattern {
            Some(pattern) => Self::Common(pattern, keys),
            None => Self::One(keys),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::One(keys) | Self::Common(_, keys) => keys.name(),
            Self::Each(tenants) => tenants.name(),
        }
    }

    /// The tenant that this issuer is of, if it is of this pattern.
    pub(super) fn tenant<'n>(&self, issuer: &'n str) -> Option<&'n str> {
        match self {
            Self::One(_) => None,
            Self::Common(pattern, _) => pattern.tenant(issuer),
            Self::Each(tenants) => tenants.pattern.tenant(issuer),
        }
    }
}

impl fmt::Debug for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwksSource")
            .field("issuer", &self.issuer)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

// === impl Settings ===

impl Settings {
    pub(super) fn ttl(&self, max_age: Option<Duration>) -> Duration {
        max_age
            .unwrap_or(self.default_ttl)
            .max(self.min_ttl)
            .min(self.max_ttl)
    }

    /// For the whole fetch, in case that a service keeps no time itself.
    pub(super) fn deadline(&self) -> Duration {
        self.timeout.saturating_mul(self.requests)
    }

    /// How long anyone waits for a fetch. It ends before, unless nobody drives its runtime.
    pub(super) fn patience(&self) -> Duration {
        const SLACK: Duration = Duration::from_secs(1);
        self.deadline().saturating_add(SLACK)
    }

    fn check(&self) -> Result<(), ConfigError> {
        const SECOND: Duration = Duration::from_secs(1);
        const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
        let refuse = |setting, problem| Err(ConfigError::Setting { setting, problem });
        if self.min_ttl < SECOND {
            return refuse(
                "jwks min_ttl",
                "less would fetch for almost every token: give a second or more",
            );
        }
        if self.max_ttl > WEEK {
            return refuse(
                "jwks max_ttl",
                "a removed key would be accepted for too long: give seven days or less",
            );
        }
        if self.max_stale > WEEK {
            return refuse(
                "jwks max_stale",
                "a removed key would be accepted for too long while the issuer is down: give seven days or less",
            );
        }
        if self.min_ttl > self.max_ttl {
            return refuse(
                "jwks min_ttl",
                "longer than max_ttl: lower it, or raise max_ttl",
            );
        }
        if self.cooldown < SECOND {
            return refuse(
                "jwks cooldown",
                "less would let any client cause fetch after fetch: give a second or more",
            );
        }
        if self.timeout.is_zero() {
            return refuse(
                "jwks timeout",
                "zero would let no fetch succeed: give some seconds",
            );
        }
        Ok(())
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
        }
    }
}
