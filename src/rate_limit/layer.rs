//! The layer, which is its own builder.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Once};
use std::time::Duration;

use http::{Extensions, HeaderMap, StatusCode};
use tower::Layer;

use super::headers::HeaderStyle;
use super::in_flight::InFlight;
use super::key::{KeyConfig, KeyHasher, KeyKind, LimitKey};
use super::limit::{Counting, Exempt, Limit, States};
use super::memory::Memory;
use super::policy::QuotaChoice;
use super::prepared::{PreparedPolicy, QuotaSelector};
use super::quota::Quota;
use super::service::{LimitGate, RateLimit};
use crate::client_address::AddressReader;
use crate::clock::Clock;
use crate::decision::Mode;
use crate::error::ConfigError;
use crate::observe;

mod describe;
mod keys;
mod quotas;

/// Limits how often each caller may call: see the [module](super) for how it decides.
///
/// Clones, and all services made from them, count together: a layer on three routes is one limit
/// for the three. Build a second layer for a separate count.
#[derive(Clone)]
#[must_use]
#[doc(alias = "throttle", alias = "governor", alias = "quota", alias = "429")]
pub struct RateLimitLayer {
    /// The first has the layer's name.
    quotas: Vec<(Arc<str>, Quota)>,
    choice: Option<Arc<QuotaChoice>>,
    in_flight: Option<Arc<InFlight>>,
    counting: Counting,
    count_expired: bool,
    cost_if_dropped: u32,
    exempt: Option<Arc<Exempt>>,
    mode: Mode,
    key: KeyConfig,
    cost: NonZeroU32,
    hasher: KeyHasher,
    states: States,
    clock: Clock,
    headers: HeaderStyle,
    jitter: Duration,
    enabled: bool,
    warned: Arc<Once>,
}

// === impl RateLimitLayer ===

impl RateLimitLayer {
    /// The name of a layer that was not [named](Self::named).
    pub const DEFAULT_NAME: &str = "default";

    /// The default of [`max_keys`](Self::max_keys): a million, 17 MB when full.
    pub const DEFAULT_MAX_KEYS: NonZeroUsize = Memory::DEFAULT_KEYS;

    /// A limit of `quota` for each client address.
    pub fn new(quota: Quota) -> Self {
        Self {
            quotas: vec![(Arc::from(Self::DEFAULT_NAME), quota)],
            choice: None,
            in_flight: None,
            counting: Counting::Requests,
            count_expired: false,
            cost_if_dropped: 1,
            exempt: None,
            mode: Mode::default(),
            key: KeyConfig {
                kind: KeyKind::Known(LimitKey::Address),
                per_route: false,
                peer: AddressReader::default(),
            },
            cost: NonZeroU32::MIN,
            hasher: KeyHasher::local(),
            states: States::Memory(Arc::new(Memory::new(Memory::DEFAULT_KEYS))),
            clock: Clock::System,
            headers: HeaderStyle::default(),
            jitter: Duration::ZERO,
            enabled: true,
            warned: Arc::new(Once::new()),
        }
    }

    /// Changes the quota. A clone with another quota counts separately, in the same memory.
    pub fn with_quota(mut self, quota: Quota) -> Self {
        if let Some(first) = self.quotas.first_mut() {
            first.1 = quota;
        }
        self
    }

    /// Counts only requests whose token `JwtAuthLayer` rejected as invalid. A caller over its quota
    /// is rejected before any signature is verified. The layer must be outside `JwtAuthLayer`.
    ///
    /// A 401 of an upstream, of a handler or of another layer does not count, and an expired token
    /// only with [`count_expired`](Self::count_expired).
    ///
    /// Clients behind one address (an office, a NAT gateway) share its count. To let requests with
    /// a known good token pass while the address is over its quota, see [`exempt`](Self::exempt).
    /// Behind a proxy that is not [trusted](Self::trusted_proxies), all clients have the address of
    /// the proxy; a layer without trusted proxies logs a warning once.
    pub fn failures_only(mut self) -> Self {
        self.counting = Counting::Failures;
        self
    }

    /// Also counts expired tokens, if the layer counts [`failures_only`](Self::failures_only).
    ///
    /// The signature of an expired token is valid: the sender is either a client that did not
    /// refresh the token, or an attacker that replays it. By default it does not count.
    pub fn count_expired(mut self) -> Self {
        self.count_expired = true;
        self
    }

    /// Lets a request pass although its quota is used up, if `is_exempt` returns true. Nothing is
    /// charged for it. `is_exempt` is not called for requests within the quota.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let limit = RateLimitLayer::new(Quota::per_minute(60))
    ///     .exempt(|_headers, extensions| extensions.get::<HealthCheck>().is_some());
    ///
    /// #[derive(Clone)]
    /// struct HealthCheck;
    /// ```
    pub fn exempt(
        mut self,
        is_exempt: impl Fn(&HeaderMap, &Extensions) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.exempt = Some(Arc::new(is_exempt));
        self
    }

    /// Charges a request once its response is known, by status and headers. A cost of 0 is free.
    ///
    /// A request is admitted while one permit is left. Its whole cost is charged afterwards, as a
    /// debt if necessary, of up to one more burst: concurrent requests of one caller may exceed the
    /// bound by their cost. A request that is dropped before its response, because the client
    /// disconnects or a timeout elapses, costs one permit: see
    /// [`cost_if_dropped`](Self::cost_if_dropped).
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// // Only probing for paths that do not exist.
    /// let probing = RateLimitLayer::new(Quota::per_minute(20))
    ///     .charge_after(|status, _| u32::from(status == 404));
    ///
    /// // The cost that the upstream reports. Queries cost even if the client is gone.
    /// let measured = RateLimitLayer::new(Quota::per_hour(10_000)).by_client()
    ///     .charge_after(|_, headers| {
    ///         let cost = headers.get("x-cost").and_then(|cost| cost.to_str().ok()?.parse().ok());
    ///         cost.unwrap_or(1)
    ///     })
    ///     .cost_if_dropped(100);
    /// ```
    pub fn charge_after(
        mut self,
        cost_of: impl Fn(StatusCode, &HeaderMap) -> u32 + Send + Sync + 'static,
    ) -> Self {
        self.counting = Counting::Responses(Arc::new(cost_of));
        self
    }

