//! Signatures by the RustCrypto crates.

use ed25519_dalek::Verifier as _;
use hmac::{Hmac, KeyInit, Mac};
use rsa::{BoxedUint, Pkcs1v15Sign, Pss};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::material::Material;
use crate::algorithm::{Algorithm, Algorithms};

/// A parsed key, and the algorithms that it may verify.
pub(crate) struct Verifier {
    algorithms: Algorithms,
    key: Prepared,
}

enum Prepared {
    Rsa(Box<rsa::PublicKey>),
    P256(Box<p256::ecdsa::VerifyingKey>),
    P384(Box<p384::ecdsa::VerifyingKey>),
    Ed25519(Box<ed25519_dalek::VerifyingKey>),
    Secret(Box<[u8]>),
}

/// The padding of an RSA algorithm and the digest of the message, for one call.
macro_rules! with_rsa_scheme {
    ($algorithm:expr, $message:expr, |$scheme:ident, $digest:ident| $call:expr) => {{
        macro_rules! with {
            ($padding:expr, $Hash:ty) => {{
                let ($scheme, $digest) = ($padding, <$Hash>::digest($message));
                Some($call)
            }};
        }
        match $algorithm {
            Algorithm::RS256 => with!(Pkcs1v15Sign::new::<Sha256>(), Sha256),
            Algorithm::RS384 => with!(Pkcs1v15Sign::new::<Sha384>(), Sha384),
            Algorithm::RS512 => with!(Pkcs1v15Sign::new::<Sha512>(), Sha512),
            Algorithm::PS256 => with!(Pss::<Sha256>::new(), Sha256),
            Algorithm::PS384 => with!(Pss::<Sha384>::new(), Sha384),
            Algorithm::PS512 => with!(Pss::<Sha512>::new(), Sha512),
            _ => None,
        }
    }};
}

// === impl Verifier ===

impl Verifier {
    /// `None` if the crate refuses the key, for example a point that is not on its curve.
    pub(crate) fn new(material: Material<'_>, algorithms: Algorithms) -> Option<Self> {
        let key = Prepared::new(material)?;
        Some(Self { algorithms, key })
    }

    pub(crate) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        self.algorithms.contains(algorithm) && self.key.verify(algorithm, signed, signature)
    }
}

// === impl Prepared ===

impl Prepared {
    fn new(material: Material<'_>) -> Option<Self> {
        Some(match material {
            Material::Rsa { modulus, exponent } => {
                let number = BoxedUint::from_be_slice_vartime;
                let key = rsa::PublicKey::new(number(modulus), number(exponent));
                Self::Rsa(Box::new(key.ok()?))
            }
            Material::P256(point) => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point);
                Self::P256(Box::new(key.ok()?))
            }
            Material::P384(point) => {
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point);
                Self::P384(Box::new(key.ok()?))
            }
            Material::Ed25519(key) => {
                let key = ed25519_dalek::VerifyingKey::from_bytes(key);
                Self::Ed25519(Box::new(key.ok()?))
            }
            Material::Secret(secret) => Self::Secret(secret.into()),
        })
    }

    fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa(key) => {
                let holds = with_rsa_scheme!(algorithm, signed, |scheme, digest| {
                    key.verify(scheme, &digest, signature).is_ok()
                });
                holds.unwrap_or(false)
            }
            Self::P256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
            Self::P384(key) => p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
            Self::Secret(secret) => match algorithm {
                Algorithm::HS256 => hmac::<Hmac<Sha256>>(secret, signed, signature),
                Algorithm::HS384 => hmac::<Hmac<Sha384>>(secret, signed, signature),
                Algorithm::HS512 => hmac::<Hmac<Sha512>>(secret, signed, signature),
                _ => false,
            },
        }
    }
}

