//! The public half of a key, as a JWK, and the thumbprint that names it.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jose_jwk::jose_jwa::Signing;
use jose_jwk::{Class, Ec, EcCurves, Jwk, Key, Okp, OkpCurves, Parameters, Rsa};

use super::error::IssueError;
use crate::algorithm::Algorithm;

/// A JWK as it is published. It is built from public members only: no private one ever reaches this file.
pub(super) struct PublicJwk {
    pub(super) kid: String,
    pub(super) json: String,
}

// === impl PublicJwk ===

impl PublicJwk {
    pub(super) fn new(key: Key, algorithm: Algorithm) -> Result<Self, IssueError> {
        let kid = thumbprint(&key)?;
        let jwk = Jwk {
            key,
            prm: Parameters {
                kid: Some(kid.clone()),
                cls: Some(Class::Signing),
                alg: Some(signing(algorithm)?.into()),
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

/// `n` and `e` are big-endian without leading zeros (RFC 7518 section 6.3.1).
pub(super) fn rsa(n: Vec<u8>, e: Vec<u8>) -> Key {
    Key::Rsa(Rsa {
        n: n.into(),
        e: e.into(),
        prv: None,
    })
}

/// `point` is uncompressed (SEC 1 section 2.3.3). Its halves keep their leading zeros, as RFC 7518 section 6.2.1.2 wants.
pub(super) fn ec(crv: EcCurves, point: &[u8]) -> Option<Key> {
    let coordinates = point.strip_prefix(&[4])?;
    let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
    Some(Key::Ec(Ec {
        crv,
        x: x.to_vec().into(),
        y: y.to_vec().into(),
        d: None,
    }))
}

pub(super) fn ed25519(x: &[u8]) -> Key {
    Key::Okp(Okp {
        crv: OkpCurves::Ed25519,
        x: x.to_vec().into(),
        d: None,
    })
}

/// RFC 7638: the SHA-256 of the required members alone, in the order of their names and without white space.
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
    Ok(encode(digest(&SHA256, members.as_bytes()).as_ref()))
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
    fn the_thumbprint_of_rfc_7638_section_3_1() {
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
    fn the_thumbprint_of_rfc_8037_appendix_a_3() {
        check(
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        );
    }

    #[test]
    fn coordinates_keep_their_leading_zeros() {
        let mut point = [0; 65];
        (point[0], point[64]) = (4, 1);
        let Some(Key::Ec(key)) = ec(EcCurves::P256, &point) else {
            panic!("no key");
        };
        assert_eq!((key.x.len(), key.y.len()), (32, 32));
    }

    #[test]
    fn a_compressed_point_is_no_key() {
        assert!(ec(EcCurves::P256, &[2; 33]).is_none());
        assert!(ec(EcCurves::P256, &[]).is_none());
    }
}
