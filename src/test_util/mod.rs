//! An issuer and identities for tests.
//!
//! [`TestIssuer`] serves discovery and a JWKS document from a free port on loopback, signs valid
//! and invalid tokens, and fails on demand: with a status, a delayed answer, a document of your
//! own, or a missing key. It counts requests, so a test can state how often keys were fetched
//! instead of sleeping.
//!
//! [`TestIssuer::offline`] does without the socket, and [`identity`] returns a caller for the
//! extensions of a request, for a unit test of one handler.
//!
//! Enable this feature in `[dev-dependencies]` only: a `TestIssuer` can sign a token for any
//! caller.
//!
//! ```
//! use portcullis::TestIssuer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let issuer = TestIssuer::start().await?.with_audience("orders-api");
//! let good = issuer.token("alice").role("admin").sign();
//! let forged = issuer.token("alice").role("admin").signed_by_stranger().sign();
//! assert_ne!(good, forged);
//!
//! let client = reqwest::Client::builder().no_proxy().build()?;
//! let keys = client.get(issuer.jwks_uri()).send().await?.text().await?;
//! assert!(keys.contains(&issuer.key_ring().signing_kid()));
//! assert_eq!(issuer.fetches(), 1);
//!
//! issuer.fail_with(http::StatusCode::BAD_GATEWAY);
//! assert_eq!(client.get(issuer.jwks_uri()).send().await?.status(), 502);
//! # Ok(())
//! # }
//! ```

mod issuer;
mod server;
mod token;

pub use issuer::{TestIssuer, identity};
pub use token::TestToken;

#[cfg(test)]
mod tests;
