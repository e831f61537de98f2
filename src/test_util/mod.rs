//! An issuer on loopback, for the tests of services that verify tokens.
//!
//! [`TestIssuer`] serves discovery and a JWKS document from a free port, mints any token a test can think of, good or
//! bad, and fails on demand: a status, an answer that is held back, a document of your own, a key that is gone.
//! It counts what it was asked, so that a test states how often keys were fetched instead of sleeping.
//!
//! Turn the feature on for tests alone (`[dev-dependencies]`): whoever holds a `TestIssuer` can be anybody.
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

pub use issuer::TestIssuer;
pub use token::TestToken;

#[cfg(test)]
mod tests;
