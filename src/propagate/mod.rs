//! Propagates the identity of the caller to the services that this service calls, and to an
//! upstream service.
//!
//! # Outgoing: [`TokenPropagationLayer`]
//!
//! It wraps an HTTP client and adds the caller's token to requests:
//!
//! 1. The destination is the origin of the request's URI. If the URI is only a path, it is the
//!    origin of [`for_origin`](TokenPropagationLayer::for_origin), if set. The `Host` header is
//!    ignored.
//! 2. If exactly this origin is not on the list, the request is sent as it is.
//! 3. The caller is the [`Caller`](crate::Caller) in the extensions of the request, otherwise the
//!    caller of the task ([`current_caller`]), which `JwtAuthLayer` sets for every request.
//! 4. The token of a verified caller replaces `Authorization` and is marked as sensitive. For an
//!    anonymous caller the request is sent unchanged. If there is no caller, the request is sent
//!    unchanged too, and the first such request logs a warning.
//!
//! The client of this service observes no difference.
//!
//! A redirect that is followed *outside* of this layer is a new decision. Configure the inner
//! client to follow no redirects, as [`reqwest_client`](TokenPropagationLayer::reqwest_client)
//! does. If the client uses a proxy, a request to a plain `http` origin, loopback included, sends
//! the token to the proxy.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use http::{Request, Response};
//! use portcullis::{Caller, TokenPropagationLayer};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = service_fn(|request: Request<()>| async move {
//!     let has_token = request.headers().contains_key("authorization");
//!     Ok::<_, Infallible>(Response::new(has_token))
//! });
//! let origins = ["https://orders.internal", "http://127.0.0.1:3000"];
//! let client = TokenPropagationLayer::forward_to(origins)?.layer(client);
//!
//! let request = Request::get("https://orders.internal/v1").extension(Caller::Anonymous);
//! let response = client.oneshot(request.body(())?).await?;
//! assert!(!response.into_body());
//!
//! let layer = TokenPropagationLayer::forward_to(["https://orders.internal@evil.example"]);
//! assert!(layer.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! # Incoming: [`IdentityHeadersLayer`]
//!
//! It removes the headers that only this service may set, in every spelling, and sets them from the
//! verified caller: see [`identity_headers`].
//!
//! # The scope of a caller
//!
//! In a process that has built a [`TokenPropagationLayer`], `JwtAuthLayer` opens the scope of a
//! caller for the call of the inner service and for its future. A spawned task has no caller unless
//! it is started with [`with_caller`]. A response body has none either, because the server polls it
//! afterwards.

pub mod identity_headers;
mod layer;
mod policy;
mod service;

pub use crate::caller_scope::{current_caller, with_caller};
pub use identity_headers::{IdentityField, IdentityHeaders, IdentityHeadersLayer};
pub use layer::TokenPropagationLayer;
pub use service::TokenPropagation;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
