//! Reads one JWK (RFC 7517 section 4). `jose-jwk` reads its numbers.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::algorithm::{Algorithm, Algorithms};
use crate::crypto::{Material, strip_zeros};
use crate::json::not_null;

/// The checked metadata of a JWK.
pub(super) struct Jwk {
    pub(super) kid: Option<Box<str>>,
    /// Its `alg`, or every algorithm of its kind.
    pub(super) algorithms: Algorithms,
    /// The only issuer that this key may sign for, if the JWK names one.
    pub(super) issuer: Option<Box<str>>,
}

/// Why a key of a set is not used. The other keys of the set are not affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Skipped {
    /// Not a JWK, or a member has the wrong type or appears twice.
    Unparsable,
    /// A shared secret (`oct`). Anyone with access to the key set could sign with it.
    Symmetric,
    /// The JWK has private members. Anyone with access to the key set could sign with it.
    Private,
    /// `use` is not `sig`.
    Use,
    /// `key_ops` does not contain `verify`.
    Operations,
    /// `alg` is unknown, or not a signature algorithm.
    Algorithm,
    /// `alg`, `kty` and `crv` contradict each other.
    Mismatch,
    /// `kty` is unknown, or `crv` is not P-256, P-384 or Ed25519.
    Unsupported,
    /// An RSA key with less than 2048 or more than 8192 bits, with an even exponent or one below
    /// 65537, or from the ROCA generator (CVE-2017-15361). Or an Ed25519 key of small order, under
    /// which anyone can sign.
    Weak,
    /// The key material is invalid: a wrong length, or a point that is not on its curve.
    Material,
    /// Another key of the set has the same `kid`.
    DuplicateKid,
}

/// The members that decide whether a key is used. A key is skipped if one of them has the wrong
/// type, is null or appears twice. Other members are ignored.
#[derive(Deserialize)]
struct Members {
    kty: String,
    #[serde(default, deserialize_with = "not_null")]
    crv: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    kid: Option<Box<str>>,
    #[serde(default, deserialize_with = "not_null")]
    alg: Option<String>,
    #[serde(default, deserialize_with = "not_null", rename = "use")]
    usage: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    key_ops: Option<Vec<String>>,
    /// Not in RFC 7517. Entra ID publishes one key set for many issuers and names the issuer of a
    /// key here. Other issuers may use the name for any type.
    #[serde(default)]
    issuer: Value,
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

/// The kind of a key, known before its numbers are read.
#[derive(Clone, Copy)]
enum KeyType {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// Parses one JWK and calls `load` with it and its numbers, which have the right lengths and are
/// strong enough.
pub(super) fn parse<T>(
    text: &str,
    load: impl FnOnce(Jwk, Material<'_>) -> Result<T, Skipped>,
) -> Result<T, Skipped> {
    let members: Members = serde_json::from_str(text).map_err(|_| Skipped::Unparsable)?;
    let key_type = members.key_type()?;
    let algorithms = members.algorithms(key_type)?;
    // `https://login.microsoftonline.com/{tenantid}/v2.0` means every tenant.
    let issuer = members.issuer.as_str().filter(|name| !name.contains('{'));
    let jwk = Jwk {
        issuer: issuer.map(Into::into),
        kid: members.kid,
        algorithms,
    };
    let load = |material: Material<'_>| match material.is_sound() {
        true => load(jwk, material),
        false => Err(Skipped::Weak),
    };
    match (
        serde_json::from_str(text).map_err(|_| Skipped::Material)?,
        key_type,
    ) {
        (jose_jwk::Key::Rsa(key), KeyType::Rsa) => load(Material::Rsa {
            modulus: strip_zeros(&key.n),
            exponent: strip_zeros(&key.e),
        }),
        (jose_jwk::Key::Ec(key), KeyType::P256) => {
            load(Material::P256(&point::<32>(&key.x, &key.y)?))
        }
        (jose_jwk::Key::Ec(key), KeyType::P384) => {
            load(Material::P384(&point::<48>(&key.x, &key.y)?))
        }
        (jose_jwk::Key::Okp(key), KeyType::Ed25519) => {
            let key = key.x.as_ref().try_into().map_err(|_| Skipped::Material)?;
            load(Material::Ed25519(key))
        }
        _ => Err(Skipped::Mismatch),
    }
}

/// An uncompressed point. Coordinates have full length, leading zeros included (RFC 7518 section
/// 6.2.1.2).
fn point<const N: usize>(x: &[u8], y: &[u8]) -> Result<Vec<u8>, Skipped> {
    if x.len() != N || y.len() != N {
        return Err(Skipped::Material);
    }
    Ok([&[4], x, y].concat())
}

// === impl Members ===

impl Members {
    fn key_type(&self) -> Result<KeyType, Skipped> {
        const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
        if self.kty == "oct" {
            return Err(Skipped::Symmetric);
        }
        if PRIVATE.iter().any(|name| self.others.contains_key(*name)) {
            return Err(Skipped::Private);
        }
        if self.usage.as_ref().is_some_and(|usage| usage != "sig") {
            return Err(Skipped::Use);
        }
        if let Some(operations) = &self.key_ops
            && !operations.iter().any(|operation| operation == "verify")
        {
            return Err(Skipped::Operations);
        }
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", None) => Ok(KeyType::Rsa),
            ("EC", Some("P-256")) => Ok(KeyType::P256),
            ("EC", Some("P-384")) => Ok(KeyType::P384),
            ("OKP", Some("Ed25519")) => Ok(KeyType::Ed25519),
            ("RSA", Some(_)) | ("EC", Some("Ed25519")) | ("OKP", Some("P-256" | "P-384")) => {
                Err(Skipped::Mismatch)
            }
            _ => Err(Skipped::Unsupported),
        }
    }

    fn algorithms(&self, key_type: KeyType) -> Result<Algorithms, Skipped> {
        let possible = match key_type {
            KeyType::Rsa => Algorithms::RSA,
            KeyType::P256 => Algorithms::of(&[Algorithm::ES256]),
            KeyType::P384 => Algorithms::of(&[Algorithm::ES384]),
            KeyType::Ed25519 => Algorithms::of(&[Algorithm::EdDSA]),
        };
        let Some(name) = &self.alg else {
            return Ok(possible);
        };
        match Algorithm::from_word(name) {
            None => Err(Skipped::Algorithm),
            Some(algorithm) if possible.contains(algorithm) => Ok(Algorithms::of(&[algorithm])),
            Some(_) => Err(Skipped::Mismatch),
        }
    }
}

// === impl Skipped ===

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unparsable => "not a JWK",
            Self::Symmetric => "a shared secret",
            Self::Private => "private members",
            Self::Use => "`use` is not `sig`",
            Self::Operations => "`key_ops` without `verify`",
            Self::Algorithm => "`alg` is no known signature algorithm",
            Self::Mismatch => "`alg`, `kty` and `crv` contradict each other",
            Self::Unsupported => "an unsupported `kty` or `crv`",
            Self::Weak => "a weak key",
            Self::Material => "invalid key material",
            Self::DuplicateKid => "its `kid` is not unique",
        })
    }
}

#[cfg(test)]
mod tests;
