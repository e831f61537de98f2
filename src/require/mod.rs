//! Authorizes callers by rules: roles, scopes, permissions, claims, and how the caller logged in.
//!
//! How a request is decided:
//!
//! 1. No [`Caller`](crate::Caller) in the extensions: no layer authenticated the request. This is a
//!    misconfiguration: 500, and the log names the fix.
//! 2. The [`Rule`] holds for the caller: the request passes.
//! 3. The caller is anonymous: 401 with a challenge. Only a rule that contains
//!    [`anonymous`](Rule::anonymous) holds for anonymous callers.
//! 4. The caller lacks nothing but another login (`acr`, `max_age`) or another token: 401
//!    `insufficient_user_authentication` (RFC 9470).
//! 5. Otherwise: 403 `insufficient_scope` (RFC 6750 section 3.1).
//!
//! For a rejection, the layer finds the smallest set that would satisfy the rule. The challenge
//! names what a client can request: `scope`, `acr_values` and `max_age`. The body contains the
//! rule, unless it names clients, subjects, issuers, claims or exceptions.
//!
//! With axum, add the layer by `route_layer`: paths without a route stay 404. `GuardedRouter` takes
//! no route without a rule. The guide is
//! [docs/authorization.md](https://docs.rs/crate/portcullis/latest/source/docs/authorization.md).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, Response, StatusCode};
//! use portcullis::{JwtAuthLayer, RequireRoleLayer, TestIssuer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # let issuer = TestIssuer::start().await?;
//! let service = ServiceBuilder::new()
//!     .layer(JwtAuthLayer::from_issuer(issuer.issuer(), "orders-api")?)
//!     .layer(RequireRoleLayer::any(["reader", "admin"]))
//!     .service(service_fn(
//!         |_: Request<String>| async { Ok::<_, std::convert::Infallible>(Response::new(String::new())) },
//!     ));
//!
//! for (role, status) in [("admin", StatusCode::OK), ("guest", StatusCode::FORBIDDEN)] {
//!     let token = issuer.token("alice").audience("orders-api").role(role).sign();
//!     let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(String::new())?;
//!     assert_eq!(service.clone().oneshot(request).await?.status(), status);
//! }
//! # Ok(())
//! # }
//! ```

mod atom;
#[cfg(feature = "serde")]
mod form;
mod layer;
mod missing;
mod predicate;
mod rule;
mod rules;
mod service;
mod text;
mod truth;

pub use layer::{RequireLayer, RequirePermissionLayer, RequireRoleLayer, RequireScopeLayer};
pub use predicate::Predicate;
pub use rule::Rule;
pub use rules::Rules;
pub use service::{Require, ResponseFuture};

#[cfg(test)]
mod tests;
