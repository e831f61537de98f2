//! One JWK: what it says of itself is read here, its numbers by `jose-jwk`.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::der::strip_zeros;
use super::key::Skipped;
use super::roca;
use super::verifier::Material;
use crate::algorithm::{Algorithm, Algorithms};

/// What a JWK says of itself, checked.
pub(super) struct Jwk {
    pub(super) kid: Option<Box<str>>,
    /// What it may verify: its `alg`, or every algorithm of its kind.
    pub(super) algorithms: Algorithms,
    /// The one issuer that it signs for, where it says so.
    pub(super) issuer: Option<Box<str>>,
}

/// The members that decide. Others are ignored; one of these that has the wrong type, is null or appears twice spoils the key.
#[derive(Deserialize)]
struct Members {
    kty: String,
    #[serde(default, deserialize_with = "stated")]
    crv: Option<String>,
    #[serde(default, deserialize_with = "stated")]
    kid: Option<Box<str>>,
    #[serde(default, deserialize_with = "stated")]
    alg: Option<String>,
    #[serde(default, deserialize_with = "stated", rename = "use")]
    usage: Option<String>,
    #[serde(default, deserialize_with = "stated")]
    key_ops: Option<Vec<String>>,
    /// Not of RFC 7517: Entra ID says by it whose a key is, in sets that issuers share. It may be anything elsewhere.
    #[serde(default)]
    issuer: Value,
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

/// The type of a key, before its numbers are read.
#[derive(Clone, Copy)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// Parses one JWK and hands it on with its numbers, whose lengths are right by then.
pub(super) fn parse<T>(
    text: &str,
    load: impl FnOnce(Jwk, Material<'_>) -> Result<T, Skipped>,
) -> Result<T, Skipped> {
    let members: Members = serde_json::from_str(text).map_err(|_| Skipped::Unparsable)?;
    let kind = members.check()?;
    let algorithms = members.algorithms(kind)?;
    // `https://login.microsoftonline.com/{tenantid}/v2.0` is everybody's.
    let issuer = members.issuer.as_str().filter(|name| !name.contains('{'));
    let jwk = Jwk {
        issuer: issuer.map(Into::into),
        kid: members.kid,
        algorithms,
    };
    match serde_json::from_str(text).map_err(|_| Skipped::Material)? {
        jose_jwk::Key::Rsa(key) => {
            let (modulus, exponent) = (strip_zeros(&key.n), strip_zeros(&key.e));
            if !rsa_is_sound(modulus, exponent) {
                return Err(Skipped::Weak);
            }
            load(jwk, Material::Rsa { modulus, exponent })
        }
        jose_jwk::Key::Ec(key) => match kind {
            Kind::P256 => load(jwk, Material::P256(&point::<32>(&key.x, &key.y)?)),
            Kind::P384 => load(jwk, Material::P384(&point::<48>(&key.x, &key.y)?)),
            Kind::Rsa | Kind::Ed25519 => Err(Skipped::Mismatch),
        },
        jose_jwk::Key::Okp(key) => {
            let key: &[u8; 32] = key.x.as_ref().try_into().map_err(|_| Skipped::Material)?;
            if !ed25519_is_sound(key) {
                return Err(Skipped::Weak);
            }
            load(jwk, Material::Ed25519(key))
        }
        _ => Err(Skipped::Mismatch),
    }
}

/// 2048 to 8192 bits (RFC 7518 section 3.3), an exponent that every backend takes, and not of the one generator whose keys
/// can be factored.
pub(super) fn rsa_is_sound(modulus: &[u8], exponent: &[u8]) -> bool {
    const EXPONENTS: std::ops::Range<u64> = 65_537..1 << 33;
    let bits = modulus.first().map_or(0, |first| {
        (modulus.len() * 8).saturating_sub(first.leading_zeros() as usize)
    });
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    let exponent_value = exponent.iter().fold(0_u64, |value, digit| {
        value.saturating_mul(256).saturating_add(u64::from(*digit))
    });
    (2048..=8192).contains(&bits)
        && EXPONENTS.contains(&exponent_value)
        && is_odd(modulus)
        && is_odd(exponent)
        && !roca::is_marked(modulus)
}

/// Not a point of small order. Under such a key anybody can sign: there are eight possible values to guess from.
///
/// These are all encodings of the y coordinates of those points, canonical or not, without the sign of x.
pub(super) fn ed25519_is_sound(key: &[u8; 32]) -> bool {
    const SMALL: [[u8; 32]; 7] = [
        ends(0x00, 0x00, 0x00),
        ends(0x01, 0x00, 0x00),
        ORDER_8[0],
        ORDER_8[1],
        ends(0xec, 0xff, 0x7f),
        ends(0xed, 0xff, 0x7f),
        ends(0xee, 0xff, 0x7f),
    ];
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    const fn ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
        let mut number = [middle; 32];
        let [start, .., end] = &mut number;
        (*start, *end) = (first, last);
        number
    }
    let mut y = *key;
    let [.., last] = &mut y;
    *last &= 0x7f;
    !SMALL.contains(&y)
}

/// An uncompressed point. RFC 7518 section 6.2.1.2 asks for coordinates of full length, leading zeros included.
fn point<const N: usize>(x: &[u8], y: &[u8]) -> Result<Vec<u8>, Skipped> {
    if x.len() != N || y.len() != N {
        return Err(Skipped::Material);
    }
    Ok([&[4], x, y].concat())
}

fn stated<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

// === impl Members ===

impl Members {
    fn check(&self) -> Result<Kind, Skipped> {
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
            ("RSA", None) => Ok(Kind::Rsa),
            ("EC", Some("P-256")) => Ok(Kind::P256),
            ("EC", Some("P-384")) => Ok(Kind::P384),
            ("OKP", Some("Ed25519")) => Ok(Kind::Ed25519),
            ("RSA", Some(_)) | ("EC", Some("Ed25519")) | ("OKP", Some("P-256" | "P-384")) => {
                Err(Skipped::Mismatch)
            }
            _ => Err(Skipped::Unsupported),
        }
    }

