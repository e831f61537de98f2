//! One key, and what it may verify.

use std::fmt;

use serde_json::Value;

use super::verifier::{Material, Verifier};
use super::{der, jwk};
use crate::algorithm::{Algorithm, Algorithms};
use crate::error::ConfigError;

/// A key that was checked when it was loaded. It lives in one `Arc`, kept for as long as its issuer publishes it
/// unchanged, so that whoever holds the `Arc` can tell by its address whether the key is still in force.
pub(crate) struct Key {
    kid: Option<Box<str>>,
    algorithms: Algorithms,
    /// The one issuer that it signs for, if it says so.
    issuer: Option<Box<str>>,
    verifier: Verifier,
    /// The JWK as its issuer wrote it; `None` for a secret.
    source: Option<Box<str>>,
    /// `None` for a secret.
    fingerprint: Option<Fingerprint>,
}

/// What a public key is known by, however it is written: two keys that have it in common have one owner, since the
/// private half of one follows from that of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(Box<[u8]>);

/// Why a key of a set is not used. The others of its set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Skipped {
    /// It is not a JWK, or a member has the wrong type or appears twice.
    Unparsable,
    /// It is a shared secret (`oct`). Whoever can read a key set could sign with it.
    Symmetric,
    /// It holds private members. Whoever can read a key set could sign with it.
    Private,
    /// `use` is not `sig`.
    Use,
    /// `key_ops` is without `verify`.
    Operations,
    /// `alg` is unknown, or not a signature.
    Algorithm,
    /// `alg`, `kty` and `crv` do not go together.
    Mismatch,
    /// An unknown `kty`, or a `crv` that is not P-256, P-384 or Ed25519.
    Unsupported,
    /// An RSA key that is below 2048 bits or above 8192, whose exponent is below 65537 or even, or that the ROCA generator
    /// made (CVE-2017-15361); an Ed25519 key of small order, under which anybody can sign.
    Weak,
    /// The numbers make no key: a wrong length, or a point that is not on its curve.
    Material,
    /// Another key of the set has the same `kid`.
    DuplicateKid,
}

// === impl Key ===

impl Key {
    /// A key from the text of one JWK (RFC 7517 section 4).
    pub(crate) fn from_jwk(text: &str) -> Result<Self, Skipped> {
        jwk::parse(text, |jwk, material| {
            let verifier = Verifier::new(material, jwk.algorithms).ok_or(Skipped::Material)?;
            Ok(Self {
                kid: jwk.kid,
                algorithms: jwk.algorithms,
                issuer: jwk.issuer,
                verifier,
                source: Some(text.into()),
                fingerprint: Fingerprint::of(material),
            })
        })
    }

