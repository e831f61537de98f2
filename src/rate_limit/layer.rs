//! The layer, which is its own builder.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Once};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tower::Layer;

use super::in_flight::InFlight;
use super::key::{By, Counted, KeyHasher};
use super::limit::{Counts, Limit, States};
use super::memory::Memory;
use super::quota::Quota;
use super::ready::{Chosen, QuotaFor, Ready};
use super::service::{LimitGate, RateLimit, Settings};
use super::tell::Tells;
use crate::client_address::AddressReader;
use crate::clock::Clock;
use crate::decision::Mode;
use crate::error::ConfigError;
use crate::observe;

mod describe;
mod keys;
mod quotas;

/// Limits how often each caller may call: see the [module](super) for what it decides and what the client sees.
///
/// Clones, and all services made from them, count together: a layer on three routes is one limit over the three. Build
/// a second layer for a second count.
#[derive(Clone)]
#[must_use]
#[doc(alias = "throttle", alias = "governor", alias = "quota", alias = "429")]
pub struct RateLimitLayer {
    /// The first is the layer's name.
    quotas: Vec<(Arc<str>, Quota)>,
    quota_for: Option<Arc<QuotaFor>>,
    in_flight: Option<Arc<InFlight>>,
    counts: Counts,
    mode: Mode,
    counted: Counted,
    cost: NonZeroU32,
    hasher: KeyHasher,
    states: States,
    clock: Clock,
    tells: Tells,
    jitter: Duration,
    enabled: bool,
    warned: Arc<Once>,
}

// === impl RateLimitLayer ===

impl RateLimitLayer {
    /// A limit of `quota` for each client address.
    pub fn new(quota: Quota) -> Self {
        Self {
            quotas: vec![(Arc::from("default"), quota)],
            quota_for: None,
            in_flight: None,
            counts: Counts::Requests,
            mode: Mode::default(),
            counted: Counted {
                by: By::Address,
                per_route: false,
                peer: AddressReader::default(),
            },
            cost: NonZeroU32::MIN,
            hasher: KeyHasher::local(),
            states: States::Memory(Arc::new(Memory::new(Memory::DEFAULT_KEYS))),
            clock: Clock::System,
            tells: Tells::Fields,
            jitter: Duration::ZERO,
            enabled: true,
            warned: Arc::new(Once::new()),
        }
    }

    /// Changes the quota. A clone with another quota counts apart from the original, in the same memory.
    pub fn with_quota(mut self, quota: Quota) -> Self {
        if let Some(first) = self.quotas.first_mut() {
            first.1 = quota;
        }
        self
    }

    /// Counts only requests that `JwtAuthLayer` refused for an invalid token, and refuses a caller that has used up its
    /// quota of them before any signature is verified. It stands outside `JwtAuthLayer`.
    ///
    /// What counts is the refusal itself, not its status: an upstream's 401 does not. Behind a proxy that is not among
    /// the [`trusted_proxies`](Self::trusted_proxies), all clients have the proxy's address and would lock each other out:
    /// without any, a warning is logged when the layer is put to use.
    pub fn failures_only(mut self) -> Self {
        self.counts = Counts::Failures;
        self
    }

    /// Charges a request when its response is there: so many permits as `cost_of` says, by its status or a header that
    /// the upstream wrote. 0 is no charge.
    ///
    /// A request is admitted while one permit is left. What it then costs is charged in full and may be owed, up to
    /// once more the burst: requests of one caller that are in flight together may exceed the bound by what they cost.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// // Looking for what is not there.
    /// let probing = RateLimitLayer::new(Quota::per_minute(20)).charge_after(|status, _| u32::from(status == 404));
    ///
    /// // What the upstream says that it cost.
    /// let measured = RateLimitLayer::new(Quota::per_hour(10_000)).by_client().charge_after(|_, headers| {
    ///     let cost = headers.get("x-cost").and_then(|cost| cost.to_str().ok()?.parse().ok());
    ///     cost.unwrap_or(1)
    /// });
    /// ```
    pub fn charge_after(
        mut self,
        cost_of: impl Fn(StatusCode, &HeaderMap) -> u32 + Send + Sync + 'static,
    ) -> Self {
        self.counts = Counts::Afterwards(Arc::new(cost_of));
        self
    }

    /// Admits at most so many requests of a caller at once, besides what the quota says. The next is refused with 429.
    ///
    /// A request is in flight from here on until the body of its response has ended, or until the client has gone. It
    /// is counted in this process, also where the quotas are counted elsewhere. The layer starts a count of its own,
    /// apart from its clones.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let eight = NonZeroU32::new(8).unwrap();
    /// let limit = RateLimitLayer::new(Quota::UNLIMITED).by_subject().max_in_flight(eight);
    /// ```
    pub fn max_in_flight(mut self, requests: NonZeroU32) -> Self {
        self.in_flight = Some(Arc::new(InFlight::new(requests)));
        self
    }

