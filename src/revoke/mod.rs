//! Revokes tokens before they expire: one token, a session, or everything issued up to a time.
//!
//! A verified token is revoked if one of these is true under the token's own issuer:
//!
//! 1. its `jti` is revoked ([`Revocation::token`]);
//! 2. its `sid` is revoked ([`Revocation::session`]);
//! 3. the key that signed it is revoked ([`Revocation::key`]);
//! 4. its `iat` is not later than the not-before of its subject, its client or its issuer
//!    ([`Revocation::subject`], [`Revocation::client`], [`Revocation::issuer`]); the latest of the
//!    three counts. A token without `iat` is revoked by any of them.
//!
//! `iat` is in whole seconds. A token that was issued in the second of a not-before is revoked.
//!
//! What clients see: 401 `invalid_token`, "the token was revoked".
//!
//! A revocation ends by itself, ten minutes (the largest leeway) after the last token that it
//! concerns has expired:
//!
//! | kind | ends ten minutes after |
//! |---|---|
//! | token, session, key | the given end, at most ten years ahead |
//! | subject, client, issuer | its not-before plus [`max_token_lifetime`](Revocations::max_token_lifetime) |
//!
//! Only a keyed hash of each name is kept, so [`Revocations::entries`] lists kinds and ends but no
//! names.
//!
//! Deployment: entries are in the memory of one process and are lost when it restarts. Send every
//! revocation to every instance, and issue tokens that live for minutes. Set `max_token_lifetime`
//! to the longest life of your tokens: a token that lives longer can outlive a not-before. Name the
//! issuer exactly as `iss` does.
//!
//! ```
//! use std::time::{Duration, UNIX_EPOCH};
//! use portcullis::revoke::{Kind, Revocation};
//! use portcullis::{ManualClock, Revocations};
//!
//! let issuer = "https://id.example.com/";
//! let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
//! let clock = ManualClock::at(1_800_000_000);
//! let revocations = Revocations::new().clock(clock.clone());
//! assert!(revocations.is_empty());
//!
//! // A logout revokes one token; a changed password revokes everything that alice holds.
//! let token = Revocation::token(issuer, "4f1c", now + Duration::from_secs(300));
//! revocations.revoke(token.clone())?;
//! let entry = revocations.revoke(Revocation::subject(issuer, "alice", now))?;
//! assert_eq!(entry.not_before, Some(now));
//! assert!(revocations.contains(&token));
//! assert_eq!(revocations.count(Kind::Subject), 1);
//!
//! // Another token, and a token of another issuer with the same `jti`, are not revoked.
//! assert!(!revocations.contains(&Revocation::token(issuer, "77aa", now)));
//! assert!(!revocations.contains(&Revocation::token("https://other.example/", "4f1c", now)));
//!
//! // All end by themselves.
//! clock.advance(Duration::from_secs(2 * 24 * 3600));
//! assert!(revocations.is_empty());
//! assert!(!revocations.contains(&token));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod memory;
mod revocation;
mod revocations;
#[cfg(feature = "serde")]
mod serde;

pub use revocation::{Kind, Revocation, RevokeError};
pub use revocations::{Entry, Revocations};

pub(crate) use revocations::{Facts, MAX_LEEWAY};

#[cfg(test)]
mod tests;
