//! Authenticates callers by signed tokens (JWT, RFC 7519) in the `Authorization` header (RFC 6750).
//!
//! How a request is decided:
//!
//! 1. One `Authorization` header, scheme `Bearer`, at most 8 KiB. The credential is taken out of the request. None, or another
//!    scheme, is a request without a token. A [cookie](JwtAuthLayer::cookie), a [header](JwtAuthLayer::header) of one's own,
//!    [`Sec-WebSocket-Protocol`](JwtAuthLayer::websocket_protocol) and the [query](JwtAuthLayer::dangerous_query_parameter) are
//!    read where they are switched on. Two tokens are a malformed request (400), wherever they stand: a bad one never falls
//!    through to another.
//! 2. Three parts in strict base64url; a header with an accepted `alg` and `typ`, without `crit` and without keys.
//! 3. `iss` chooses the [`Issuer`]; `kid` chooses the key inside that issuer. If a key must be fetched first, the request
//!    waits without holding anything of the inner service.
//! 4. The signature, and only then the claims: exactly typed `iss`, `aud`, `exp`, `sub`; `nbf` and `iat` where present.
//! 5. A [`Caller`](crate::Caller) goes into the request's extensions, where the layers below find it.
//!
//! The client sees 401 with an RFC 6750 challenge for a bad or missing token, and 503 while the issuer's keys cannot be
//! fetched. Texts are fixed; nothing of the token is echoed.
//!
//! Put it above everything that asks who is calling, and below a limit by address, which stops floods before any
//! signature is verified.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, Response, StatusCode};
//! use portcullis::{Identity, Issuer, JwtAuthLayer, JwksCache, TestIssuer};
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
