//! One signing key: its private half, and its public half as a JWK.

use std::fmt;
use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jose_jwk::jose_jwa::Signing;
use jose_jwk::{Class, Ec, EcCurves, Jwk, Key, Okp, OkpCurves, Parameters, Rsa};

use super::error::IssueError;
use crate::algorithm::Algorithm;
use crate::crypto::{KeyPair, Material, sha256};

/// A key that signs with one algorithm.
pub(crate) struct SigningKey {
    algorithm: Algorithm,
    public: Arc<PublicJwk>,
    pair: KeyPair,
}

/// A JWK as it is published, with public members only.
pub(super) struct PublicJwk {
    pub(super) kid: String,
    pub(super) json: String,
}

// === impl SigningKey ===

impl SigningKey {
    pub(crate) fn generate(algorithm: Algorithm) -> Result<Self, IssueError> {
        let alg = signing(algorithm)?;
        let pair = KeyPair::generate(algorithm).ok_or(IssueError::Crypto)?;
        let key = pair.with_public(public_key).flatten();
        let public = PublicJwk::new(key.ok_or(IssueError::Crypto)?, alg)?;
        Ok(Self {
            algorithm,
            public: Arc::new(public),
            pair,
        })
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn kid(&self) -> &str {
        &self.public.kid
    }

    pub(super) fn public(&self) -> &Arc<PublicJwk> {
        &self.public
    }

    /// The compact serialization (RFC 7515 section 7.1) of this header and payload, unchanged.
    pub(crate) fn sign(&self, header: &[u8], payload: &[u8]) -> Result<String, IssueError> {
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.pair.sign(self.algorithm, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.ok_or(IssueError::Crypto)?, &mut token);
        Ok(token)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid())
            .finish_non_exhaustive()
    }
}

// === impl PublicJwk ===

impl PublicJwk {
    fn new(key: Key, alg: Signing) -> Result<Self, IssueError> {
        let kid = thumbprint(&key)?;
        let jwk = Jwk {
            key,
            prm: Parameters {
                kid: Some(kid.clone()),
                cls: Some(Class::Signing),
                alg: Some(alg.into()),
                ..Parameters::default()
            },
        };
        let json = serde_json::to_string(&jwk).map_err(|_| IssueError::Crypto)?;
        Ok(Self { kid, json })
    }
}

impl fmt::Debug for PublicJwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicJwk").field(&self.kid).finish()
    }
}

/// Coordinates keep their leading zeros (RFC 7518 section 6.2.1.2).
fn public_key(material: Material<'_>) -> Option<Key> {
    let ec = |crv, point: &[u8]| {
        let coordinates = point.strip_prefix(&[4])?;
        let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
        Some(Key::Ec(Ec {
            crv,
            x: x.to_vec().into(),
            y: y.to_vec().into(),
            d: None,
        }))
    };
    match material {
        Material::Rsa { modulus, exponent } => Some(Key::Rsa(Rsa {
            n: modulus.to_vec().into(),
            e: exponent.to_vec().into(),
            prv: None,
        })),
        Material::P256(point) => ec(EcCurves::P256, point),
        Material::P384(point) => ec(EcCurves::P384, point),
        Material::Ed25519(x) => Some(Key::Okp(Okp {
            crv: OkpCurves::Ed25519,
            x: x.to_vec().into(),
            d: None,
        })),
        Material::Secret(_) => None,
    }
}

/// The SHA-256 of the required members alone, ordered by name and without white space (RFC 7638).
fn thumbprint(key: &Key) -> Result<String, IssueError> {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let members = match key {
        Key::Rsa(Rsa { n, e, .. }) => {
            format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n))
        }
        Key::Ec(Ec { crv, x, y, .. }) => {
            let crv = match crv {
                EcCurves::P256 => "P-256",
                EcCurves::P384 => "P-384",
                _ => return Err(IssueError::Crypto),
            };
            let (x, y) = (encode(x), encode(y));
            format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#)
        }
        Key::Okp(Okp { x, .. }) => {
            format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x))
        }
        _ => return Err(IssueError::Crypto),
    };
    Ok(encode(sha256(members.as_bytes()).as_ref()))
}

fn signing(algorithm: Algorithm) -> Result<Signing, IssueError> {
    Ok(match algorithm {
        Algorithm::RS256 => Signing::Rs256,
        Algorithm::RS384 => Signing::Rs384,
        Algorithm::RS512 => Signing::Rs512,
        Algorithm::PS256 => Signing::Ps256,
        Algorithm::PS384 => Signing::Ps384,
        Algorithm::PS512 => Signing::Ps512,
        Algorithm::ES256 => Signing::Es256,
        Algorithm::ES384 => Signing::Es384,
        Algorithm::EdDSA => Signing::EdDsa,
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            return Err(IssueError::Symmetric { algorithm });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(jwk: &str, expected: &str) {
        let key: Key = serde_json::from_str(jwk).unwrap();
        assert_eq!(thumbprint(&key).unwrap(), expected);
    }

    #[test]
    fn thumbprint_of_rfc_7638_section_3_1() {
        check(
            concat!(
                r#"{"kty":"RSA","e":"AQAB","n":""#,
                "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB",
                "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8",
                "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_",
                "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
                r#""}"#,
            ),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        );
    }

    #[test]
    fn thumbprint_of_rfc_8037_appendix_a_3() {
        check(
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        );
    }

    #[test]
    fn coordinates_keep_their_leading_zeros() {
        let mut point = [0; 65];
        (point[0], point[64]) = (4, 1);
        let Some(Key::Ec(key)) = public_key(Material::P256(&point)) else {
            panic!("no key");
        };
        assert_eq!((key.x.len(), key.y.len()), (32, 32));
    }

    #[test]
    fn refuses_a_compressed_point() {
        assert!(public_key(Material::P256(&[2; 33])).is_none());
        assert!(public_key(Material::P256(&[])).is_none());
    }
}
