//! Authorizes verified callers by rules: roles, scopes, permissions, claims, and how they logged in.
//!
//! How a request is decided:
//!
//! 1. No [`Caller`](crate::Caller) in the extensions: nothing authenticated the request above. That is a
//!    misconfiguration, never a pass: 500, and the log names the fix.
//! 2. An anonymous caller: 401 with a challenge.
//! 3. A verified caller for whom the [`Rule`] holds: the request passes.
//! 4. One who lacks nothing but another login (`acr`, `max_age`) or another token as well: 401
//!    `insufficient_user_authentication` (RFC 9470).
//! 5. Any other: 403 `insufficient_scope` (RFC 6750 section 3.1).
//!
//! A refusal finds the smallest set that would have been enough, and the challenge names what a client can ask for:
//! `scope`, `acr_values` and `max_age`. The body names the rule, unless it names clients, subjects, issuers, claims or
//! exceptions.
//!
//! Under axum, `route_layer` keeps a path without a route at 404; `layer` would answer 403 for it, and
//! `GuardedRouter` takes no route without a rule. A guide with examples is
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
