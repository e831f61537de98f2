//! Whom a limit counts: a keyed hash of the caller, never the caller's name.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use http::{Extensions, HeaderMap, HeaderName};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::claim_path::ClaimPath;
use crate::client_address::AddressReader;
use crate::identity::{Caller, Identity};
use crate::rejection::Rejection;
use crate::route;

/// 128 bits that stand for a caller. Nobody who lacks the secret can find two callers that share them, or the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key([u64; 2]);

/// Whom a limit counts.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) by: By,
    /// Whether each route has counts of its own.
    pub(crate) per_route: bool,
    pub(crate) peer: AddressReader,
}

/// What tells one caller from another.
#[derive(Clone)]
pub(crate) enum By {
    /// Nothing: all share one count.
    Everyone,
    Address,
    Subject,
    Client,
    Claim(ClaimPath),
    Header(HeaderName),
    Custom(Arc<Custom>),
}

/// Hashes what a function of the user's finds in a request, or finds nothing.
type Custom = dyn Fn(&HeaderMap, &Extensions, &mut KeyHasher) -> Option<()> + Send + Sync;

/// A hash under a secret: of this process, or of all processes that share a store.
#[derive(Clone)]
pub(crate) struct KeyHasher {
    state: SipHasher13,
    is_local: bool,
}

/// Keeps what is counted one way from meeting what is counted another way.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Everyone,
    V4,
    V6,
    Subject,
    Client,
    Claim,
    Header,
    Custom,
    Route,
}

const NO_CALLER: &str = "a rate limit by subject, client or claim found no caller: put JwtAuthLayer outside RateLimitLayer, or count by address";

const NO_ADDRESS: &str = "a rate limit found no peer address: serve with into_make_service_with_connect_info::<SocketAddr>(), insert PeerAddr into the request's extensions, or name the extension that has it with RateLimitLayer::peer_from";

// === impl By ===

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("nobody in particular"),
            Self::Address => f.write_str("address"),
            Self::Subject => f.write_str("subject"),
            Self::Client => f.write_str("client"),
            Self::Claim(path) => write!(f, "claim {path:?}"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Custom(_) => f.write_str("a key of its own"),
        }
    }
}

// === impl Counted ===

