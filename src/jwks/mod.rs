//! Keys: what issuers publish (JWK Sets, RFC 7517), kept up to date without ever making a known key wait.
//!
//! How it decides, for a token of a known issuer:
//! 1. A `kid` that the current set has is answered at once, from memory. Without a `kid`, a token passes only if exactly
//!    one key of the issuer allows its algorithm.
//! 2. When 75 % of the time to live have passed, the next lookup starts a refresh in the background. The time to live is
//!    the `max-age` of the answer, between one minute and one hour; ten minutes if there is none.
//! 3. An unknown `kid` waits for one refetch. Unknown kids cause at most two refetches in any 30 seconds; beyond that they
//!    are refused while the last refresh succeeded, and told to come back while it failed.
//! 4. While the issuer is down, old keys serve for another hour. Then, and when there were never any, the answer is
//!    "come back later", attempts are 1 to 60 seconds apart, and the first that succeeds ends it.
//! 5. A key that is absent from a successful refresh is refused at once. An empty or unreadable answer is a failed
//!    refresh, not a removal. [`JwksCache::purge`] drops a key for good, under whatever name it comes back.
//!
//! Nobody waits longer than a fetch can take and a second. A fetch that has not ended by then was started on a runtime that
//! nobody drives; it is given up, and the next lookup starts another on its own.
//!
//! A set is read key by key: a key that is symmetric, private, weak, ambiguous or not meant for signatures is
//! [skipped](Skipped), and spoils no other.
//!
//! What clients see: 401 for a key that does not exist, 503 with `Retry-After` while that cannot be told.
//!
//! Deployment: nothing runs in the background between requests. After an idle time longer than the time to live, the
//! first tokens are still verified with the old set while the new one is fetched; lower `max_stale` where a removed key
//! must not be honoured then.
//!
//! The two refetches of a cooldown are all that unknown kids have, and tokens with invented kids can use them up: anyone
//! can send those. Under such an attack, tokens of a new key may be refused for up to one cooldown if the issuer signs with it
//! as soon as it publishes it. An issuer that publishes a key before it signs with it, by the time to live or longer, is not
//! affected: refreshes that are due cannot be used up.
//!
//! ```
//! use portcullis::{JwksCache, JwksSource, KeySet};
//!
//! let keys = KeySet::from_json(br#"{"keys": [
//!     {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
//! ]}"#)?;
//! let cache = JwksCache::new([JwksSource::keys("https://id.example.com/", keys)])?;
//! assert!(cache.status()[0].state.is_ready());
//!
//! // Keys never come over plain http from another machine.
//! assert!(JwksSource::uri("https://id.example.com/", "http://id.example.com/keys").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod atomics;
mod cache;
mod der;
mod distrust;
mod fetch;
mod freshness;
mod health;
mod in_force;
mod issuer;
mod jwk;
mod key;
mod layer;
mod ledger;
mod refresh;
mod roca;
mod saved;
mod service;
mod set;
mod source;
mod tenants;
mod verifier;
mod waiter;

#[cfg(feature = "reqwest")]
mod discovery;
#[cfg(feature = "reqwest")]
mod endpoint;
#[cfg(feature = "reqwest")]
mod http;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(all(test, feature = "issue", feature = "rust-crypto"))]
mod backends_tests;
#[cfg(all(test, feature = "aws-lc-rs", feature = "reqwest"))]
mod http_tests;
#[cfg(all(test, feature = "aws-lc-rs", feature = "tracing", feature = "metrics"))]
mod observed_tests;
#[cfg(all(test, feature = "aws-lc-rs"))]
mod testing;
#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests;
#[cfg(all(test, feature = "aws-lc-rs"))]
mod vectors_tests;

pub use cache::JwksCache;
pub use fetch::{FetchError, FetchJwks, WarmError};
pub use health::{IssuerState, IssuerStatus};
pub use key::Skipped;
pub use layer::JwksCacheLayer;
pub use saved::RestoreError;
pub use service::JwksKeys;
pub use set::{KeySet, KeySetError};
pub use source::JwksSource;

pub(crate) use in_force::NO_GENERATION;
pub(crate) use issuer::{IssuerKeys, Lookup, LookupMode};
pub(crate) use key::Key;
pub(crate) use waiter::Waiter;
