//! Whom a limit counts: a keyed hash of the caller, never the caller's name.

use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use http::{Extensions, HeaderMap};

use crate::claim_path::ClaimPath;
use crate::identity::{Caller, Identity};
use crate::peer::Peer;
use crate::rejection::Rejection;

/// 128 bits that stand for a caller under one policy. Nobody outside this process can find two callers that share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key([u64; 2]);

/// Whom a limit counts.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) by: By,
    pub(crate) peer: Peer,
}

/// What tells one caller from another.
#[derive(Clone)]
pub(crate) enum By {
    Address,
    Subject,
    Client,
    Claim(ClaimPath),
    Custom(Arc<Custom>),
}

/// Hashes what a function of the user's finds in a request, or finds nothing.
type Custom = dyn Fn(&HeaderMap, &Extensions, &mut KeyHasher) -> Option<()> + Send + Sync;

/// Two hashes at once.
#[derive(Clone)]
pub(crate) struct KeyHasher([DefaultHasher; 2]);

/// Keeps what is counted one way from meeting what is counted another way.
#[derive(Hash)]
enum Kind {
    V4,
    V6,
    Subject,
    Client,
    Claim,
    Custom,
}

const NO_CALLER: &str = "a rate limit by subject, client or claim found no caller: put JwtAuthLayer outside RateLimitLayer, or count by address";

const NO_ADDRESS: &str = "a rate limit found no peer address: serve with into_make_service_with_connect_info::<SocketAddr>(), insert PeerAddr into the request's extensions, or name the extension that has it with RateLimitLayer::peer_from";

// === impl Counted ===

impl Counted {
    /// The key of a request's caller. The hasher has read the policy, which keeps two policies' keys apart.
    pub(crate) fn key(
        &self,
        mut hasher: KeyHasher,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Key, Rejection> {
        match &self.by {
            By::Address => self.address(hasher, headers, extensions),
            By::Custom(read) => {
                let unread = hasher.clone();
                Kind::Custom.hash(&mut hasher);
                match read(headers, extensions, &mut hasher) {
                    Some(()) => Ok(hasher.key()),
                    None => self.address(unread, headers, extensions),
                }
            }
            by => match Caller::of(extensions) {
                None => Err(Rejection::misconfigured(NO_CALLER)),
                Some(Caller::Anonymous) => self.address(hasher, headers, extensions),
                Some(Caller::Verified(identity)) => Ok(by.verified(hasher, identity)),
            },
        }
    }

    /// A host may have a whole IPv6 /64 to itself and change its address with every request.
    fn address(
        &self,
        mut hasher: KeyHasher,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Key, Rejection> {
        match self.peer.address(extensions, headers) {
            // One bucket for all who have no address would let any one of them lock out the rest.
            None => return Err(Rejection::misconfigured(NO_ADDRESS)),
            Some(IpAddr::V4(address)) => (Kind::V4, address.to_bits()).hash(&mut hasher),
            Some(IpAddr::V6(address)) => (Kind::V6, address.to_bits() >> 64).hash(&mut hasher),
        }
        Ok(hasher.key())
    }
}

// === impl By ===

impl By {
    /// What one issuer says is never mixed with what another says. A caller without the client or claim asked for is
    /// counted by subject.
    fn verified(&self, mut hasher: KeyHasher, identity: &Identity) -> Key {
        identity.issuer().hash(&mut hasher);
        let found = match self {
            Self::Client => identity.client().map(|client| {
                (Kind::Client, client).hash(&mut hasher);
            }),
            Self::Claim(path) => {
                let claim = identity.claim_at(path).filter(|claim| !claim.is_null());
                claim.map(|claim| (Kind::Claim, path, claim).hash(&mut hasher))
            }
            Self::Subject | Self::Address | Self::Custom(_) => None,
        };
        if found.is_none() {
            (Kind::Subject, identity.subject()).hash(&mut hasher);
        }
        hasher.key()
    }
}

impl fmt::Debug for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("Address"),
            Self::Subject => f.write_str("Subject"),
            Self::Client => f.write_str("Client"),
            Self::Claim(path) => f.debug_tuple("Claim").field(path).finish(),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

// === impl Key ===

impl Key {
    pub(crate) const ZERO: Self = Self([0; 2]);

    /// Says which part of a table holds the key.
    pub(crate) fn shard(self) -> u64 {
        self.0[0]
    }

    /// Says where in that part. It is independent of the other half.
    pub(crate) fn home(self) -> u64 {
        self.0[1]
    }
}

// === impl KeyHasher ===

impl KeyHasher {
    /// A hasher that has read `prefix`.
    pub(crate) fn after(prefix: &impl Hash) -> Self {
        static SECRETS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
        let mut hasher = Self(SECRETS.each_ref().map(BuildHasher::build_hasher));
        prefix.hash(&mut hasher);
        hasher
    }

    pub(crate) fn key(&self) -> Key {
        Key(self.0.each_ref().map(Hasher::finish))
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|half| half.write(bytes));
    }

    fn finish(&self) -> u64 {
        self.key().home()
    }
}

#[cfg(test)]
pub(super) mod tests;
