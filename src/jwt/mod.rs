//! Authenticates callers by signed tokens (JWT, RFC 7519) in the `Authorization` header (RFC 6750).
//!
//! A request is decided in these steps:
//!
//! 1. The token is removed from the request: one `Authorization` header with the scheme `Bearer`
//!    and at most 8 KiB. Without that header, or with another scheme, the request has no token. A
//!    [cookie](JwtAuthLayer::cookie), another [header](JwtAuthLayer::header),
//!    [`Sec-WebSocket-Protocol`](JwtAuthLayer::websocket_protocol) and the
//!    [query](JwtAuthLayer::dangerous_query_parameter) are read if enabled. A request with two
//!    tokens is malformed (400), so that an invalid token never falls through to another source.
//! 2. The token has three parts in strict base64url. Its header has an accepted `alg` and `typ`, no
//!    `crit` and no keys.
//! 3. `iss` selects the [`Issuer`], and `kid` selects the key of that issuer. If the keys must be
//!    fetched first, the request waits without a permit of the inner service.
//! 4. The signature is verified, and then the claims: `iss`, `aud`, `exp` and `sub` with exact
//!    types, and `nbf` and `iat` if present.
//! 5. A [`Caller`](crate::Caller) is inserted into the extensions of the request, where inner
//!    layers and handlers find it.
//!
//! The client receives 401 with an RFC 6750 challenge for a bad or missing token, and 503 if the
//! issuer's keys are not available. The texts are fixed and repeat nothing from the token. The log
//! names the configured claim that failed.
//!
//! Put this layer outside of all layers that need the caller, and inside of a rate limit by
//! address, which stops floods before a signature is verified.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, Response, StatusCode};
//! use portcullis::{JwtAuthLayer, TestIssuer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # let issuer = TestIssuer::start().await?;
//! let auth = JwtAuthLayer::from_issuer(issuer.issuer(), "orders-api")?;
//! let service = ServiceBuilder::new().layer(auth).service(service_fn(
//!     |_: Request<String>| async { Ok::<_, std::convert::Infallible>(Response::new(String::new())) },
//! ));
//!
//! let token = issuer.token("alice").audience("orders-api").sign();
//! let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(String::new())?;
//! assert_eq!(service.clone().oneshot(request).await?.status(), StatusCode::OK);
//!
//! let token = issuer.token("alice").audience("another-api").sign();
//! let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(String::new())?;
//! assert_eq!(service.oneshot(request).await?.status(), StatusCode::UNAUTHORIZED);
//! # Ok(())
//! # }
//! ```

mod cache;
mod claims;
mod header;
mod issuer;
mod layer;
mod policy;
mod profile;
mod service;
mod sources;
mod verify;

pub use issuer::Issuer;
pub use layer::JwtAuthLayer;
pub use profile::Profile;
pub use service::{JwtAuth, ResponseFuture};
