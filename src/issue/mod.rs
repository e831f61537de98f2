//! Issuing: a ring of keys that signs tokens, publishes its public keys and rotates without an
//! outage.
//!
//! A rotation has five steps:
//!
//! 1. [`stage`](KeyRing::stage) publishes the next key, which does not sign yet.
//! 2. Wait until every verifier has fetched it: `publish_lead >= verifier TTL x 1.1`. The TTL is
//!    the longest time between two fetches of a verifier; the extra tenth is the jitter of its
//!    refresh.
//! 3. [`promote`](KeyRing::promote) makes the staged key the signing key. The old key stays
//!    published.
//! 4. Wait until every token that the old key signed has expired:
//!    `retire_after >= longest token lifetime + clock skew`.
//! 5. [`retire`](KeyRing::retire) removes the old key from the document.
//!
//! Without the wait of step 2, verifiers receive tokens of a key that they have not fetched yet.
//! Without the wait of step 4, verifiers reject tokens that have not expired.
//!
//! After a leak, [`rotate`](KeyRing::rotate) and then `retire` at once: rejecting good tokens is
//! the smaller harm.
//!
//! A ring lives in one process and is not stored. Two processes have two rings, and a restart loses
//! the keys.
//!
//! ```
//! use portcullis::{Algorithm, KeyRing};
//!
//! # fn main() -> Result<(), portcullis::issue::IssueError> {
//! let ring = KeyRing::generate(Algorithm::ES256)?;
//! let token = ring.sign(&serde_json::json!({ "iss": "https://id.example.com/", "sub": "alice" }))?;
//! assert_eq!(token.split('.').count(), 3);
//!
//! let next = ring.stage(Algorithm::ES256)?;
//! assert!(ring.jwks().contains(&next), "published");
//! assert_ne!(ring.signing_kid(), next, "but not signing");
//!
//! let old = ring.promote()?;
//! assert_eq!(ring.signing_kid(), next);
//! assert!(ring.retire(&next).is_err(), "the signing key cannot be retired");
//!
//! ring.retire(&old)?;
//! assert!(!ring.jwks().contains(&old));
//! # Ok(())
//! # }
//! ```

mod error;
mod key;
mod ring;

pub use error::IssueError;
#[cfg(feature = "test-util")]
pub(crate) use key::SigningKey;
pub use ring::KeyRing;

#[cfg(test)]
mod tests;
