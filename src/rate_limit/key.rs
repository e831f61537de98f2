//! What a limit counts by: a keyed hash of the caller, never the caller's name.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use http::{Extensions, HeaderMap, HeaderName};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::claim_path::ClaimPath;
use crate::client_address::AddressReader;
use crate::error::ConfigError;
use crate::identity::{Caller, Identity};
use crate::rejection::Rejection;
use crate::route;

/// What a limit counts by, for [`RateLimitLayer::by`](super::RateLimitLayer::by).
///
/// The text form is `address`, `subject`, `client`, `route`, `header:x-tenant`, `claim:tenant`, or
/// `claim:["org","tenant"]` for a nested claim (see [`ClaimPath`]).
///
/// ```
/// use portcullis::rate_limit::LimitKey;
///
/// let key: LimitKey = r#"claim:["org","tenant"]"#.parse()?;
/// assert_eq!(key, LimitKey::Claim(["org", "tenant"].into()));
/// assert_eq!(key.to_string(), r#"claim:["org","tenant"]"#);
/// assert!("user".parse::<LimitKey>().is_err());
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitKey {
    /// The client's address: see [`by_address`](super::RateLimitLayer::by_address).
    Address,
    /// The verified subject: see [`by_subject`](super::RateLimitLayer::by_subject).
    Subject,
    /// The client application: see [`by_client`](super::RateLimitLayer::by_client).
    Client,
    /// The route, for all callers together: see [`by_route`](super::RateLimitLayer::by_route).
    Route,
    /// A verified claim: see [`by_claim`](super::RateLimitLayer::by_claim).
    Claim(ClaimPath),
    /// A header that a trusted proxy sets: see [`by_header`](super::RateLimitLayer::by_header).
    Header(HeaderName),
}

/// 128 bits that identify a caller. Without the secret, neither two callers that share them nor
/// the caller itself can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key([u64; 2]);

/// How the key of a request is found.
#[derive(Clone, Debug)]
pub(crate) struct KeyConfig {
    pub(crate) kind: KeyKind,
    /// Whether each route is counted separately.
    pub(crate) per_route: bool,
    pub(crate) peer: AddressReader,
}

#[derive(Clone)]
pub(crate) enum KeyKind {
    Known(LimitKey),
    Custom(Arc<CustomKey>),
}

/// A custom function that hashes values of a request; `None` if it finds none.
type CustomKey = dyn Fn(&HeaderMap, &Extensions, &mut KeyHasher) -> Option<()> + Send + Sync;

/// A hash under a secret: of this process, or of all processes that share a store.
#[derive(Clone)]
pub(crate) struct KeyHasher {
    state: SipHasher13,
    is_local: bool,
}

/// Separates keys of different kinds.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
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

const NO_CALLER: &str = "a rate limit by subject, client or claim found no caller: put \
    JwtAuthLayer outside RateLimitLayer, or count by address";

const NO_ADDRESS: &str = "a rate limit found no peer address: serve with \
    into_make_service_with_connect_info::<SocketAddr>(), insert PeerAddr into the request's \
    extensions, or name the extension that has it with RateLimitLayer::peer_from";

// === impl LimitKey ===

impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("address"),
            Self::Subject => f.write_str("subject"),
            Self::Client => f.write_str("client"),
            Self::Route => f.write_str("route"),
            Self::Claim(path) => write!(f, "claim:{path}"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl FromStr for LimitKey {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let expected = &[
            "address",
            "subject",
            "client",
            "route",
            "claim:<path>",
            "header:<name>",
        ];
        let unknown = || ConfigError::unknown_word("key of a rate limit", text, expected);
        Ok(match text.split_once(':') {
            None if text == "address" => Self::Address,
            None if text == "subject" => Self::Subject,
            None if text == "client" => Self::Client,
            None if text == "route" => Self::Route,
            Some(("claim", path)) => Self::Claim(path.parse()?),
            Some(("header", name)) => Self::Header(header_name(name)?),
            _ => return Err(unknown()),
        })
    }
}

#[cfg(feature = "serde")]
crate::words::serde_by_text!(LimitKey);

pub(super) fn header_name(name: &str) -> Result<HeaderName, ConfigError> {
    HeaderName::try_from(name).map_err(|_| ConfigError::Header {
        name: name.to_owned(),
        problem: "use the name of a header, such as x-tenant",
    })
}

// === impl KeyKind ===

impl KeyKind {
    /// Hashes a verified caller, within its issuer. A caller without the client or claim is counted
    /// by subject.
    fn hash_verified(&self, hasher: &mut KeyHasher, identity: &Identity) {
        let issuer = identity.issuer().as_bytes();
        match self {
            Self::Known(LimitKey::Client) => {
                if let Some(client) = identity.client() {
                    return hasher.pair(Tag::Client, issuer, client.as_bytes());
                }
            }
            Self::Known(LimitKey::Claim(path)) => {
                let claim = identity.claim_at(path).filter(|claim| !claim.is_null());
                if let Some(claim) = claim {
                    hasher.field(Tag::Claim, issuer);
                    return (path, claim).hash(hasher);
                }
            }
            _ => {}
        }
        hasher.pair(Tag::Subject, issuer, identity.subject().as_bytes());
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(key) => key.fmt(f),
            Self::Custom(_) => f.write_str("a custom key"),
        }
    }
}