    /// Sets the cost of a request that is dropped before its response, if the layer [charges
    /// afterwards](Self::charge_after). The default is 1. With 0, a client that always disconnects
    /// early is not limited.
    pub fn cost_if_dropped(mut self, permits: u32) -> Self {
        self.cost_if_dropped = permits;
        self
    }

    /// Also limits how many requests of a caller are in flight. Further requests are rejected with
    /// 429.
    ///
    /// A request is in flight until the body of its response ends, or the client disconnects. The
    /// count is kept in this process, even if quotas are kept in a store. The layer starts a count
    /// separate from that of its clones.
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

    /// Whether requests over the limit are rejected, or only reported: [`Mode::Report`] tries a
    /// quota on real traffic.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Names the layer's first quota in fields and bodies of responses, and the layer in metrics
    /// and events. The default is `default`.
    ///
    /// # Errors
    ///
    /// If the name is empty, longer than 64 bytes, or contains anything but ASCII letters, digits,
    /// `-`, `_`, `.`, `:` and `/`, or if another quota of the layer has it.
    pub fn named(mut self, name: impl AsRef<str>) -> Result<Self, ConfigError> {
        let name = quotas::check_name(name.as_ref(), self.quotas.iter().skip(1))?;
        if let Some(first) = self.quotas.first_mut() {
            first.0 = name;
        }
        Ok(self)
    }

    /// Charges each request this many permits instead of one.
    ///
    /// Expensive routes can share one count with the others: `limit.clone().cost(..)`. A cost above
    /// the burst is always refused.
    pub fn cost(mut self, permits: NonZeroU32) -> Self {
        self.cost = permits;
        self
    }

    /// The maximum number of states in memory, one per caller and quota: a million by default, at
    /// 17 bytes each. The number is rounded down, by an eighth at most.
    ///
    /// Memory grows with the number of callers up to this maximum. Callers without debt are
    /// forgotten. When the table is full, which begins at three quarters of the number, newcomers
    /// replace the callers with the least debt, and take over that debt. So no caller gets more
    /// than its quota by being replaced. In return, newcomers have a smaller first burst, and are
    /// refused if more arrive than the table can count. The layer starts a count separate from that
    /// of its clones.
    pub fn max_keys(mut self, keys: NonZeroUsize) -> Self {
        self.states = States::Memory(Arc::new(Memory::new(keys)));
        self
    }

    /// Keeps the states of callers in a store that other processes use too. Layers whose policies
    /// have the same name and quota, and that count by the same key, count together.
    ///
    /// The store replaces the memory of this layer, and [`max_keys`](Self::max_keys).
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

    /// Sets the rate limit fields of responses. The default is [`HeaderStyle::Draft`].
    ///
    /// ```
    /// use portcullis::rate_limit::HeaderStyle;
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let limit = RateLimitLayer::new(Quota::per_second(50)).header_style(HeaderStyle::Legacy);
    /// ```
    pub fn header_style(mut self, style: HeaderStyle) -> Self {
        self.headers = style;
        self
    }

    /// Sends no `RateLimit` and `RateLimit-Policy` fields: [`HeaderStyle::None`].
    pub fn without_fields(self) -> Self {
        self.header_style(HeaderStyle::None)
    }

    /// Adds a random time, up to `max`, to each `Retry-After`, so that clients that were rejected
    /// together do not return together. The default is zero.
    pub fn retry_jitter(mut self, max: Duration) -> Self {
        self.jitter = max;
        self
    }

    /// Disables the layer, or enables it again, without changing the type of the stack.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Keeps the states of callers in a store. All processes must share the secret.
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

    /// Whether clients behind a proxy would share a count of failures.
    fn may_count_a_proxy(&self) -> bool {
        matches!(self.counting, Counting::Failures)
            && matches!(self.key.kind, KeyKind::Known(LimitKey::Address))
            && self.key.peer.proxies.is_empty()
    }

    fn name(&self) -> Arc<str> {
        let first = self.quotas.first();
        first.map_or_else(|| Arc::from(""), |(name, _)| Arc::clone(name))
    }

    fn limit(&self) -> Limit {
        let choice = self.choice.clone();
        Limit {
            name: self.name(),
            own: PreparedPolicy::new(&self.quotas),
            selector: choice.map(|choice| QuotaSelector::new(choice, &self.quotas)),
            in_flight: self.in_flight.clone(),
            counting: self.counting.clone(),
            count_expired: self.count_expired,
            cost_if_dropped: self.cost_if_dropped,
            exempt: self.exempt.clone(),
            cost: self.cost,
            key: self.key.clone(),
            hasher: self.hasher.clone(),
            states: self.states.clone(),
            clock: self.clock.clone(),
            headers: self.headers,
            jitter: self.jitter,
            mode: self.mode,
            metrics: Default::default(),
        }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        if self.enabled && self.may_count_a_proxy() {
            self.warned.call_once(observe::limit_trusts_no_proxy);
        }
        let gate = self.enabled.then(|| LimitGate(Arc::new(self.limit())));
        RateLimit::new(gate, inner)
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("quotas", &self.quotas)
            .field("key", &self.key)
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}
