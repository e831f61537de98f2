//! Signatures, by whichever backend is compiled in.
//!
//! A backend is chosen by name and never through jsonwebtoken's process default, which panics when a build has both.

use crate::algorithm::{Algorithm, Algorithms};

#[cfg(all(
    feature = "aws-lc-rs",
    not(all(any(test, both_backends), feature = "rust-crypto"))
))]
pub(super) use aws_lc::Verifier;
#[cfg(all(
    any(test, both_backends),
    feature = "aws-lc-rs",
    feature = "rust-crypto"
))]
pub(super) use both::Verifier;
#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc-rs")))]
pub(super) use rust_crypto::Verifier;

/// What a key is made of, of the right lengths.
#[derive(Clone, Copy)]
pub(super) enum Material<'a> {
    /// Big-endian and without leading zeros.
    Rsa {
        modulus: &'a [u8],
        exponent: &'a [u8],
    },
    /// An uncompressed point (SEC 1 section 2.3.3).
    P256(&'a [u8]),
    /// An uncompressed point.
    P384(&'a [u8]),
    Ed25519(&'a [u8; 32]),
    Secret(&'a [u8]),
}

// === impl Material ===

impl Material<'_> {
    /// Every algorithm that a key of this kind can verify.
    pub(super) const fn algorithms(&self) -> Algorithms {
        match self {
            Self::Rsa { .. } => Algorithms::RSA,
            Self::P256(_) => Algorithms::of(&[Algorithm::ES256]),
            Self::P384(_) => Algorithms::of(&[Algorithm::ES384]),
            Self::Ed25519(_) => Algorithms::of(&[Algorithm::EdDSA]),
            Self::Secret(secret) => Algorithms::hmac(secret.len()),
        }
    }
}

#[cfg(feature = "aws-lc-rs")]
mod aws_lc {
    use aws_lc_rs::hmac;
    use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};

    use super::Material;
    use crate::algorithm::{Algorithm, Algorithms};
    use crate::jwks::der;

    /// One parsed key per algorithm, so that nothing is parsed or allocated when a token comes.
    pub(crate) struct Verifier(Box<[(Algorithm, Prepared)]>);

    enum Prepared {
        Public(ParsedPublicKey),
        Secret(Box<hmac::Key>),
    }

    impl Verifier {
        /// `None` if the backend refuses the key, as it does a point that is not on its curve.
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
}

// Beside aws-lc it is compiled for tests alone, which hold the two to the same answers.
#[cfg(all(
    feature = "rust-crypto",
    any(test, both_backends, not(feature = "aws-lc-rs"))
))]
mod rust_crypto {
    use jsonwebtoken::DecodingKey;
    use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;

    use super::Material;
    use crate::algorithm::{Algorithm, Algorithms};

    /// The `rsa` crate takes no larger modulus.
    pub(super) const MAX_RSA_BYTES: usize = 4096 / 8;

    /// The key's bytes: jsonwebtoken's verifiers are not `Send`, so one is made for each signature.
    pub(crate) struct Verifier {
        algorithms: Algorithms,
        key: DecodingKey,
        /// Of an RSA key, and empty for others.
        modulus: Box<[u8]>,
    }

    impl Verifier {
        /// `None` if the backend refuses the key, as it does a point that is not on its curve.
        pub(crate) fn new(material: Material<'_>, algorithms: Algorithms) -> Option<Self> {
            let key = match material {
                Material::Rsa { modulus, .. } if modulus.len() > MAX_RSA_BYTES => return None,
                Material::Rsa { modulus, exponent } => {
                    DecodingKey::from_rsa_raw_components(modulus, exponent)
                }
                Material::P256(point) | Material::P384(point) => DecodingKey::from_ec_der(point),
                Material::Ed25519(key) => DecodingKey::from_ed_der(key),
                Material::Secret(secret) => DecodingKey::from_secret(secret),
            };
            algorithms
                .iter()
                .all(|algorithm| {
                    (DEFAULT_PROVIDER.verifier_factory)(&name(algorithm), &key).is_ok()
                })
                .then(|| Self {
                    algorithms,
                    key,
                    modulus: match material {
                        Material::Rsa { modulus, .. } => modulus.into(),
                        _ => Box::default(),
                    },
                })
        }

        pub(crate) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
            if !self.algorithms.contains(algorithm) || !self.is_in_range(signature) {
                return false;
            }
            let verifier = (DEFAULT_PROVIDER.verifier_factory)(&name(algorithm), &self.key);
            verifier.is_ok_and(|verifier| verifier.verify(signed, &signature.to_vec()).is_ok())
        }