impl fmt::Debug for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl KeyConfig ===

impl KeyConfig {
    pub(crate) fn key(
        &self,
        hasher: &KeyHasher,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Key, Rejection> {
        // The most frequent key is computed once per token.
        if let (KeyKind::Known(LimitKey::Subject), false, true) =
            (&self.kind, self.per_route, hasher.is_local)
            && let Some(Caller::Verified(identity)) = Caller::of(extensions)
        {
            return Ok(Key(identity.subject_hash()));
        }
        let mut hasher = hasher.clone();
        if self.is_per_route() {
            // Requests without a route share one count, because no handler serves them.
            let route = route::template(extensions).unwrap_or_default();
            hasher.field(Tag::Route, route.as_bytes());
        }
        match &self.kind {
            KeyKind::Known(LimitKey::Route) => hasher.field(Tag::Everyone, &[]),
            KeyKind::Known(LimitKey::Address) => self.address(&mut hasher, headers, extensions)?,
            KeyKind::Known(LimitKey::Header(name)) => match headers.get(name) {
                Some(value) => hasher.field(Tag::Header, value.as_bytes()),
                None => self.address(&mut hasher, headers, extensions)?,
            },
            KeyKind::Custom(read) => {
                let unread = hasher.clone();
                hasher.field(Tag::Custom, &[]);
                if read(headers, extensions, &mut hasher).is_none() {
                    hasher = unread;
                    self.address(&mut hasher, headers, extensions)?;
                }
            }
            kind => match Caller::of(extensions) {
                None => return Err(Rejection::misconfigured(NO_CALLER)),
                Some(Caller::Anonymous) => self.address(&mut hasher, headers, extensions)?,
                Some(Caller::Verified(identity)) => kind.hash_verified(&mut hasher, identity),
            },
        }
        Ok(hasher.key())
    }

    fn is_per_route(&self) -> bool {
        self.per_route || matches!(self.kind, KeyKind::Known(LimitKey::Route))
    }

    /// A host may have a whole IPv6 /64 to itself and change its address with every request.
    fn address(
        &self,
        hasher: &mut KeyHasher,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<(), Rejection> {
        match self.peer.ip(extensions, headers) {
            // One count for all requests without an address would let any client lock out the
            // others.
            None => return Err(Rejection::misconfigured(NO_ADDRESS)),
            Some(IpAddr::V4(address)) => hasher.field(Tag::V4, &address.octets()),
            Some(IpAddr::V6(address)) => {
                let network = (address.to_bits() >> 64) as u64;
                hasher.field(Tag::V6, &network.to_be_bytes());
            }
        }
        Ok(())
    }
}

impl fmt::Display for KeyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        let separately = self.per_route && !matches!(self.kind, KeyKind::Known(LimitKey::Route));
        f.write_str(if separately { " and route" } else { "" })
    }
}

// === impl Key ===

impl Key {
    /// The half that selects the shard: all states of a caller are in one.
    pub(crate) fn shard(self) -> u64 {
        self.0[0]
    }

    /// The half that identifies the caller within its shard; independent of the first.
    pub(crate) fn name(self) -> u64 {
        self.0[1]
    }

    /// Both halves, for a shared store.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub(crate) fn bytes(self) -> [u8; 16] {
        let [high, low] = self.0;
        ((u128::from(high) << 64) | u128::from(low)).to_be_bytes()
    }
}

impl Hash for Key {
    /// For maps inside of a shard, which [`shard`](Self::shard) selects.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.name());
    }
}

// === impl KeyHasher ===

impl KeyHasher {
    /// Under a secret that is generated once per process.
    pub(crate) fn local() -> Self {
        static SECRET: LazyLock<[u64; 2]> =
            LazyLock::new(|| [0, 1].map(|half| RandomState::new().hash_one(half)));
        let [one, other] = *SECRET;
        Self {
            state: SipHasher13::new_with_keys(one, other),
            is_local: true,
        }
    }

    /// Under a secret that several processes share, so that they agree on keys.
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

    /// The length separates one field from the next.
    fn field(&mut self, tag: Tag, bytes: &[u8]) {
        let head = ((bytes.len() as u64) << 8) | tag as u64;
        self.state.write_u64(head);
        self.state.write(bytes);
    }

    fn pair(&mut self, tag: Tag, one: &[u8], other: &[u8]) {
        self.field(tag, one);
        self.field(tag, other);
    }
}

/// For the values that a custom key function hashes.
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
