//! What can go wrong when a key is generated, used or rotated.

use thiserror::Error;

use crate::algorithm::Algorithm;

/// Why a key ring could not do what it was asked. It never contains key material or claims.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IssueError {
    /// A shared secret has no public half to publish.
    #[error(
        "{algorithm} uses a shared secret, which cannot be published: use RS*, PS*, ES* or EdDSA"
    )]
    Symmetric {
        /// The requested algorithm.
        algorithm: Algorithm,
    },
    /// The crypto backend failed. It gives no reason.
    #[error("the crypto backend could not generate or use a key: check the system's randomness")]
    Crypto,
    /// The claims are not a JSON object (RFC 7519 section 4), or do not serialize.
    #[error("the claims do not serialize to a JSON object: use a struct or a map with text keys")]
    Claims,
    /// A key is staged already, and a ring has at most one.
    #[error("key {kid} is already staged: promote or retire it first")]
    AlreadyStaged {
        /// The staged key.
        kid: String,
    },
    /// No key is staged.
    #[error("no key is staged: call `stage` and wait until verifiers have fetched the key")]
    NothingStaged,
    /// A ring always has a signing key.
    #[error("key {kid} is the signing key: promote another key before you retire it")]
    StillSigning {
        /// The signing key.
        kid: String,
    },
    /// The ring has no such key.
    #[error("the ring has no key {kid:?}: `kids` lists the keys")]
    UnknownKey {
        /// The key ID as it was given.
        kid: String,
    },
}
