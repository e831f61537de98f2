//! The crypto backend, and the only module that names its crates.
//!
//! [`Verifier`] and [`KeyPair`] come from aws-lc-rs, or from the RustCrypto crates if `aws-lc-rs`
//! is disabled. No process-wide provider is read or installed, neither of jsonwebtoken nor of
//! rustls, and no feature of jsonwebtoken that decides one is enabled.

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
#[cfg(all(
    any(test, both_backends),
    feature = "aws-lc-rs",
    feature = "rust-crypto"
))]
mod both;
mod der;
mod material;
mod roca;
#[cfg(feature = "rust-crypto")]
#[cfg_attr(feature = "aws-lc-rs", allow(dead_code))] // compiled for `both`
mod rust_crypto;

#[cfg(all(
    feature = "aws-lc-rs",
    not(all(any(test, both_backends), feature = "rust-crypto"))
))]
pub(crate) use aws_lc::Verifier;
#[cfg(all(
    any(test, both_backends),
    feature = "aws-lc-rs",
    feature = "rust-crypto"
))]
pub(crate) use both::Verifier;
#[cfg(not(feature = "aws-lc-rs"))]
pub(crate) use rust_crypto::Verifier;

#[cfg(all(feature = "aws-lc-rs", any(test, feature = "issue")))]
pub(crate) use aws_lc::{KeyPair, sha256};
#[cfg(all(not(feature = "aws-lc-rs"), any(test, feature = "issue")))]
pub(crate) use rust_crypto::{KeyPair, sha256};

pub(crate) use der::read_rsa_public_key;
pub(crate) use material::{Material, strip_zeros};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
