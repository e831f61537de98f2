//! Why nothing was revoked.

use thiserror::Error;

/// A revocation that did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// The memory is full of revocations that have not ended. None of them was forgotten for this one.
    #[error(
        "no room for another revocation: raise `Revocations::max_entries`, or revoke a subject, a client or the issuer instead of token by token"
    )]
    Full,
    /// An empty name, which no token bears.
    #[error("the {0} of a revocation is empty: name what to revoke")]
    Empty(&'static str),
    /// A not-before so far ahead that it would refuse tokens for longer than one lives.
    #[error(
        "the not-before of a revocation lies further ahead than a token lives: give it in seconds since 1970, not in milliseconds"
    )]
    TooFarAhead,
}