    /// Whether refusals are answered, or only reported: [`Mode::Report`] tries a quota on real traffic.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Names the layer's first quota in the fields that clients see and in the body of a refusal, and the layer in
    /// metrics and events. The default is `default`.
    ///
    /// # Errors
    ///
    /// When the name is empty, longer than 64 bytes, or holds anything but letters, digits, `-`, `_`, `.`, `:` and `/`,
    /// or where another of the layer's quotas has it.
    pub fn named(mut self, name: &str) -> Result<Self, ConfigError> {
        let others = self.quotas.iter().skip(1);
        quotas::check_name(name, others)?;
        if let Some(first) = self.quotas.first_mut() {
            first.0 = Arc::from(name);
        }
        Ok(self)
    }

    /// Charges each request so many permits instead of one.
    ///
    /// Routes that cost more can share one count with the rest: `limit.clone().cost(..)`. What costs more than the
    /// burst is always refused.
    pub fn cost(mut self, permits: NonZeroU32) -> Self {
        self.cost = permits;
        self
    }

    /// How many states are remembered at once, one for each caller and quota: a million by default, at 17 bytes each,
    /// 17 MB when full. The number is rounded down, by an eighth at most.
    ///
    /// Memory is taken as callers come and never exceeds this. A caller is forgotten when it owes nothing any more;
    /// where room runs out, which begins at three quarters of the number, newcomers replace those that owe least and begin
    /// with what these owed. So nobody is ever admitted more than its quota, offenders who are pushed out included;
    /// newcomers have a shorter first burst, and are refused where they are more than the table can count. The layer starts
    /// a count of its own, apart from its clones.
    pub fn max_keys(mut self, keys: NonZeroUsize) -> Self {
        self.states = States::Memory(Arc::new(Memory::new(keys)));
        self
    }

    /// Keeps the callers' states in a store that other processes ask too, and so counts with them: layers whose policies
    /// have the same name and quota, and that count the same callers, count together.
    ///
    /// The store takes the place of this layer's memory, and of [`max_keys`](Self::max_keys).
    #[cfg(feature = "redis")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
    pub fn store(self, store: &super::redis::RedisStore) -> Self {
        let (store, secret) = store.parts();
        self.with_store(store, secret)
    }

    /// Reads the time from `clock`.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// Sends no `RateLimit` and `RateLimit-Policy` fields. A refusal still has its `Retry-After`.
    pub fn without_fields(mut self) -> Self {
        self.tells = Tells::Nothing;
        self
    }

    /// Sends `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` (seconds until there is one more) besides
    /// the fields of the draft, for clients that know those. They tell of the quota of which least is left; what a limit
    /// further in has said stays.
    pub fn legacy_fields(mut self) -> Self {
        self.tells = Tells::Legacy;
        self
    }

    /// Adds up to so much to each `Retry-After`, by chance, so that clients who were refused together do not come back
    /// together. None is added by default.
    pub fn retry_jitter(mut self, most: Duration) -> Self {
        self.jitter = most;
        self
    }

    /// Switches the layer off, or on again, without changing the stack's type.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Keeps the callers' states in a store that other processes ask too. They must share the secret as well.
    #[cfg(any(test, feature = "redis"))]
    pub(super) fn with_store(
        mut self,
        store: Arc<dyn super::store::Store>,
        secret: &[u8; 16],
    ) -> Self {
        self.states = States::Store(store);
        self.hasher = KeyHasher::shared(secret);
        self
    }

    /// Whether clients behind a proxy would be taken for one another, and locked out for it.
    fn expects_a_proxy(&self) -> bool {
        let by_address = matches!(self.counted.by, By::Address);
        matches!(self.counts, Counts::Failures)
            && by_address
            && self.counted.peer.proxies.is_empty()
    }

    fn name(&self) -> Arc<str> {
        let first = self.quotas.first();
        first.map_or_else(|| Arc::from(""), |(name, _)| Arc::clone(name))
    }

    fn limit(&self) -> Limit {
        let choose = self.quota_for.clone();
        Limit {
            name: self.name(),
            own: Ready::new(&self.quotas),
            chosen: choose.map(|choose| Chosen::new(choose, &self.quotas)),
            in_flight: self.in_flight.clone(),
            counts: self.counts.clone(),
            cost: self.cost,
            counted: self.counted.clone(),
            hasher: self.hasher.clone(),
            states: self.states.clone(),
            clock: self.clock.clone(),
            tells: self.tells,
            jitter: self.jitter,
        }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        let settings = || Settings {
            limit: self.limit(),
            mode: self.mode,
            metrics: Default::default(),
        };
        if self.enabled && self.expects_a_proxy() {
            self.warned.call_once(observe::limit_trusts_no_proxy);
        }
        let gate = self.enabled.then(|| LimitGate(Arc::new(settings())));
        RateLimit::new(gate, inner)
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("quotas", &self.quotas)
            .field("counted", &self.counted)
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}
