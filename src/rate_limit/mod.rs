//! Limits how often each caller may call, and how many of its requests may be in flight.
//!
//! 1. The caller is found: the client's address, or the verified subject, client or claim that `JwtAuthLayer` put into
//!    the request further out. An anonymous caller is counted by address. Where what is needed is not there, the request
//!    is refused as a misconfiguration and the log names the fix; callers are never lumped together.
//! 2. The caller's state, one moment in time for each [quota](Quota), is looked up under a keyed hash of its name; the name
//!    is not kept.
//! 3. The quotas decide (the generic cell rate algorithm): a burst at once, then the rate. In no window is more
//!    admitted than [`Quota::bound`] states. Where one refuses none is charged: a refusal costs the caller nothing.
//! 4. Memory is bounded. When it is full newcomers replace those who owe least and begin with what these owed, so nobody
//!    gets more than its quota by being pushed out.
//!
//! Clients see `RateLimit-Policy: "default";q=100;w=2` and `RateLimit: "default";r=99;t=1` on every response (`q` permits
//! in `w` seconds, `r` left, one more in `t` seconds). Above the limit they get 429 with `Retry-After` and a problem
//! document, gRPC clients status 8. Several limits, of one layer or of several, each add their own members.
//!
//! Each process counts for itself: behind a load balancer with three instances a caller may get three times the quota.
//! Put a limit by address outside authentication, where it stops floods before any signature is checked, and a limit by
//! subject inside. `docs/rate-limits.md` in the repository helps to choose, and says what is promised.
//!
//! ```
//! use std::convert::Infallible;
//! use std::time::Duration;
//! use http::{Request, Response, StatusCode};
//! use portcullis::{ManualClock, PeerAddr, Quota, RateLimitLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = ManualClock::at(1_800_000_000);
//! let service = ServiceBuilder::new()
//!     .layer(RateLimitLayer::new(Quota::per_second(1)).clock(clock.clone()))
//!     .service(service_fn(|_: Request<String>| async {
//!         Ok::<_, Infallible>(Response::new(String::from("hello")))
//!     }));
//! let request = || {
//!     // Under axum, `into_make_service_with_connect_info::<SocketAddr>()` tells the address.
//!     let peer = PeerAddr("203.0.113.7:50000".parse().unwrap());
//!     Request::builder().extension(peer).body(String::new())
//! };
//!
//! let response = service.clone().oneshot(request()?).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! assert_eq!(response.headers()["ratelimit"], r#""default";r=0;t=1"#);
//!
//! let response = service.clone().oneshot(request()?).await?;
//! assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
//! assert_eq!(response.headers()["retry-after"], "1");
//!
//! clock.advance(Duration::from_secs(1));
//! let response = service.oneshot(request()?).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```

#[cfg(all(test, feature = "redis"))]
mod central;
mod fields;
mod gcra;
mod in_flight;
mod key;
mod layer;
#[cfg(feature = "redis")]
mod lease;
mod limit;
mod memory;
mod policy;
mod quota;
mod ready;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod redis;
mod service;
mod store;
mod tell;

pub use layer::RateLimitLayer;
pub use quota::Quota;
#[cfg(feature = "redis")]
#[doc(inline)]
pub use redis::{OnOutage, RedisStore, StoreStatus};
pub use service::{RateLimit, ResponseFuture};

/// The page's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/rate-limits.md")]
struct Page;

#[cfg(test)]
mod tests;