        /// RFC 8017 sections 8.1.2 and 5.2.2: as long as the modulus, and below it. The `rsa` crate takes the number modulo
        /// the modulus for PSS, and so a second text for the same signature.
        fn is_in_range(&self, signature: &[u8]) -> bool {
            self.modulus.is_empty()
                || signature.len() == self.modulus.len() && *signature < *self.modulus
        }
    }

    fn name(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
        match algorithm {
            Algorithm::HS256 => jsonwebtoken::Algorithm::HS256,
            Algorithm::HS384 => jsonwebtoken::Algorithm::HS384,
            Algorithm::HS512 => jsonwebtoken::Algorithm::HS512,
            Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::RS384 => jsonwebtoken::Algorithm::RS384,
            Algorithm::RS512 => jsonwebtoken::Algorithm::RS512,
            Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
            Algorithm::PS384 => jsonwebtoken::Algorithm::PS384,
            Algorithm::PS512 => jsonwebtoken::Algorithm::PS512,
            Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::ES384 => jsonwebtoken::Algorithm::ES384,
            Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// With both in a build, every signature that a unit test verifies is judged by both, and they must agree. So is every other test's
/// where the compiler is told `--cfg both_backends`, as `.ci/run` does.
#[cfg(all(
    any(test, both_backends),
    feature = "aws-lc-rs",
    feature = "rust-crypto"
))]
mod both {
    use super::{Material, aws_lc, rust_crypto};
    use crate::algorithm::{Algorithm, Algorithms};

    pub(crate) struct Verifier {
        aws_lc: aws_lc::Verifier,
        /// `None` for a modulus that only the other takes.
        rust_crypto: Option<rust_crypto::Verifier>,
    }

    impl Verifier {
        pub(crate) fn new(material: Material<'_>, algorithms: Algorithms) -> Option<Self> {
            let rust_crypto = rust_crypto::Verifier::new(material, algorithms);
            let is_too_large = matches!(
                material,
                Material::Rsa { modulus, .. } if modulus.len() > rust_crypto::MAX_RSA_BYTES
            );
            let aws_lc = aws_lc::Verifier::new(material, algorithms);
            assert_eq!(aws_lc.is_some(), rust_crypto.is_some() || is_too_large);
            aws_lc.map(|aws_lc| Self {
                aws_lc,
                rust_crypto,
            })
        }

        pub(crate) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
            let verdict = self.aws_lc.verify(algorithm, signed, signature);
            if let Some(rust_crypto) = &self.rust_crypto {
                let other = rust_crypto.verify(algorithm, signed, signature);
                assert_eq!(verdict, other, "{algorithm}, {signed:?}, {signature:?}");
            }
            verdict
        }
    }
}

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests {
    use super::*;
    use crate::jwks::testing::{MESSAGE, Signer};

    /// Every backend of the build, on one signature.
    fn verdicts(
        material: Material<'_>,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> Vec<bool> {
        let only = Algorithms::of(&[algorithm]);
        vec![
            aws_lc::Verifier::new(material, only)
                .unwrap()
                .verify(algorithm, signed, signature),
            #[cfg(feature = "rust-crypto")]
            rust_crypto::Verifier::new(material, only)
                .unwrap()
                .verify(algorithm, signed, signature),
        ]
    }

    #[test]
    fn every_algorithm_accepts_its_own_signature_and_no_other() {
        for algorithm in Algorithms::ASYMMETRIC.iter() {
            let signer = Signer::of(algorithm);
            let mut signature = signer.sign(algorithm, MESSAGE);
            signer.with_material(|material| {
                let good = verdicts(material, algorithm, MESSAGE, &signature);
                assert!(good.iter().all(|verdict| *verdict), "{algorithm}");
                let other = verdicts(material, algorithm, b"another message", &signature);
                assert!(other.iter().all(|verdict| !verdict), "{algorithm}");
                signature[7] ^= 1;
                let broken = verdicts(material, algorithm, MESSAGE, &signature);
                assert!(broken.iter().all(|verdict| !verdict), "{algorithm}");
                for wrong in [&[][..], &[0; 64], &[0; 256]] {
                    let zeros = verdicts(material, algorithm, MESSAGE, wrong);
                    assert!(zeros.iter().all(|verdict| !verdict), "{algorithm}");
                }
            });
        }
    }

    #[test]
    fn a_secret_verifies_by_the_chosen_hash_only() {
        let secret = [7; 32];
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let tag = aws_lc_rs::hmac::sign(&key, MESSAGE);
        let material = Material::Secret(&secret);
        let check = |algorithm| verdicts(material, algorithm, MESSAGE, tag.as_ref());
        assert!(check(Algorithm::HS256).iter().all(|verdict| *verdict));
        assert!(check(Algorithm::HS384).iter().all(|verdict| !verdict));
        let short = verdicts(material, Algorithm::HS256, MESSAGE, &tag.as_ref()[..31]);
        assert!(short.iter().all(|verdict| !verdict));
    }

    #[test]
    fn a_point_that_is_not_on_the_curve_is_refused() {
        let mut point = [0x11; 65];
        point[0] = 4;
        let only = Algorithms::of(&[Algorithm::ES256]);
        assert!(aws_lc::Verifier::new(Material::P256(&point), only).is_none());
        #[cfg(feature = "rust-crypto")]
        assert!(rust_crypto::Verifier::new(Material::P256(&point), only).is_none());
    }
}
