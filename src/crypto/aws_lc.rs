//! Signatures by aws-lc-rs.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};

use super::der;
use super::material::Material;
use crate::algorithm::{Algorithm, Algorithms};

/// One parsed key per algorithm, so that a verification parses and allocates nothing.
pub(crate) struct Verifier(Box<[(Algorithm, Prepared)]>);

enum Prepared {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

// === impl Verifier ===

impl Verifier {
    /// `None` if aws-lc refuses the key, for example a point that is not on its curve.
    pub(crate) fn new(material: Material<'_>, algorithms: Algorithms) -> Option<Self> {
        let prepared: Option<Box<_>> = algorithms
            .iter()
            .map(|algorithm| Some((algorithm, Prepared::new(material, algorithm)?)))
            .collect();
        prepared.map(Self)
    }

    pub(crate) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let found = self.0.iter().find(|(prepared, _)| *prepared == algorithm);
        match found {
            Some((_, Prepared::Public(key))) => key.verify_sig(signed, signature).is_ok(),
            Some((_, Prepared::Secret(key))) => hmac::verify(key, signed, signature).is_ok(),
            None => false,
        }
    }
}

// === impl Prepared ===

impl Prepared {
    fn new(material: Material<'_>, algorithm: Algorithm) -> Option<Self> {
        let public = |key: &[u8]| {
            ParsedPublicKey::new(public_algorithm(algorithm)?, key)
                .ok()
                .map(Self::Public)
        };
        match material {
            Material::Rsa { modulus, exponent } => {
                public(&der::write_rsa_public_key(modulus, exponent))
            }
            Material::P256(point) | Material::P384(point) => public(point),
            Material::Ed25519(key) => public(key),
            Material::Secret(secret) => {
                let key = hmac::Key::new(secret_algorithm(algorithm)?, secret);
                Some(Self::Secret(Box::new(key)))
            }
        }
    }
}

fn public_algorithm(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDSA => &signature::ED25519,
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return None,
    })
}

fn secret_algorithm(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::HS256 => Some(hmac::HMAC_SHA256),
        Algorithm::HS384 => Some(hmac::HMAC_SHA384),
        Algorithm::HS512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

#[cfg(any(test, feature = "issue"))]
pub(crate) use signing::{KeyPair, sha256};

#[cfg(any(test, feature = "issue"))]
mod signing {
    use aws_lc_rs::digest;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding};

    use crate::algorithm::Algorithm;
    use crate::crypto::der;
    use crate::crypto::material::Material;

    /// A private key and its public half. It stays parsed: aws-lc checks an RSA key whenever it
    /// parses one, which takes four times as long as a signature.
    pub(crate) enum KeyPair {
        Rsa(signature::RsaKeyPair),
        P256(EcdsaKeyPair),
        P384(EcdsaKeyPair),
        Ed25519(Ed25519KeyPair),
    }

    impl KeyPair {
        /// A new key for this algorithm; `None` for HMAC, or if aws-lc fails.
        pub(crate) fn generate(algorithm: Algorithm) -> Option<Self> {
            let p256 = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
            let p384 = &signature::ECDSA_P384_SHA384_FIXED_SIGNING;
            match algorithm {
                Algorithm::ES256 => EcdsaKeyPair::generate(p256).ok().map(Self::P256),
                Algorithm::ES384 => EcdsaKeyPair::generate(p384).ok().map(Self::P384),
                Algorithm::EdDSA => Ed25519KeyPair::generate().ok().map(Self::Ed25519),
                rsa => {
                    rsa_encoding(rsa)?;
                    let pair = signature::RsaKeyPair::generate(KeySize::Rsa2048);
                    pair.ok().map(Self::Rsa)
                }
            }
        }

        /// The public half; `None` if aws-lc fails.
        pub(crate) fn with_public<T>(&self, read: impl FnOnce(Material<'_>) -> T) -> Option<T> {
            let material = match self {
                Self::Rsa(pair) => {
                    let key = pair.public_key().as_ref();
                    let (modulus, exponent) = der::read_rsa_public_key(key)?;
                    Material::Rsa { modulus, exponent }
                }
                Self::P256(pair) => Material::P256(pair.public_key().as_ref()),
                Self::P384(pair) => Material::P384(pair.public_key().as_ref()),
                Self::Ed25519(pair) => {
                    Material::Ed25519(pair.public_key().as_ref().try_into().ok()?)
                }
            };
            Some(read(material))
        }

        /// Signs with an algorithm of this key's kind; `None` if aws-lc fails.
        pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Option<Vec<u8>> {
            let random = SystemRandom::new();
            match self {
                Self::Rsa(pair) => {
                    let mut signature = vec![0; pair.public_modulus_len()];
                    let encoding = rsa_encoding(algorithm)?;
                    pair.sign(encoding, &random, message, &mut signature).ok()?;
                    Some(signature)
                }
                Self::P256(pair) | Self::P384(pair) => {
                    let signature = pair.sign(&random, message).ok()?;
                    Some(signature.as_ref().to_vec())
                }
                Self::Ed25519(pair) => Some(pair.try_sign(message).ok()?.as_ref().to_vec()),
            }
        }
    }

    fn rsa_encoding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
        Some(match algorithm {
            Algorithm::RS256 => &signature::RSA_PKCS1_SHA256,
            Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
            Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
            Algorithm::PS256 => &signature::RSA_PSS_SHA256,
            Algorithm::PS384 => &signature::RSA_PSS_SHA384,
            Algorithm::PS512 => &signature::RSA_PSS_SHA512,
            _ => return None,
        })
    }

    pub(crate) fn sha256(data: &[u8]) -> impl AsRef<[u8]> {
        digest::digest(&digest::SHA256, data)
    }
}
