//! Revokes tokens before they expire: single ones, sessions, and all that were issued up to a moment.
//!
//! A verified token is revoked if one of these holds, each looked up under the token's own issuer:
//!
//! 1. its `jti` was revoked ([`Revocation::token`]);
//! 2. its `sid` was revoked ([`Revocation::session`]);
//! 3. its `iat` is not after the latest not-before of its subject, its client and its issuer
//!    ([`Revocation::subject`], [`Revocation::client`], [`Revocation::issuer`]). One never hides another. A token without
//!    `iat` cannot tell that it is younger, so it is revoked by any of them;
//! 4. the key that signed it was revoked ([`Revocation::key`]).
//!
//! `iat` is in whole seconds, so a token that is issued in the second of a not-before is revoked with those before it.
//!
//! What clients see: 401 `invalid_token`, "the token was revoked".
//!
//! Every revocation ends by itself, ten minutes after the last token that it concerns has expired. It is then as if it had
//! never been, and its memory is used again; there is no background task. Of what was revoked only a keyed hash is kept,
//! so [`Revocations::entries`] tells what kinds there are and when they end, but no names.
//!
//! Deployment: entries are in the memory of one process and gone when it restarts, so tell every instance, and issue
//! tokens that live for minutes. Set [`max_token_lifetime`](Revocations::max_token_lifetime) to the longest life that a
//! token of yours has: a token that lives longer may outlive its revocation. Name the issuer exactly as `iss` does; under
//! any other spelling nothing is revoked. Revoking a key bridges the time until the issuer stops publishing it.
//!
//! ```
//! use std::time::Duration;
//! use portcullis::revoke::{Kind, Revocation};
//! use portcullis::{ManualClock, Revocations};
//!
//! let issuer = "https://id.example.com/";
//! let now = Duration::from_secs(1_800_000_000);
//! let clock = ManualClock::at(now.as_secs());
//! let revocations = Revocations::new().clock(clock.clone());
//! assert!(revocations.is_empty());
//!
//! // One token, as somebody logs out; and all that alice holds, as her password changes.
//! let token = Revocation::token(issuer, "4f1c", now + Duration::from_secs(300));
//! revocations.revoke(token.clone())?;
//! revocations.revoke(Revocation::subject(issuer, "alice", now))?;
//! assert!(revocations.contains(&token));
//! assert_eq!(revocations.count(Kind::Subject), 1);
//!
//! // Another token, and another issuer's token of the same name, are not revoked.
//! assert!(!revocations.contains(&Revocation::token(issuer, "77aa", now)));
//! assert!(!revocations.contains(&Revocation::token("https://other.example/", "4f1c", now)));
//!
//! // A body of `POST /revocations`.
//! let session: Revocation = serde_json::from_str(
//!     r#"{"kind": "sid", "issuer": "https://id.example.com/", "value": "s-7", "until": 1800000300}"#,
//! )?;
//! revocations.revoke(session)?;
//! assert_eq!(revocations.len(), 3);
//!
//! // All end by themselves.
//! clock.advance(Duration::from_secs(2 * 24 * 3600));
//! assert!(revocations.is_empty());
//! assert!(!revocations.contains(&token));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod json;
mod key;
mod memory;
mod revocation;
mod revocations;

pub use error::RevocationError;
pub use revocation::{Kind, Revocation};
pub use revocations::{Entry, Revocations};

pub(crate) use revocations::{Facts, MAX_LEEWAY};

#[cfg(test)]
mod tests;
