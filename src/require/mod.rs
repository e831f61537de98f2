//! Authorizes verified callers by roles, scopes and permissions.
//!
//! How a request is decided:
//!
//! 1. No [`Caller`](crate::Caller) in the extensions: nothing authenticated the request above. That is a
//!    misconfiguration, never a pass: 500, and the log names the fix.
//! 2. An anonymous caller: 401 with a challenge.
//! 3. A verified caller for whom the [`Rule`] holds: the request passes.
//! 4. Any other: 403 `insufficient_scope` (RFC 6750 section 3.1); the challenge names the scopes of the rule, the body the
//!    rule.
//!
//! Under axum, `route_layer` keeps a path without a route at 404; `layer` would answer 403 for it.
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

mod explain;
mod form;
mod layer;
mod leaf;
mod missing;
mod pattern;
mod predicate;
mod rule;
mod rules;
mod service;
mod text;
mod truth;

pub use layer::{RequirePermissionLayer, RequireRoleLayer, RequireScopeLayer};
pub use predicate::Predicate;
pub use rule::Rule;
pub use rules::Rules;
pub use service::{RequireRole, ResponseFuture};

#[cfg(test)]
mod tests;
