//! Passing the caller on: to the services that this one calls, and to the one that it stands in front of.
//!
//! # Outgoing: [`TokenPropagationLayer`]
//!
//! It wraps an HTTP client and puts the caller's token on requests:
//!
//! 1. Where does the request go? Its URI tells; one without an origin goes to
//!    [`for_origin`](TokenPropagationLayer::for_origin), if that is set. The `Host` header has no say.
//! 2. Is exactly that origin on the list? If not, the request gets nothing.
//! 3. Who is calling? The [`Caller`](crate::Caller) in the request's own extensions, where `Caller::Anonymous` means that
//!    nothing is sent; else the one of the task ([`current_caller`]), which [`IdentityHeadersLayer`] sets for every request it lets through.
//! 4. A verified caller's token goes into `Authorization`, in place of any other and marked as sensitive. In all other
//!    cases that header is left as the application made it.
//!
//! The client of this service sees nothing of it.
//!
//! A redirect that is followed *outside* of this layer is decided anew. Clients that follow redirects inside themselves
//! must be told not to: [`reqwest_client`](TokenPropagationLayer::reqwest_client) does. A plain `http` origin, loopback
//! included, sends the token to the proxy if the client uses one.
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
//! let layer = TokenPropagationLayer::forward_to(["https://orders.internal", "http://127.0.0.1:3000"])?;
//! let client = layer.layer(client);
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
//! It removes the headers that only this service may set, in every spelling, and sets them from the verified caller.
//! Switched off it removes them still.
//!
//! # The scope of a caller
//!
//! A task knows its caller from the call of the inner service until that has answered. A spawned task does not, unless
//! it is started with [`with_caller`]. Neither does a response body, which the server polls afterwards.

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
