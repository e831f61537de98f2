//! Verifies every signature with both backends and requires the same result.
//!
//! Unit tests use it when both features are enabled. All other tests use it under
//! `--cfg both_backends`, which `.ci/both-backends` sets.

use super::material::Material;
use super::{aws_lc, rust_crypto};
use crate::algorithm::{Algorithm, Algorithms};

pub(crate) struct Verifier {
    aws_lc: aws_lc::Verifier,
    rust_crypto: rust_crypto::Verifier,
}

impl Verifier {
    pub(crate) fn new(material: Material<'_>, algorithms: Algorithms) -> Option<Self> {
        let aws_lc = aws_lc::Verifier::new(material, algorithms);
        let rust_crypto = rust_crypto::Verifier::new(material, algorithms);
        assert_eq!(aws_lc.is_some(), rust_crypto.is_some());
        Some(Self {
            aws_lc: aws_lc?,
            rust_crypto: rust_crypto?,
        })
    }

    pub(crate) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let verdict = self.aws_lc.verify(algorithm, signed, signature);
        let other = self.rust_crypto.verify(algorithm, signed, signature);
        assert_eq!(verdict, other, "{algorithm}, {signed:?}, {signature:?}");
        verdict
    }
}