fn hmac<M: Mac + KeyInit>(secret: &[u8], signed: &[u8], tag: &[u8]) -> bool {
    let mac = <M as KeyInit>::new_from_slice(secret);
    mac.is_ok_and(|mac| mac.chain_update(signed).verify_slice(tag).is_ok())
}

#[cfg(any(test, feature = "issue"))]
pub(crate) use signing::{KeyPair, sha256};

#[cfg(any(test, feature = "issue"))]
mod signing {
    use ed25519_dalek::Signer as _;
    use getrandom::SysRng;
    use p256::elliptic_curve::Generate;
    use rsa::traits::PublicKeyParts;
    use rsa::{Pkcs1v15Sign, Pss};
    use sha2::{Digest, Sha256, Sha384, Sha512};

    use crate::algorithm::Algorithm;
    use crate::crypto::material::Material;

    /// A private key and its public half.
    pub(crate) enum KeyPair {
        Rsa(Box<rsa::PrivateKey>),
        P256(Box<p256::ecdsa::SigningKey>),
        P384(Box<p384::ecdsa::SigningKey>),
        Ed25519(Box<ed25519_dalek::SigningKey>),
    }

    impl KeyPair {
        /// A new key for this algorithm; `None` for HMAC, or if there is no randomness.
        pub(crate) fn generate(algorithm: Algorithm) -> Option<Self> {
            match algorithm {
                Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => None,
                Algorithm::ES256 => {
                    let key = p256::ecdsa::SigningKey::try_generate_from_rng(&mut SysRng);
                    Some(Self::P256(Box::new(key.ok()?)))
                }
                Algorithm::ES384 => {
                    let key = p384::ecdsa::SigningKey::try_generate_from_rng(&mut SysRng);
                    Some(Self::P384(Box::new(key.ok()?)))
                }
                Algorithm::EdDSA => {
                    let mut seed = [0; 32];
                    getrandom::fill(&mut seed).ok()?;
                    let key = ed25519_dalek::SigningKey::from_bytes(&seed);
                    Some(Self::Ed25519(Box::new(key)))
                }
                _ => {
                    let key = rsa::PrivateKey::new(&mut SysRng, 2048);
                    Some(Self::Rsa(Box::new(key.ok()?)))
                }
            }
        }

        /// The public half.
        pub(crate) fn with_public<T>(&self, read: impl FnOnce(Material<'_>) -> T) -> Option<T> {
            Some(match self {
                Self::Rsa(key) => {
                    let (modulus, exponent) = (&key.n_bytes(), &key.e_bytes());
                    read(Material::Rsa { modulus, exponent })
                }
                Self::P256(key) => {
                    let point = key.verifying_key().to_sec1_point(false);
                    read(Material::P256(point.as_bytes()))
                }
                Self::P384(key) => {
                    let point = key.verifying_key().to_sec1_point(false);
                    read(Material::P384(point.as_bytes()))
                }
                Self::Ed25519(key) => read(Material::Ed25519(key.verifying_key().as_bytes())),
            })
        }

        /// Signs with an algorithm of this key's kind; `None` if there is no randomness.
        pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Option<Vec<u8>> {
            match self {
                Self::Rsa(key) => {
                    let signature = with_rsa_scheme!(algorithm, message, |scheme, digest| {
                        key.sign_with_rng(&mut SysRng, scheme, &digest).ok()
                    });
                    signature.flatten()
                }
                Self::P256(key) => {
                    let signature: p256::ecdsa::Signature = key.try_sign(message).ok()?;
                    Some(signature.to_bytes().to_vec())
                }
                Self::P384(key) => {
                    let signature: p384::ecdsa::Signature = key.try_sign(message).ok()?;
                    Some(signature.to_bytes().to_vec())
                }
                Self::Ed25519(key) => Some(key.try_sign(message).ok()?.to_bytes().to_vec()),
            }
        }
    }

    pub(crate) fn sha256(data: &[u8]) -> impl AsRef<[u8]> {
        Sha256::digest(data)
    }
}