    fn algorithms(&self, kind: Kind) -> Result<Algorithms, Skipped> {
        let of_kind = match kind {
            Kind::Rsa => Algorithms::RSA,
            Kind::P256 => Algorithms::of(&[Algorithm::ES256]),
            Kind::P384 => Algorithms::of(&[Algorithm::ES384]),
            Kind::Ed25519 => Algorithms::of(&[Algorithm::EdDSA]),
        };
        let Some(name) = &self.alg else {
            return Ok(of_kind);
        };
        match Algorithm::from_name(name) {
            None => Err(Skipped::Algorithm),
            Some(algorithm) if of_kind.contains(algorithm) => Ok(Algorithms::of(&[algorithm])),
            Some(_) => Err(Skipped::Mismatch),
        }
    }
}

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests {
    use serde_json::{Value, json};

    use crate::algorithm::{Algorithm, Algorithms};
    use crate::jwks::key::{Key, Skipped};
    use crate::jwks::testing::{MESSAGE, Signer};

    /// Puts `changes` into the JWK of `algorithm`; null removes a member.
    fn load(algorithm: Algorithm, changes: Value) -> Result<Key, Skipped> {
        let mut jwk = Signer::of(algorithm).jwk("k1");
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => jwk.as_object_mut().unwrap().remove(name),
                value => jwk
                    .as_object_mut()
                    .unwrap()
                    .insert(name.clone(), value.clone()),
            };
        }
        Key::from_jwk(&jwk.to_string())
    }

    #[track_caller]
    fn skipped(algorithm: Algorithm, changes: Value, expected: Skipped) {
        assert_eq!(
            load(algorithm, changes.clone()).unwrap_err(),
            expected,
            "{changes}"
        );
    }

    #[test]
    fn a_key_verifies_what_its_owner_signed() {
        for algorithm in Algorithms::ASYMMETRIC.iter() {
            let signer = Signer::of(algorithm);
            let key = load(algorithm, json!({})).unwrap();
            assert_eq!(key.kid(), Some("k1"));
            assert!(
                key.verify(algorithm, MESSAGE, &signer.sign(algorithm, MESSAGE)),
                "{algorithm}"
            );
            assert!(!key.verify(algorithm, b"other", &signer.sign(algorithm, MESSAGE)));
        }
    }

    #[test]
    fn a_key_without_alg_allows_every_algorithm_of_its_type() {
        let allowed = |algorithm| {
            let key = load(algorithm, json!({})).unwrap();
            Algorithm::ALL
                .into_iter()
                .filter(|a| key.allows(*a))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            allowed(Algorithm::RS256),
            Algorithms::RSA.iter().collect::<Vec<_>>()
        );
        for algorithm in [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA] {
            assert_eq!(allowed(algorithm), [algorithm]);
        }
    }

    #[test]
    fn a_key_with_alg_allows_it_alone() {
        let key = load(Algorithm::PS256, json!({"alg": "PS256"})).unwrap();
        let signer = Signer::of(Algorithm::PS256);
        assert!(key.verify(
            Algorithm::PS256,
            MESSAGE,
            &signer.sign(Algorithm::PS256, MESSAGE)
        ));
        assert!(!key.verify(
            Algorithm::RS256,
            MESSAGE,
            &signer.sign(Algorithm::RS256, MESSAGE)
        ));
        for name in ["EdDSA", "Ed25519"] {
            assert!(
                load(Algorithm::EdDSA, json!({"alg": name}))
                    .unwrap()
                    .allows(Algorithm::EdDSA)
            );
        }
    }

    #[test]
    fn a_key_that_says_whose_it_is_serves_no_other_issuer() {
        #[track_caller]
        fn check(named: Value, own: bool, other: bool) {
            let key = load(Algorithm::ES256, json!({ "issuer": named })).unwrap();
            let served = ["https://id.example.com/a", "https://id.example.com/b"];
            assert_eq!(served.map(|issuer| key.serves(issuer)), [own, other]);
        }
        check(json!("https://id.example.com/a"), true, false);
        check(json!("https://id.example.com/a/"), false, false);
        check(json!(""), false, false);
        check(json!("https://id.example.com/{tenantid}"), true, true);
        check(json!(null), true, true);
        check(json!(7), true, true);
    }

    #[test]
    fn members_that_do_not_matter_are_ignored() {
        for changes in [
            json!({"x5c": ["MIIB"], "x5t": "a", "exp": 7, "nested": {"d": 1}}),
            json!({"use": "sig", "key_ops": ["verify", "sign"]}),
            json!({"kid": null}),
            json!({"kid": ""}),
        ] {
            assert!(load(Algorithm::ES256, changes).is_ok());
        }
    }

    #[test]
    fn a_member_of_the_wrong_type_spoils_its_key() {
        for member in ["kid", "use", "alg", "key_ops", "kty", "crv"] {
            skipped(Algorithm::ES256, json!({ member: 7 }), Skipped::Unparsable);
            let nulled = Signer::of(Algorithm::ES256).jwk("k1").to_string();
            let nulled = nulled.replacen('{', &format!("{{\"{member}\":null,"), 1);
            assert_eq!(
                Key::from_jwk(&nulled).unwrap_err(),
                Skipped::Unparsable,
                "{member}"
            );
        }
        skipped(
            Algorithm::ES256,
            json!({"key_ops": "verify"}),
            Skipped::Unparsable,
        );
        skipped(Algorithm::ES256, json!({"x": 7}), Skipped::Material);
        for text in ["", "7", "null", "[]", "{}", "\"x\""] {
            assert_eq!(
                Key::from_jwk(text).unwrap_err(),
                Skipped::Unparsable,
                "{text}"
            );
        }
    }

    #[test]
    fn a_member_that_appears_twice_spoils_its_key() {
        for member in [r#""kid":"k1","kid":"k2""#, r#""kty":"oct","kty":"EC""#] {
            let text = format!(r#"{{{member},"kty":"EC"}}"#);
            assert_eq!(Key::from_jwk(&text).unwrap_err(), Skipped::Unparsable);
        }
    }

    #[test]
    fn a_secret_or_private_key_is_skipped() {
        let oct =
            r#"{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","alg":"HS256"}"#;
        assert_eq!(Key::from_jwk(oct).unwrap_err(), Skipped::Symmetric);
        for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            skipped(
                Algorithm::RS256,
                json!({ member: "AQAB" }),
                Skipped::Private,
            );
        }
        skipped(
            Algorithm::RS256,
            json!({"d": "AQAB", "p": "AQAB"}),
            Skipped::Private,
        );
    }

    #[test]
    fn a_key_for_something_else_is_skipped() {
        skipped(Algorithm::RS256, json!({"use": "enc"}), Skipped::Use);
        skipped(
            Algorithm::RS256,
            json!({"key_ops": []}),
            Skipped::Operations,
        );
        skipped(
            Algorithm::RS256,
            json!({"key_ops": ["sign", "encrypt"]}),
            Skipped::Operations,
        );
        for alg in ["RSA-OAEP", "none", "rs256", "ES512", "ES256K"] {
            skipped(Algorithm::RS256, json!({ "alg": alg }), Skipped::Algorithm);
        }
    }

    #[test]
    fn alg_and_kty_and_crv_go_together() {
        for (key, alg) in [
            (Algorithm::RS256, "ES256"),
            (Algorithm::RS256, "HS256"),
            (Algorithm::ES256, "ES384"),
            (Algorithm::ES256, "RS256"),
            (Algorithm::ES384, "ES256"),
            (Algorithm::EdDSA, "ES256"),
        ] {
            skipped(key, json!({ "alg": alg }), Skipped::Mismatch);
        }
        skipped(Algorithm::EdDSA, json!({"kty": "EC"}), Skipped::Mismatch);
        for crv in ["P-521", "secp256k1", "Ed448", "X25519", "p-256"] {
            skipped(
                Algorithm::ES256,
                json!({ "crv": crv }),
                Skipped::Unsupported,
            );
            skipped(
                Algorithm::EdDSA,
                json!({ "crv": crv }),
                Skipped::Unsupported,
            );
        }
        skipped(
            Algorithm::ES256,
            json!({"kty": "AKP"}),
            Skipped::Unsupported,
        );
        skipped(Algorithm::ES256, json!({"crv": "P-384"}), Skipped::Material);
    }

    #[test]
    fn a_weak_rsa_key_is_skipped() {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        let number = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        for bytes in [127, 128, 255, 1025] {
            skipped(
                Algorithm::RS256,
                json!({"n": number(&vec![0xc3; bytes])}),
                Skipped::Weak,
            );
        }
        let mut padded = vec![0; 256];
        padded.extend_from_slice(&[0xc3; 128]);
        skipped(
            Algorithm::RS256,
            json!({"n": number(&padded)}),
            Skipped::Weak,
        );
        let mut short = vec![0x7f; 256];
        skipped(
            Algorithm::RS256,
            json!({"n": number(&short)}),
            Skipped::Weak,
        );
        short[0] = 0xff;
        short[255] = 0;
        skipped(
            Algorithm::RS256,
            json!({"n": number(&short)}),
            Skipped::Weak,
        );
        for exponent in [
            &[][..],
            &[0],
            &[1],
            &[3],
            &[1, 0],
            &[0xff, 0xff],
            &[1, 0, 2],
            &[1; 6],
        ] {
            skipped(
                Algorithm::RS256,
                json!({"e": number(exponent)}),
                Skipped::Weak,
            );
        }
        assert!(load(Algorithm::RS256, json!({"e": number(&[0, 1, 0, 1])})).is_ok());
    }

    #[test]
    fn an_ed25519_key_that_anybody_can_sign_for_is_skipped() {
        use base64::Engine;
        use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
        let number = |hex: &str| -> [u8; 32] {
            let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            std::array::from_fn(|at| digit(2 * at))
        };
        let p = |first: &str| format!("{first}{}7f", "ff".repeat(30));
        for hex in [
            "00".repeat(32),
            format!("01{}", "00".repeat(31)),
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05".to_owned(),
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a".to_owned(),
            p("ec"),
            p("ed"),
            p("ee"),
        ] {
            for sign in [0, 0x80] {
                let mut key = number(&hex);
                key[31] |= sign;
                let x = BASE64_URL_SAFE_NO_PAD.encode(key);
                skipped(Algorithm::EdDSA, json!({ "x": x }), Skipped::Weak);
                // SubjectPublicKeyInfo (RFC 8410 section 4).
                let prefix = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
                let der = BASE64_STANDARD.encode([&prefix[..], &key].concat());
                let pem = format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n");
                let error = Key::from_pem(&pem).unwrap_err().to_string();
                assert!(error.contains("anybody"), "{hex}: {error}");
            }
        }
    }

    #[test]
    fn a_point_that_is_none_is_skipped() {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        for (algorithm, bytes) in [(Algorithm::ES256, 32), (Algorithm::ES384, 48)] {
            for length in [0, bytes - 1, bytes, bytes + 1] {
                let x = BASE64_URL_SAFE_NO_PAD.encode(vec![0x11; length]);
                skipped(algorithm, json!({ "x": x }), Skipped::Material);
            }
            skipped(algorithm, json!({"x": "not base64!"}), Skipped::Material);
            skipped(algorithm, json!({"y": null}), Skipped::Material);
        }
        for length in [0, 31, 33] {
            let x = BASE64_URL_SAFE_NO_PAD.encode(vec![0x11; length]);
            skipped(Algorithm::EdDSA, json!({ "x": x }), Skipped::Material);
        }
    }
}
