//! Headers that identify the caller to an upstream service.
//!
//! [`IdentityHeadersLayer`] does the following with each request:
//!
//! 1. It applies the client's `Connection` header: the headers that it names are removed. Headers
//!    that messages depend on or that a proxy in front sets (`x-forwarded-*`, `x-request-id`,
//!    `traceparent`) are kept.
//! 2. It removes every header that it may set, in every spelling that some servers read as the same
//!    name: any case, and any separator in place of `-`.
//! 3. It sets the headers from a verified caller. A header without a value is not sent.
//!
//! Put it inside `JwtAuthLayer`, and on public routes too: without a verified caller it removes and
//! sets nothing.
//!
//! What clients see: 401 `invalid_claim` for a token with a value that the upstream could misread:
//! a role or a claim with a comma, a control character, outer spaces, or text that is not visible
//! ASCII.
//!
//! Deployment: the upstream must be reachable through this service only, otherwise any client can
//! set the headers there. Trailers are part of the body and are not inspected. If several issuers
//! are accepted, add [`with_issuer`](IdentityHeadersLayer::with_issuer): a subject alone is not
//! unique.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use http::{Request, Response};
//! use portcullis::propagate::{IdentityField, IdentityHeadersLayer};
//! use portcullis::{JwtAuthLayer, TestIssuer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let issuer = TestIssuer::start().await?.with_audience("orders-api");
//! let service = ServiceBuilder::new()
//!     .layer(JwtAuthLayer::from_issuer(issuer.issuer(), "orders-api")?)
//!     .layer(IdentityHeadersLayer::new().header("x-tenant", IdentityField::Claim("org".into()))?)
//!     .service(service_fn(|request: Request<()>| async move {
//!         let mut response = Response::new(());
//!         *response.headers_mut() = request.into_parts().0.headers;
//!         Ok::<_, Infallible>(response)
//!     }));
//! let request = |token: String| {
//!     let request = Request::builder().header("X_User_Id", "root");
//!     request.header("authorization", format!("Bearer {token}")).body(()).unwrap()
//! };
//!
//! // The header of the client is replaced.
//! let token = issuer.token("alice").claim("org", "acme").sign();
//! let seen = service.clone().oneshot(request(token)).await?;
//! assert_eq!(seen.headers()["x-user-id"], "alice");
//! assert_eq!(seen.headers()["x-tenant"], "acme");
//! assert!(!seen.headers().contains_key("X_User_Id"));
//!
//! // This role would be read as two.
//! let token = issuer.token("eve").role("reader,admin").sign();
//! assert_eq!(service.oneshot(request(token)).await?.status(), 401);
//! # Ok(())
//! # }
//! ```

mod field;
mod headers;
mod layer;
mod service;

pub use field::IdentityField;
pub use layer::IdentityHeadersLayer;
pub use service::{IdentityHeaders, ResponseFuture};

#[cfg(test)]
mod tests;
