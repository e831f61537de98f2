//! What a layer counts by.

use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Extensions, HeaderMap};

use super::RateLimitLayer;
use crate::claim_path::ClaimPath;
use crate::client_address::TrustedProxies;
use crate::error::ConfigError;
use crate::rate_limit::key::{KeyKind, LimitKey, header_name};

impl RateLimitLayer {
    /// Counts by this key, for example one that was read from a configuration file.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let limit = RateLimitLayer::new("60/m".parse()?).by("claim:tenant".parse()?);
    /// # Ok::<_, portcullis::ConfigError>(())
    /// ```
    pub fn by(mut self, key: LimitKey) -> Self {
        self.key.kind = KeyKind::Known(key);
        self
    }

    /// Counts each client address separately: an IPv4 address as a whole, an IPv6 address by its
    /// /64. This is the default.
    ///
    /// The address is the one that a
    /// [`SetClientAddressLayer`](crate::client_address::SetClientAddressLayer) found, otherwise
    /// that of the connection or the one that [`trusted_proxies`](Self::trusted_proxies) name. If
    /// the server provides no address, every request is rejected as a misconfiguration: one count
    /// for all would let any client lock out the others.
    pub fn by_address(self) -> Self {
        self.by(LimitKey::Address)
    }

    /// Counts each verified subject separately, and anonymous callers by address.
    ///
    /// Subjects of the same name from two issuers are two subjects. `JwtAuthLayer` must be outside
    /// this layer; without it every request is rejected as a misconfiguration.
    pub fn by_subject(self) -> Self {
        self.by(LimitKey::Subject)
    }

    /// Counts each client application separately (`azp`, otherwise `client_id`), for all of its
    /// users together.
    ///
    /// A verified caller whose token names no client is counted by subject, an anonymous one by
    /// address.
    pub fn by_client(self) -> Self {
        self.by(LimitKey::Client)
    }

    /// Counts each value of a verified claim separately, for example each tenant.
    ///
    /// A verified caller without the claim is counted by subject, an anonymous one by address.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let limit = RateLimitLayer::new(Quota::per_minute(600)).by_claim(["org", "tenant"]);
    /// ```
    pub fn by_claim(self, claim: impl Into<ClaimPath>) -> Self {
        self.by(LimitKey::Claim(claim.into()))
    }

    /// Counts each value of a header separately, and requests without it by address.
    ///
    /// Use it only for a header that a trusted proxy sets and removes from clients' requests: a
    /// client that chooses the value has a new count with every request, and can use up the count
    /// of another. For what a client proves about itself, see [`by_claim`](Self::by_claim).
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let limit = RateLimitLayer::new(Quota::per_minute(600)).by_header("x-tenant")?;
    /// # Ok::<_, portcullis::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the name is not a valid header name.
    pub fn by_header(self, name: &str) -> Result<Self, ConfigError> {
        Ok(self.by(LimitKey::Header(header_name(name)?)))
    }

    /// Counts each route separately, for all callers together.
    ///
    /// The route is axum's `MatchedPath` or a [`RouteTemplate`](crate::RouteTemplate) in the
    /// extensions of the request, never the path, which clients choose. Requests without a route
    /// share one count.
    pub fn by_route(self) -> Self {
        self.by(LimitKey::Route)
    }

    /// Counts each caller on each route separately. Combines with every other key.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let limit = RateLimitLayer::new(Quota::per_minute(60)).by_subject().per_route();
    /// ```
    pub fn per_route(mut self) -> Self {
        self.key.per_route = true;
        self
    }

    /// Counts each value that `read` finds in a request separately, and requests in which it finds
    /// none by address.
    ///
    /// Read what the client cannot choose: values that another layer put into the extensions, for
    /// example the [`Caller`](crate::Caller), or a header that a trusted proxy sets. A client that
    /// chooses its own key has no limit.
    ///
    /// ```
    /// use portcullis::{Caller, Quota, RateLimitLayer};
    ///
    /// let per_token = RateLimitLayer::new(Quota::per_minute(100)).by_key(|_headers, extensions| {
    ///     let me = extensions.get::<Caller>()?.identity()?;
    ///     me.token_id().map(str::to_owned)
    /// });
    /// ```
    pub fn by_key<K, F>(mut self, read: F) -> Self
    where
        K: Hash,
        F: Fn(&HeaderMap, &Extensions) -> Option<K> + Send + Sync + 'static,
    {
        self.key.kind = KeyKind::Custom(Arc::new(move |headers, extensions, hasher| {
            read(headers, extensions).map(|key| key.hash(hasher))
        }));
        self
    }

    /// Trusts `X-Forwarded-For` and `Forwarded` (RFC 7239) of connections from these networks
    /// (`10.0.0.0/8`) or addresses. By default none is trusted. See
    /// [`TrustedProxies`](crate::client_address::TrustedProxies) for how the client is found.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let limit = RateLimitLayer::new(Quota::per_second(50)).trusted_proxies(["10.0.0.0/8"])?;
    /// # Ok::<_, portcullis::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If one of them is neither a network nor an address, or contains every address.
    pub fn trusted_proxies<P>(mut self, proxies: P) -> Result<Self, ConfigError>
    where
        P: IntoIterator<Item: AsRef<str>>,
    {
        self.key.peer.proxies = TrustedProxies::new(proxies)?;
        Ok(self)
    }

    /// Reads the address of the connection from an extension of another type than
    /// [`PeerAddr`](crate::PeerAddr) and axum's `ConnectInfo<SocketAddr>`:
    /// `.peer_from::<TcpConnectInfo>(|info| info.remote_addr())` with tonic.
    pub fn peer_from<T>(
        mut self,
        read: impl Fn(&T) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self
    where
        T: Send + Sync + 'static,
    {
        self.key.peer = self.key.peer.peer_from(read);
        self
    }
}
