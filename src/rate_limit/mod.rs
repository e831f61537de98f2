//! Limits how often each caller may call, and how many of its requests may be in flight.
//!
//! 1. The key of the caller is found: the client's address, or the verified subject, client or
//!    claim that `JwtAuthLayer` put into the request. An anonymous caller is counted by address. If
//!    the request has no such key, it is rejected as a misconfiguration and the log names the fix.
//!    Callers are never counted together by accident.
//! 2. The state of the caller, one point in time per [quota](Quota), is looked up under a keyed
//!    hash. The name of the caller is not kept.
//! 3. The quotas decide (generic cell rate algorithm): a burst at once, then the rate. No window
//!    admits more than [`Quota::bound`]. If one quota refuses, none is charged: a rejection costs
//!    nothing.
//! 4. Memory is bounded. When it is full, newcomers replace the callers with the least debt and
//!    take over that debt, so no caller gets more than its quota by being replaced.
//!
//! Responses have `RateLimit-Policy: "default";q=100;w=2` and `RateLimit: "default";r=99;t=1` (`q`
//! permits per `w` seconds, `r` left, one more in `t` seconds). A request over the limit receives
//! 429 with `Retry-After` and a problem document, a gRPC request status 8. Several limits, of one
//! layer or of several, each add their own members.
//!
//! Each process counts separately: behind a load balancer with three instances a caller may get
//! three times the quota. Put a limit by address outside authentication, where it stops floods
//! before any signature is verified, and a limit by subject inside. `docs/rate-limits.md` in the
//! repository helps to choose, and lists the guarantees.
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
//!     // With axum, `into_make_service_with_connect_info::<SocketAddr>()` provides the address.
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
mod gcra;
mod headers;
mod in_flight;
mod key;
mod layer;
#[cfg(feature = "redis")]
mod lease;
mod limit;
mod memory;
mod policy;
mod prepared;
mod quota;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod redis;
mod service;
mod store;

pub use headers::HeaderStyle;
pub use key::LimitKey;
pub use layer::RateLimitLayer;
pub use quota::Quota;
#[cfg(feature = "redis")]
#[doc(inline)]
pub use redis::{OnOutage, RedisStore, StoreStatus};
pub use service::{RateLimit, ResponseFuture};

/// Tests the examples of the page.
#[cfg(doctest)]
#[doc = include_str!("../../docs/rate-limits.md")]
struct Page;

#[cfg(test)]
mod tests;
