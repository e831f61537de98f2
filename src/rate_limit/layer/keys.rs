//! Whom a layer counts.

use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderName};

use super::RateLimitLayer;
use crate::claim_path::ClaimPath;
use crate::client_address::TrustedProxies;
use crate::error::ConfigError;
use crate::rate_limit::key::By;

impl RateLimitLayer {
    /// Counts each client address for itself: an IPv4 address whole, an IPv6 address by its /64. This is the default.
    ///
    /// The address is the one that a
    /// [`SetClientAddressLayer`](crate::client_address::SetClientAddressLayer) found, otherwise that of the connection
    /// or the one that [`trusted_proxies`](Self::trusted_proxies) name. If the server provides no address, every request
    /// is rejected as a misconfiguration: one count for all would let any client lock out the others.
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

    /// Believes `X-Forwarded-For` and `Forwarded` (RFC 7239) where the connection comes from one of these networks
    /// (`10.0.0.0/8`) or addresses. By default nobody is believed.
    ///
    /// Each is walked from the right, over entries that are such proxies too, to the first that is not. A proxy writes
    /// one of the two and passes on what the client wrote into the other; so where they name two clients, the request
    /// counts as the proxy's own.
    ///
    /// # Errors
    ///
    /// When one of them is neither a network nor an address, or is the network of everybody.
    pub fn trusted_proxies<P>(mut self, proxies: P) -> Result<Self, ConfigError>
    where
        P: IntoIterator<Item: AsRef<str>>,
    {
        self.counted.peer.proxies = TrustedProxies::new(proxies)?;
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
        self.counted.peer = self.counted.peer.peer_from(read);
        self
    }

    fn by(mut self, by: By) -> Self {
        self.counted.by = by;
        self
    }
}
