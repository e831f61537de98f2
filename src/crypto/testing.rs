//! Signing keys, generated once for all unit tests because RSA keys are slow to generate.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::der::write_rsa_public_key;
use super::{KeyPair, Material};
use crate::algorithm::Algorithm;

pub(crate) const MESSAGE: &[u8] = b"header.payload";

pub(crate) struct Signer(KeyPair);

static SIGNERS: LazyLock<[Signer; 4]> = LazyLock::new(|| {
    use Algorithm::{ES256, ES384, EdDSA, RS256};
    [RS256, ES256, ES384, EdDSA].map(Signer::generate)
});

impl Signer {
    pub(crate) fn of(algorithm: Algorithm) -> &'static Self {
        let [rsa, p256, p384, ed] = &*SIGNERS;
        match algorithm {
            Algorithm::ES256 => p256,
            Algorithm::ES384 => p384,
            Algorithm::EdDSA => ed,
            _ => rsa,
        }
    }

    /// A P-256 key that no other test has.
    pub(crate) fn fresh() -> Self {
        Self::generate(Algorithm::ES256)
    }

    fn generate(algorithm: Algorithm) -> Self {
        Self(KeyPair::generate(algorithm).unwrap())
    }

    pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        self.0.sign(algorithm, message).unwrap()
    }

    pub(crate) fn with_material<T>(&self, check: impl FnOnce(Material<'_>) -> T) -> T {
        self.0.with_public(check).unwrap()
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        self.with_material(|material| match material {
            Material::Rsa { modulus, exponent } => {
                json!({"kty": "RSA", "kid": kid, "n": text(modulus), "e": text(exponent)})
            }
            Material::P256(point) | Material::P384(point) => {
                let (x, y) = point[1..].split_at(point.len() / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": crv, "kid": kid, "x": text(x), "y": text(y)})
            }
            Material::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": text(key)})
            }
            Material::Secret(_) => unreachable!(),
        })
    }

    /// The public key as `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7): a prefix, then the key.
    pub(crate) fn pem(&self) -> String {
        const RSA_2048: &[u8] =
            b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\
            \x05\x00\x03\x82\x01\x0f\x00";
        const P256: &[u8] =
            b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\
            \xce\x3d\x03\x01\x07\x03\x42\x00";
        const P384: &[u8] =
            b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\
            \x00\x22\x03\x62\x00";
        const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
        let der = self.with_material(|material| match material {
            Material::Rsa { modulus, exponent } => {
                [RSA_2048, &write_rsa_public_key(modulus, exponent)].concat()
            }
            Material::P256(point) => [P256, point].concat(),
            Material::P384(point) => [P384, point].concat(),
            Material::Ed25519(key) => [ED25519, key].concat(),
            Material::Secret(_) => unreachable!(),
        });
        let text = BASE64_STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }
}
