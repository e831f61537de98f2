//! One key, and what it may verify.

use std::fmt;

use jsonwebtoken::{AlgorithmFamily, DecodingKey};
use serde_json::Value;

use super::jwk::{self, Skipped};
use crate::algorithm::{Algorithm, Algorithms};
use crate::crypto::{Material, Verifier, read_rsa_public_key};
use crate::error::ConfigError;

/// A key that was checked when it was loaded. It stays in one `Arc` for as long as its issuer
/// publishes it unchanged, so the address of the `Arc` shows whether the key is still in use.
pub(crate) struct Key {
    kid: Option<Box<str>>,
    algorithms: Algorithms,
    /// The only issuer that this key may sign for, if the JWK names one.
    issuer: Option<Box<str>>,
    verifier: Verifier,
    /// The text of the JWK or PEM; `None` for a secret.
    source: Option<Box<str>>,
    /// `None` for a secret.
    fingerprint: Option<Fingerprint>,
}

/// Identifies the owner of a public key, however the key is written. Two keys with the same
/// fingerprint have one owner, because the private half of one follows from that of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(Box<[u8]>);

// === impl Key ===

impl Key {
    /// A key from the text of one JWK (RFC 7517 section 4).
    pub(crate) fn from_jwk(text: &str) -> Result<Self, Skipped> {
        jwk::parse(text, |jwk, material| {
            let key = Self::new(material, jwk.algorithms, Some(text));
            Ok(Self {
                kid: jwk.kid,
                issuer: jwk.issuer,
                ..key.ok_or(Skipped::Material)?
            })
        })
    }

