//! The layer, which is its own builder.

use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderName};
use ipnet::IpNet;
use tower::Layer;

use super::fields;
use super::key::{By, Counted, KeyHasher};
use super::limit::{Counts, Limit, States};
use super::memory::Memory;
use super::quota::Quota;
use super::ready::{Chosen, QuotaFor, Ready};
use super::service::{LimitGate, RateLimit, Settings};
use crate::claim_path::ClaimPath;
use crate::clock::Clock;
use crate::error::ConfigError;
use crate::identity::Identity;
use crate::peer::Peer;

/// Limits how often each caller may call: see the [module](super) for what it decides and what the client sees.
///
/// Clones, and all services made from them, count together: a layer on three routes is one limit over the three. Build
/// a second layer for a second count.
#[derive(Clone)]
#[must_use]
pub struct RateLimitLayer {
    /// The first is the layer's name.
    quotas: Vec<(Arc<str>, Quota)>,
    quota_for: Option<Arc<QuotaFor>>,
    counts: Counts,
    report_only: bool,
    counted: Counted,
    cost: NonZeroU32,
    hasher: KeyHasher,
    states: States,
    clock: Clock,
    tells_clients: bool,
    enabled: bool,
}

// === impl RateLimitLayer ===

impl RateLimitLayer {
    /// A limit of `quota` for each client address.
    pub fn new(quota: Quota) -> Self {
        Self {
            quotas: vec![(Arc::from("default"), quota)],
            quota_for: None,
            counts: Counts::Requests,
            report_only: false,
            counted: Counted {
                by: By::Address,
                per_route: false,
                peer: Peer::default(),
            },
            cost: NonZeroU32::MIN,
            hasher: KeyHasher::local(),
            states: States::Memory(Arc::new(Memory::new(Memory::DEFAULT_KEYS))),
            clock: Clock::System,
            tells_clients: true,
            enabled: true,
        }
    }

    /// Counts each client address for itself: an IPv4 address whole, an IPv6 address by its /64. This is the default.
    ///
    /// The address is the connection's, unless [`trusted_proxies`](Self::trusted_proxies) says otherwise. Where the
    /// stack tells no address, every request is refused as a misconfiguration: one count for all would let any client
    /// lock out the others.
    pub fn by_address(self) -> Self {
        self.by(By::Address)
    }

    /// Counts each verified subject for itself, and anonymous callers by address.
    ///
    /// Two issuers' subjects of one name are two subjects. `JwtAuthLayer` must stand outside this layer; without it
    /// every request is refused as a misconfiguration.
    pub fn by_subject(self) -> Self {
        self.by(By::Subject)
    }

    /// Counts each client application for itself (`azp`, else `client_id`), whoever its users are.
    ///
    /// A verified caller whose token names no client is counted by subject, an anonymous one by address.
    pub fn by_client(self) -> Self {
        self.by(By::Client)
    }

    /// Counts each value of a verified claim for itself, a tenant for example.
    ///
    /// A verified caller without the claim is counted by subject, an anonymous one by address.
    pub fn by_claim(self, claim: impl Into<ClaimPath>) -> Self {
        self.by(By::Claim(claim.into()))
    }

    /// Counts each value of a header for itself, and requests without it by address.
    ///
    /// Only for a header that a trusted proxy sets and lets no client set: whoever chooses its own value has a new count
    /// with every request, and can use up another's. What a client proves of itself is in its token: see
    /// [`by_claim`](Self::by_claim).
    ///
    /// # Errors
    ///
    /// When the name is no header's name.
    pub fn by_header(self, name: &str) -> Result<Self, ConfigError> {
        let header = HeaderName::try_from(name).map_err(|_| ConfigError::Header {
            name: name.to_owned(),
            problem: "use the name of a header, such as x-tenant",
        })?;
        Ok(self.by(By::Header(header)))
    }

    /// Counts each route for itself, whoever calls it: all callers share its quota.
    ///
    /// The route is axum's `MatchedPath` or a [`RouteTemplate`](crate::RouteTemplate) in the request's extensions, never
    /// the path, which clients invent. Requests without a route share one count.
    pub fn by_route(self) -> Self {
        self.by(By::Everyone).per_route()
    }

    /// Counts each caller on each route for itself, instead of on all together. It goes with every other `by_`.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let limit = RateLimitLayer::new(Quota::per_minute(60)).by_subject().per_route();
    /// ```
    pub fn per_route(mut self) -> Self {
        self.counted.per_route = true;
        self
    }

    /// Counts each value that `read` finds in a request for itself, and requests in which it finds none by address.
    ///
    /// Read what the client cannot choose freely: what another layer put into the extensions, such as the
    /// [`Caller`](crate::Caller), or a header that a trusted proxy sets. A client that chooses its own key has no limit.
    ///
    /// ```
    /// use portcullis::{Caller, Quota, RateLimitLayer};
    ///
    /// let per_token = RateLimitLayer::new(Quota::per_minute(100)).by_key(|_headers, extensions| {
    ///     let me = extensions.get::<Caller>()?.identity()?;
    ///     me.token_id().map(str::to_owned)
    /// });
    /// ```
    pub fn by_key<K, F>(self, read: F) -> Self
    where
        K: Hash,
        F: Fn(&HeaderMap, &Extensions) -> Option<K> + Send + Sync + 'static,
    {
        self.by(By::Custom(Arc::new(move |headers, extensions, hasher| {
            read(headers, extensions).map(|key| key.hash(hasher))
        })))
    }

