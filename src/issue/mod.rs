//! Issuing: a ring of keys that signs tokens, publishes their public halves and rotates without an outage.
//!
//! How a rotation goes:
//!
//! 1. [`stage`](KeyRing::stage) publishes the next key. It signs nothing yet.
//! 2. Wait until every verifier has fetched it: `publish_lead >= verifier TTL x 1.1`, where the TTL is how long a
//!    verifier may go without asking again, and the tenth on top is the jitter of its refresh.
//! 3. [`promote`](KeyRing::promote) lets the staged key sign. The old one stays published.
//! 4. Wait until nothing it signed is alive: `retire_after >= longest token life + clock skew`.
//! 5. [`retire`](KeyRing::retire) takes the old key out of the document.
//!
//! Who skips the wait of step 2 sends verifiers tokens by a key that they have not seen; who skips the one of step 4
//! has tokens refused that are not over. A verifier sees neither in an ordinary rotation.
//!
//! After a leak the order is the other way round: [`rotate`](KeyRing::rotate), then `retire` at once, since refusing
//! good tokens is the smaller harm.
//!
//! A ring lives in one process and is not stored: it is lost with the process, and two processes have two rings.
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
//! assert_ne!(ring.signing_kid(), next, "but it does not sign");
//!
//! let old = ring.promote()?;
//! assert_eq!(ring.signing_kid(), next);
//! assert!(ring.retire(&next).is_err(), "the key that signs cannot be retired");
//!
//! ring.retire(&old)?;
//! assert!(!ring.jwks().contains(&old));
//! # Ok(())
//! # }
//! ```

mod error;
mod jwk;
mod key;
mod ring;

pub use error::IssueError;
#[cfg(feature = "test-util")]
pub(crate) use key::SigningKey;
pub use ring::KeyRing;

#[cfg(test)]
mod tests;
