//! Keys that issuers publish (JWK Sets, RFC 7517), fetched and kept so that a known key never
//! waits.
//!
//! How it decides, for a token of a known issuer:
//! 1. A `kid` of the current key set is found in memory. A token without a `kid` is accepted only
//!    if exactly one key of the issuer allows its algorithm.
//! 2. When about 75 % of the time to live have passed, the next lookup starts a refresh in the
//!    background. The time to live is the `max-age` of the response, limited to one minute to one
//!    hour; 10 minutes if there is none.
//! 3. An unknown `kid` waits for one fetch. Unknown kids cause at most two fetches per 30 seconds,
//!    one while fetches fail. Beyond that, their tokens are rejected with 401 if the last fetch
//!    succeeded and with 503 if it failed.
//! 4. While the issuer is down, old keys are used for one more hour. After that, or if there never
//!    were keys, the answer is 503. Attempts are 1 to 60 seconds apart, at most 30 if a request
//!    waits for keys. The first success ends the outage.
//! 5. A key that a successful fetch did not contain is refused at once. An empty or unreadable
//!    response is a failed fetch and removes nothing. [`JwksCache::purge`] removes a key for good.
//!
//! Concurrent requests share one fetch, which takes at most its time limit.
//!
//! A set is read key by key: a key that is symmetric, private, weak, ambiguous or not meant for
//! signatures is [skipped](Skipped) and does not affect the others.
//!
//! What clients see: 401 for a key that does not exist, 503 with `Retry-After` while that is not
//! known.
//!
//! Deployment: fetches need a running tokio runtime with time enabled. Nothing is fetched between
//! requests. After an idle time longer than the time to live, the first tokens are verified with
//! the old set while the new one is fetched; lower `max_stale` if a removed key must not be
//! accepted then.
//!
//! Anyone can send tokens with made-up kids and so use up the two fetches of a cooldown. If the
//! issuer then signs with a new key as soon as it publishes it, tokens of that key may be refused
//! for up to one cooldown. An issuer that publishes a key one time to live before it signs with it
//! is not affected: made-up kids cannot use up the regular refreshes.
//!
//! ```
//! use portcullis::{JwksCache, JwksSource, KeySet};
//!
//! let keys = KeySet::from_json(br#"{"keys": [
//!     {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
//! ]}"#)?;
//! let cache = JwksCache::new([JwksSource::keys("https://id.example.com/", keys)])?;
//! assert!(cache.is_ready());
//!
//! // Keys never come over plain http from another machine.
//! assert!(JwksSource::uri("https://id.example.com/", "http://id.example.com/keys").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// The material: what a key and a set of keys are.
mod freshness;
mod jwk;
mod key;
mod set;

// The state: which keys are valid, and when they are fetched.
mod atomics;
mod cache;
mod current;
mod driver;
mod fetch;
mod layer;
mod lookup;
mod purged;
mod saved;
mod settings;
mod source;
mod state;
mod status;
mod tenants;

#[cfg(any(feature = "reqwest", feature = "reqwest-client"))]
mod discovery;
#[cfg(any(feature = "reqwest", feature = "reqwest-client"))]
mod endpoint;
#[cfg(any(feature = "reqwest", feature = "reqwest-client"))]
mod http;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(all(test, feature = "reqwest", feature = "reqwest-client"))]
mod http_tests;
#[cfg(all(test, feature = "tracing", feature = "metrics"))]
mod observed_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors_tests;

pub use cache::JwksCache;
pub use fetch::{FetchError, FetchJwks, WarmError};
pub use jwk::Skipped;
pub use layer::{JwksCacheLayer, ShareJwks};
pub use saved::RestoreError;
pub use set::{KeySet, KeySetError};
pub use source::JwksSource;
pub use status::{IssuerState, IssuerStatus};

pub(crate) use current::NO_REVISION;
pub(crate) use driver::{IssuerKeys, Waiter};
pub(crate) use key::Key;
pub(crate) use lookup::{Lookup, LookupMode};