    /// A key from a PEM file with one public key: `PUBLIC KEY` (RSA, P-256, P-384, Ed25519) or
    /// `RSA PUBLIC KEY`.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, ConfigError> {
        // The PEM reader accepts a private key and takes its public part, so check the label here.
        let mut labels = pem
            .lines()
            .filter_map(|line| line.trim().strip_prefix("-----BEGIN "));
        match (labels.next(), labels.next()) {
            (Some("PUBLIC KEY-----" | "RSA PUBLIC KEY-----"), None) => {}
            (Some(label), None) if label.contains("PRIVATE") => {
                return Err(refused("this is a private key: give only the public key"));
            }
            (Some(_), Some(_)) => {
                return Err(refused("the PEM has several keys: give one key"));
            }
            _ => {
                return Err(refused(
                    "no PEM block found: give `PUBLIC KEY` or `RSA PUBLIC KEY`",
                ));
            }
        }
        let unreadable =
            || refused("the PEM is unreadable: give an RSA, P-256, P-384 or Ed25519 public key");
        let bytes = pem.as_bytes();
        let key = DecodingKey::from_rsa_pem(bytes)
            .or_else(|_| DecodingKey::from_ec_pem(bytes))
            .or_else(|_| DecodingKey::from_ed_pem(bytes))
            .map_err(|_| unreadable())?;
        let content = key.try_get_as_bytes().map_err(|_| unreadable())?;
        let material = match (key.family(), content.len()) {
            (AlgorithmFamily::Rsa, _) => {
                let (modulus, exponent) = read_rsa_public_key(content).ok_or_else(unreadable)?;
                Material::Rsa { modulus, exponent }
            }
            (AlgorithmFamily::Ec, 65) => Material::P256(content),
            (AlgorithmFamily::Ec, 97) => Material::P384(content),
            (AlgorithmFamily::Ed, _) => {
                Material::Ed25519(content.try_into().map_err(|_| unreadable())?)
            }
            _ => return Err(unreadable()),
        };
        if !material.is_sound() {
            return Err(refused(match material {
                Material::Ed25519(_) => {
                    "the key has small order, so that anyone can sign under it: generate another key"
                }
                _ => {
                    "the RSA key is weak: use 2048 to 8192 bits, an odd exponent of at least 65537 \
                     and a generator without the fault of CVE-2017-15361"
                }
            }));
        }
        Self::new(material, material.algorithms(), Some(pem)).ok_or_else(unreadable)
    }

    /// A shared secret, for the hashes that it is long enough for. No other constructor makes a
    /// symmetric key.
    pub(crate) fn hmac(secret: &[u8]) -> Result<Self, ConfigError> {
        let material = Material::Secret(secret);
        if !material.is_sound() {
            return Err(refused(
                "the secret is too short: use at least 32 bytes from a random generator",
            ));
        }
        Self::new(material, material.algorithms(), None)
            .ok_or_else(|| refused("the crypto backend refuses this secret: use another one"))
    }

    /// `None` if the backend refuses the material.
    fn new(material: Material<'_>, algorithms: Algorithms, source: Option<&str>) -> Option<Self> {
        Some(Self {
            kid: None,
            algorithms,
            issuer: None,
            verifier: Verifier::new(material, algorithms)?,
            source: source.map(Into::into),
            fingerprint: Fingerprint::of(material),
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

    /// Whether the key may sign for this issuer. In a key set that several issuers share, a key may
    /// name its issuer.
    pub(crate) fn serves(&self, issuer: &str) -> bool {
        self.issuer.as_deref().is_none_or(|own| own == issuer)
    }

    /// Whether `signature` is a signature of `signed` by this key, with an algorithm that the key
    /// allows.
    pub(crate) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        self.allows(algorithm) && self.verifier.verify(algorithm, signed, signature)
    }

    pub(super) fn fingerprint(&self) -> Option<&Fingerprint> {
        self.fingerprint.as_ref()
    }

    /// The text that the key was loaded from.
    pub(super) fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The memory that the key takes, as an estimate: a backend parses a key once per algorithm.
    pub(super) fn bytes(&self) -> usize {
        let material = self.fingerprint.as_ref().map_or(0, |own| own.0.len());
        let parsed = self.algorithms.iter().count() * (4 * material + 512);
        parsed + self.source.as_ref().map_or(0, |text| text.len())
    }

    /// Whether both keys were loaded from the same text.
    pub(super) fn is_unchanged(&self, other: &Self) -> bool {
        self.source.is_some() && self.source == other.source
    }

    /// Whether both are the same JWK, member for member, whatever their order and spacing.
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
            // Without the exponent: the owner of the factors can sign with any exponent.
            Material::Rsa { modulus, .. } => modulus.into(),
            // Without the sign: the owner of a private number also has its negative.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::{MESSAGE, Signer};

    #[test]
    fn pem_key_verifies() {
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
    fn refuses_pem_other_than_one_public_key() {
        #[track_caller]
        fn check(pem: &str, expected: &str) {
            let error = Key::from_pem(pem).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let good = Signer::of(Algorithm::ES256).pem();
        check("", "no PEM block");
        check(&good.replace("PUBLIC KEY", "PRIVATE KEY"), "private key");
        check(&good.replace("PUBLIC KEY", "CERTIFICATE"), "no PEM block");
        check(&format!("{good}{good}"), "give one");
        check(
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "unreadable",
        );
    }

    #[test]
    fn secret_must_be_as_long_as_the_hash() {
        assert!(Key::hmac(&[1; 31]).is_err());
        for (bytes, expected) in [(32, 1), (47, 1), (48, 2), (63, 2), (64, 3), (100, 3)] {
            let key = Key::hmac(&vec![1; bytes]).unwrap();
            assert_eq!(key.algorithms().iter().count(), expected, "{bytes}");
            assert!(key.allows(Algorithm::HS256) && !key.allows(Algorithm::RS256));
        }
    }

    #[test]
    fn debug_output_hides_key_material() {
        let key = Key::hmac(b"0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(
            format!("{key:?}"),
            r#"Key { kid: None, algorithms: ["HS256"], .. }"#
        );
    }
}