    /// A key from a PEM file with one public key: `PUBLIC KEY` (RSA, P-256, P-384, Ed25519) or `RSA PUBLIC KEY`.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, ConfigError> {
        // The label is read here because the PEM reader takes the public part of a private key without a word.
        let mut labels = pem
            .lines()
            .filter_map(|line| line.trim().strip_prefix("-----BEGIN "));
        match (labels.next(), labels.next()) {
            (Some("PUBLIC KEY-----" | "RSA PUBLIC KEY-----"), None) => {}
            (Some(label), None) if label.contains("PRIVATE") => {
                return Err(refused("this is a private key: give the public key alone"));
            }
            (Some(_), Some(_)) => {
                return Err(refused("several keys in one PEM: give one at a time"));
            }
            _ => return Err(refused("no PEM block `PUBLIC KEY` or `RSA PUBLIC KEY`")),
        }
        let unreadable =
            || refused("unreadable: RSA, P-256, P-384 and Ed25519 public keys are accepted");
        let bytes = pem.as_bytes();
        let rsa = jsonwebtoken::DecodingKey::from_rsa_pem;
        let ec = jsonwebtoken::DecodingKey::from_ec_pem;
        let ed = jsonwebtoken::DecodingKey::from_ed_pem;
        let key = rsa(bytes)
            .or_else(|_| ec(bytes))
            .or_else(|_| ed(bytes))
            .map_err(|_| unreadable())?;
        let content = key.try_get_as_bytes().map_err(|_| unreadable())?;
        let material = match key.family() {
            jsonwebtoken::AlgorithmFamily::Rsa => {
                let (modulus, exponent) =
                    der::read_rsa_public_key(content).ok_or_else(unreadable)?;
                if !jwk::rsa_is_sound(modulus, exponent) {
                    return Err(refused(
                        "RSA needs 2048 to 8192 bits, an odd exponent from 65537, and a sound generator (not that of CVE-2017-15361)",
                    ));
                }
                Material::Rsa { modulus, exponent }
            }
            jsonwebtoken::AlgorithmFamily::Ec => match content.len() {
                65 => Material::P256(content),
                97 => Material::P384(content),
                _ => return Err(unreadable()),
            },
            jsonwebtoken::AlgorithmFamily::Ed => {
                let key = content.try_into().map_err(|_| unreadable())?;
                if !jwk::ed25519_is_sound(key) {
                    return Err(refused(
                        "an Ed25519 key of small order, under which anybody can sign",
                    ));
                }
                Material::Ed25519(key)
            }
            jsonwebtoken::AlgorithmFamily::Hmac => return Err(unreadable()),
        };
        let algorithms = material.algorithms();
        Ok(Self {
            kid: None,
            algorithms,
            issuer: None,
            verifier: Verifier::new(material, algorithms).ok_or_else(unreadable)?,
            source: Some(pem.into()),
            fingerprint: Fingerprint::of(material),
        })
    }

    /// A shared secret, for the hashes that it is long enough for. There is no other way to a symmetric key.
    pub(crate) fn hmac(secret: &[u8]) -> Result<Self, ConfigError> {
        let material = Material::Secret(secret);
        let algorithms = material.algorithms();
        if algorithms.is_empty() {
            return Err(refused(
                "a secret needs 32 bytes or more, from a random generator",
            ));
        }
        let verifier = Verifier::new(material, algorithms)
            .ok_or_else(|| refused("the backend refuses this secret"))?;
        Ok(Self {
            kid: None,
            algorithms,
            issuer: None,
            verifier,
            source: None,
            fingerprint: None,
        })
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(crate) fn algorithms(&self) -> Algorithms {
        self.algorithms
    }

    pub(crate) fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(algorithm)
    }

    /// Whether it may sign in the name of this issuer. In a set that issuers share, a key may say whose it is.
    pub(crate) fn serves(&self, issuer: &str) -> bool {
        self.issuer.as_deref().is_none_or(|own| own == issuer)
    }

    /// Whether `signature` is this key's on `signed`; never, if the key does not allow the algorithm.
    pub(crate) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        self.allows(algorithm) && self.verifier.verify(algorithm, signed, signature)
    }

    pub(super) fn fingerprint(&self) -> Option<&Fingerprint> {
        self.fingerprint.as_ref()
    }

    /// The text that it was loaded from.
    pub(super) fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The memory that the key takes, as an estimate: a backend parses a key once per algorithm.
    pub(super) fn bytes(&self) -> usize {
        let material = self.fingerprint.as_ref().map_or(0, |own| own.0.len());
        let parsed = self.algorithms.iter().count() * (4 * material + 512);
        parsed + self.source.as_ref().map_or(0, |text| text.len())
    }

    /// Whether the two were loaded from the same text.
    pub(super) fn is_unchanged(&self, other: &Self) -> bool {
        self.source.is_some() && self.source == other.source
    }

    /// Whether the two are one JWK, member for member, however each is written.
    pub(super) fn is_twin(&self, other: &Self) -> bool {
        let members = |key: &Self| serde_json::from_str::<Value>(key.source.as_deref()?).ok();
        let own = members(self);
        own.is_some() && own == members(other)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

fn refused(problem: &str) -> ConfigError {
    ConfigError::Key {
        problem: problem.to_owned(),
    }
}

// === impl Fingerprint ===

impl Fingerprint {
    fn of(material: Material<'_>) -> Option<Self> {
        Some(Self(match material {
            // With any exponent: who knows the factors knows the private half for each.
            Material::Rsa { modulus, .. } => modulus.into(),
            // Without the sign: who knows a private number knows its negative.
            Material::P256(point) | Material::P384(point) => point.get(1..=point.len() / 2)?.into(),
            Material::Ed25519(key) => {
                let mut key = *key;
                let [.., last] = &mut key;
                *last &= 0x7f;
                key.into()
            }
            Material::Secret(_) => return None,
        }))
    }
}

// === impl Skipped ===

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unparsable => "not a JWK",
            Self::Symmetric => "a shared secret",
            Self::Private => "private members",
            Self::Use => "`use` is not `sig`",
            Self::Operations => "`key_ops` without `verify`",
            Self::Algorithm => "`alg` is no known signature",
            Self::Mismatch => "`alg`, `kty` and `crv` do not go together",
            Self::Unsupported => "an unsupported `kty` or `crv`",
            Self::Weak => "a weak key",
            Self::Material => "the numbers make no key",
            Self::DuplicateKid => "its `kid` is not unique",
        })
    }
}

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests {
    use super::*;
    use crate::jwks::testing::{MESSAGE, Signer};

    #[test]
    fn a_pem_key_verifies() {
        for algorithm in Algorithms::ASYMMETRIC.iter() {
            let signer = Signer::of(algorithm);
            let key = Key::from_pem(&signer.pem()).unwrap();
            assert!(
                key.verify(algorithm, MESSAGE, &signer.sign(algorithm, MESSAGE)),
                "{algorithm}"
            );
            assert!(
                !key.verify(algorithm, b"other", &signer.sign(algorithm, MESSAGE)),
                "{algorithm}"
            );
            assert!(!key.allows(Algorithm::HS256));
        }
    }

    #[test]
    fn a_pem_that_is_no_single_public_key_is_refused() {
        #[track_caller]
        fn check(pem: &str, expected: &str) {
            let error = Key::from_pem(pem).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let good = Signer::of(Algorithm::ES256).pem();
        check("", "no PEM block");
        check(&good.replace("PUBLIC KEY", "PRIVATE KEY"), "private key");
        check(&good.replace("PUBLIC KEY", "CERTIFICATE"), "no PEM block");
        check(&format!("{good}{good}"), "one at a time");
        check(
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "unreadable",
        );
    }

    #[test]
    fn a_secret_is_as_long_as_the_hash() {
        assert!(Key::hmac(&[1; 31]).is_err());
        for (bytes, expected) in [(32, 1), (47, 1), (48, 2), (63, 2), (64, 3), (100, 3)] {
            let key = Key::hmac(&vec![1; bytes]).unwrap();
            assert_eq!(key.algorithms().iter().count(), expected, "{bytes}");
            assert!(key.allows(Algorithm::HS256) && !key.allows(Algorithm::RS256));
        }
    }

    #[test]
    fn a_key_does_not_show_its_material() {
        let key = Key::hmac(b"0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(
            format!("{key:?}"),
            r#"Key { kid: None, algorithms: ["HS256"], .. }"#
        );
    }
}
