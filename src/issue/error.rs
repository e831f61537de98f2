//! What can go wrong when a key is made, used or rotated.

use thiserror::Error;

use crate::algorithm::Algorithm;

/// Why a key ring did not do what it was asked to. It never holds key material or claims.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IssueError {
    /// A shared secret has no public half to publish.
    #[error(
        "{algorithm} signs with a shared secret, which cannot be published: choose RS*, PS*, ES* or EdDSA"
    )]
    Symmetric {
        /// The algorithm that was asked for.
        algorithm: Algorithm,
    },
    /// The cryptographic library gave up; it does not say why.
    #[error("the cryptographic library could not make or use a key")]
    Crypto,
    /// The claims are not a JSON object (RFC 7519 section 4), or do not serialize.
    #[error("claims must serialize to a JSON object")]
    Claims,
    /// A ring has one next key at a time.
    #[error("key {kid} is already staged: promote it or retire it first")]
    AlreadyStaged {
        /// The key that waits to be promoted.
        kid: String,
    },
    /// There is no next key.
    #[error("no key is staged: call `stage` and wait until verifiers have fetched it")]
    NothingStaged,
    /// A ring always has a key that signs.
    #[error("key {kid} signs: promote another one before it is retired")]
    StillSigning {
        /// The key that signs.
        kid: String,
    },
    /// The ring has no such key.
    #[error("the ring has no key {kid:?}")]
    UnknownKey {
        /// The key id as it was given.
        kid: String,
    },
}