impl Counted {
    pub(crate) fn key(
        &self,
        hasher: &KeyHasher,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Key, Rejection> {
        // The most frequent question of all is answered once for a token.
        if let (By::Subject, false, true) = (&self.by, self.per_route, hasher.is_local)
            && let Some(Caller::Verified(identity)) = Caller::of(extensions)
        {
            return Ok(Key(identity.subject_hash()));
        }
        let mut hasher = hasher.clone();
        if self.per_route {
            // Requests without a route share what there is to share: nothing is behind them.
            let route = route::template(extensions).unwrap_or_default();
            hasher.field(Kind::Route, route.as_bytes());
        }
        match &self.by {
            By::Everyone => hasher.field(Kind::Everyone, &[]),
            By::Address => self.address(&mut hasher, headers, extensions)?,
            By::Header(name) => match headers.get(name) {
                Some(value) => hasher.field(Kind::Header, value.as_bytes()),
                None => self.address(&mut hasher, headers, extensions)?,
            },
            By::Custom(read) => {
                let unread = hasher.clone();
                hasher.field(Kind::Custom, &[]);
                if read(headers, extensions, &mut hasher).is_none() {
                    hasher = unread;
                    self.address(&mut hasher, headers, extensions)?;
                }
            }
            by => match Caller::of(extensions) {
                None => return Err(Rejection::misconfigured(NO_CALLER)),
                Some(Caller::Anonymous) => self.address(&mut hasher, headers, extensions)?,
                Some(Caller::Verified(identity)) => by.verified(&mut hasher, identity),
            },
        }
        Ok(hasher.key())
    }

    /// A host may have a whole IPv6 /64 to itself and change its address with every request.
    fn address(
        &self,
        hasher: &mut KeyHasher,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<(), Rejection> {
        match self
            .peer
            .client(extensions, headers)
            .map(|client| client.ip())
        {
            // One bucket for all who have no address would let any one of them lock out the rest.
            None => return Err(Rejection::misconfigured(NO_ADDRESS)),
            Some(IpAddr::V4(address)) => hasher.field(Kind::V4, &address.octets()),
            Some(IpAddr::V6(address)) => {
                let network = (address.to_bits() >> 64) as u64;
                hasher.field(Kind::V6, &network.to_be_bytes());
            }
        }
        Ok(())
    }
}

// === impl By ===

impl By {
    /// What one issuer says is never mixed with what another says. A caller without the client or claim asked for is
    /// counted by subject.
    fn verified(&self, hasher: &mut KeyHasher, identity: &Identity) {
        let issuer = identity.issuer().as_bytes();
        match self {
            Self::Client => {
                if let Some(client) = identity.client() {
                    return hasher.pair(Kind::Client, issuer, client.as_bytes());
                }
            }
            Self::Claim(path) => {
                let claim = identity.claim_at(path).filter(|claim| !claim.is_null());
                if let Some(claim) = claim {
                    hasher.field(Kind::Claim, issuer);
                    return (path, claim).hash(hasher);
                }
            }
            Self::Subject | Self::Everyone | Self::Address | Self::Header(_) | Self::Custom(_) => {}
        }
        hasher.pair(Kind::Subject, issuer, identity.subject().as_bytes());
    }
}

impl fmt::Debug for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("Everyone"),
            Self::Address => f.write_str("Address"),
            Self::Subject => f.write_str("Subject"),
            Self::Client => f.write_str("Client"),
            Self::Claim(path) => f.debug_tuple("Claim").field(path).finish(),
            Self::Header(name) => f.debug_tuple("Header").field(name).finish(),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

// === impl Key ===

impl Key {
    /// One half says which part of a table holds the caller's states: all of one caller are in one part.
    pub(crate) fn shard(self) -> u64 {
        self.0[0]
    }

    /// The other tells the caller from all others in that part. It is independent of the first.
    pub(crate) fn name(self) -> u64 {
        self.0[1]
    }

    /// The whole, for a store elsewhere.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub(crate) fn bytes(self) -> [u8; 16] {
        let [high, low] = self.0;
        ((u128::from(high) << 64) | u128::from(low)).to_be_bytes()
    }
}

impl Hash for Key {
    /// For maps in one part of a table, which [`shard`](Self::shard) says.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.name());
    }
}

// === impl KeyHasher ===

impl KeyHasher {
    /// Under a secret that is new in every process and never leaves it.
    pub(crate) fn local() -> Self {
        static SECRET: LazyLock<[u64; 2]> =
            LazyLock::new(|| [0, 1].map(|half| RandomState::new().hash_one(half)));
        let [one, other] = *SECRET;
        Self {
            state: SipHasher13::new_with_keys(one, other),
            is_local: true,
        }
    }

    /// Under a secret that several processes share, so that they find one key for one caller.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub(crate) fn shared(secret: &[u8; 16]) -> Self {
        Self {
            state: SipHasher13::new_with_key(secret),
            is_local: false,
        }
    }

    pub(crate) fn key(&self) -> Key {
        let hash = self.state.finish128();
        Key([hash.h1, hash.h2])
    }

    /// The length keeps one field from running into the next.
    fn field(&mut self, kind: Kind, bytes: &[u8]) {
        let head = ((bytes.len() as u64) << 8) | kind as u64;
        self.state.write_u64(head);
        self.state.write(bytes);
    }

    fn pair(&mut self, kind: Kind, one: &[u8], other: &[u8]) {
        self.field(kind, one);
        self.field(kind, other);
    }
}

/// What a function of the user's hashes.
impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.state.write(bytes);
    }

    fn finish(&self) -> u64 {
        self.key().name()
    }
}

#[cfg(test)]
pub(super) mod tests;