    /// Changes the quota. A clone with another quota counts apart from the original, in the same memory.
    pub fn with_quota(mut self, quota: Quota) -> Self {
        if let Some(first) = self.quotas.first_mut() {
            first.1 = quota;
        }
        self
    }

    /// Chooses the quota of each verified caller, in place of the layer's own.
    ///
    /// Whoever is named none has the layer's own, anonymous callers too; [`Quota::UNLIMITED`] is no limit.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let generous = RateLimitLayer::new(Quota::per_minute(10)).by_client().quota_for(|me| {
    ///     me.client()?.starts_with("partner-").then_some(Quota::per_minute(1_000))
    /// });
    /// ```
    pub fn quota_for(
        mut self,
        choose: impl Fn(&Identity) -> Option<Quota> + Send + Sync + 'static,
    ) -> Self {
        self.quota_for = Some(Arc::new(choose));
        self
    }

    /// Counts only requests that `JwtAuthLayer` refused for an invalid token, and refuses a caller that has used up its
    /// quota of them before any signature is verified. It stands outside `JwtAuthLayer`.
    ///
    /// What counts is the refusal itself, not its status: an upstream's 401 does not.
    pub fn failures_only(mut self) -> Self {
        self.counts = Counts::Failures;
        self
    }

    /// Decides, counts and logs what it would refuse (`would_deny`), and lets it through: for trying a quota on real
    /// traffic.
    pub fn report_only(mut self) -> Self {
        self.report_only = true;
        self
    }

    /// Names the policy in the fields that clients see, in the body of a refusal, and in metrics and events. The
    /// default is `default`.
    ///
    /// # Errors
    ///
    /// When the name is empty, longer than 64 bytes, or holds anything but letters, digits, `-`, `_`, `.`, `:` and `/`.
    pub fn named(mut self, name: &str) -> Result<Self, ConfigError> {
        if !fields::is_name(name) {
            return Err(ConfigError::Setting {
                setting: "name of a rate limit",
                problem: "use 1 to 64 ASCII letters, digits, `-`, `_`, `.`, `:` and `/`",
            });
        }
        if let Some(first) = self.quotas.first_mut() {
            first.0 = Arc::from(name);
        }
        Ok(self)
    }

    /// Believes `X-Forwarded-For` where the connection comes from one of these networks (`10.0.0.0/8`) or addresses.
    ///
    /// The list is walked from the right, over entries that are such proxies too. By default nobody is believed.
    ///
    /// # Errors
    ///
    /// When one of them is neither a network nor an address, or is the network of everybody.
    pub fn trusted_proxies<P>(mut self, proxies: P) -> Result<Self, ConfigError>
    where
        P: IntoIterator<Item: AsRef<str>>,
    {
        let networks: Result<Vec<IpNet>, _> = proxies.into_iter().map(network).collect();
        self.counted.peer = self.counted.peer.trusting(networks?);
        Ok(self)
    }

    /// Reads the connection's address from an extension of another type than [`PeerAddr`](crate::PeerAddr) and axum's
    /// `ConnectInfo<SocketAddr>`: `.peer_from::<TcpConnectInfo>(|info| info.remote_addr())` under tonic.
    pub fn peer_from<T>(
        mut self,
        read: impl Fn(&T) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self
    where
        T: Send + Sync + 'static,
    {
        self.counted.peer = self.counted.peer.reading(read);
        self
    }

    /// Charges each request so many permits instead of one.
    ///
    /// Routes that cost more can share one count with the rest: `limit.clone().cost(..)`. What costs more than the
    /// burst is always refused.
    pub fn cost(mut self, permits: NonZeroU32) -> Self {
        self.cost = permits;
        self
    }

    /// How many callers are remembered at once: a million by default, at 24 bytes each, 24 MB when full.
    ///
    /// Memory is taken as callers come and never exceeds this. A caller is forgotten when it owes nothing any more;
    /// where room runs out, which begins at three quarters of the number, newcomers replace those that owe least. The
    /// layer starts a count of its own, apart from its clones.
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
        self.tells_clients = false;
        self
    }

    /// Switches the layer off, or on again, without changing the stack's type.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    fn by(mut self, by: By) -> Self {
        self.counted.by = by;
        self
    }

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
            counts: self.counts,
            cost: self.cost,
            counted: self.counted.clone(),
            hasher: self.hasher.clone(),
            states: self.states.clone(),
            clock: self.clock.clone(),
            tells_clients: self.tells_clients,
        }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        let settings = || Settings {
            limit: self.limit(),
            report_only: self.report_only,
            tallies: Default::default(),
        };
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

fn network(text: impl AsRef<str>) -> Result<IpNet, ConfigError> {
    let text = text.as_ref();
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let refuse = |problem| ConfigError::Setting {
        setting: "trusted proxies",
        problem,
    };
    let network: IpNet = text.parse().or_else(|_| address()).map_err(|_| {
        refuse("name each as a network such as 10.0.0.0/8 or fd00::/8, or as an address")
    })?;
    if network.prefix_len() == 0 {
        return Err(refuse(
            "name the networks of your proxies: whoever trusts everybody lets each client choose its address",
        ));
    }
    Ok(network)
}
