//! Signatures of published test vectors: C2SP/wycheproof (JOSE), and the examples of RFC 7515, 7520
//! and 8037.
//!
//! `tests/security/vectors.rs` checks the form, header, algorithm and key of these tokens through
//! the public API. It cannot check the signatures: the payloads are not claims, so the public API
//! refuses them first. Here, a vector is accepted if the public API gets as far as the payload, and
//! the signature is valid.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use self::wycheproof::{Keys, Vector};
use super::{Key, Skipped};
use crate as api;
use crate::algorithm::Algorithm;

#[path = "../../tests/security/vectors/wycheproof.rs"]
mod wycheproof;

/// Vectors whose verdict differs from the one in the file.
const DEVIATIONS: &[(&str, u64, &str)] = &[
    // Figure 20 of RFC 7520 is signed with PS384, but the JWK of the vector has `"alg": "PS256"`,
    // so the key allows PS256 only.
    ("signature", 346, "unknown_key"),
    ("signature", 350, "unknown_key"),
    // P-521 and ES512 (the JWK has ES521).
    ("signature", 347, "key: an unsupported `kty` or `crv`"),
    ("signature", 351, "key: an unsupported `kty` or `crv`"),
    // Invalid because of padding, which the file has lost: their bytes equal valid case 357.
    ("signature", 367, "accepted"),
    ("signature", 370, "accepted"),
    // Valid in the file, with a `?` in a part, which is not base64url (RFC 7515 section 2).
    ("signature", 372, "invalid_request"),
    ("signature", 373, "invalid_request"),
    // Secrets in a key set are never used.
    ("key", 2, "key: a shared secret"),
    ("crypto", 48, "key: a shared secret"),
];

/// The verdicts on signed tokens, and their numbers.
const VERDICTS: &[(&str, usize)] = &[
    ("accepted", 49),
    ("algorithm_not_allowed", 10),
    ("bad_signature", 312),
    ("invalid_request", 20),
    ("key: `alg` is no known signature algorithm", 2),
    ("key: `alg`, `kty` and `crv` contradict each other", 2),
    ("key: `key_ops` without `verify`", 2),
    ("key: `use` is not `sig`", 4),
    ("key: a shared secret", 7),
    ("key: a weak key", 4),
    ("key: an unsupported `kty` or `crv`", 2),
    ("key: invalid key material", 1),
    ("malformed_token", 44),
    ("secret: too short", 4),
    ("secret: too short for its algorithm", 2),
    ("unknown_key", 11),
];

#[test]
fn signed_vectors_get_the_verdict_of_their_file() {
    let Some(vectors) = wycheproof::load() else {
        return;
    };
    let mut verdicts = BTreeMap::<String, usize>::new();
    let mut deviations = Vec::new();
    for vector in vectors.iter().filter(|vector| !vector.encrypted) {
        let verdict = judge(vector).err().unwrap_or_else(|| "accepted".to_owned());
        if (verdict == "accepted") != vector.valid {
            deviations.push((vector.file, vector.id, verdict.clone()));
            println!(
                "{} {} {}: {verdict}",
                vector.file, vector.id, vector.comment
            );
        }
        *verdicts.entry(verdict).or_default() += 1;
    }
    println!("{verdicts:#?}");
    let verdicts: Vec<_> = verdicts.iter().map(|(v, count)| (&**v, *count)).collect();
    let deviations: Vec<_> = deviations
        .iter()
        .map(|(f, id, v)| (*f, *id, &**v))
        .collect();
    let mut expected = DEVIATIONS.to_vec();
    expected.sort_by_key(|(file, id, _)| (vectors.iter().position(|v| v.file == *file), *id));
    assert_eq!(deviations, expected);
    assert_eq!(verdicts, VERDICTS);
}

#[test]
fn signatures_of_the_rfcs_are_valid() {
    let examples = rfc();
    for name in [
        "7515 A.1", "7515 A.2", "7515 A.3", "7520 4.1", "7520 4.2", "7520 4.4", "8037 A.4",
    ] {
        let example = &examples["tokens"][name];
        let token = example["token"].as_str().unwrap();
        let key = match example["key"]["k"].as_str() {
            Some(secret) => Key::hmac(&decode(secret)).unwrap(),
            None => Key::from_jwk(&example["key"].to_string()).unwrap(),
        };
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (algorithm, _) = header(signed);
        let mut signature = decode(signature);
        assert!(
            key.verify(algorithm, signed.as_bytes(), &signature),
            "{name}"
        );
        assert!(
            !key.verify(algorithm, &signed.as_bytes()[1..], &signature),
            "{name}"
        );
        signature[9] ^= 1;
        assert!(
            !key.verify(algorithm, signed.as_bytes(), &signature),
            "{name}"
        );
    }
}

#[test]
fn es512_keys_are_unsupported() {
    let examples = rfc();
    for name in ["7515 A.4", "7520 4.3"] {
        let key = examples["tokens"][name]["key"].to_string();
        assert_eq!(
            Key::from_jwk(&key).unwrap_err(),
            Skipped::Unsupported,
            "{name}"
        );
    }
}

/// The verdict on a vector, with every check of the library except that of the claims.
fn judge(vector: &Vector) -> Result<(), String> {
    vector.admitted()?;
    let (signed, signature) = vector.token.rsplit_once('.').unwrap();
    let (algorithm, kid) = header(signed);
    let verifies = |key: &Key| key.verify(algorithm, signed.as_bytes(), &decode(signature));
    let accepted = match vector.keys()? {
        Keys::Set(keys) => verifies(keys.find(kid.as_deref(), algorithm).unwrap()),
        Keys::Secret(secret, _) => verifies(&Key::hmac(&secret).unwrap()),
    };
    if accepted {
        Ok(())
    } else {
        Err("bad_signature".to_owned())
    }
}

/// The algorithm and the kid of a header that the library has accepted.
fn header(signed: &str) -> (Algorithm, Option<String>) {
    let (header, _) = signed.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&decode(header)).unwrap();
    let algorithm = Algorithm::from_word(header["alg"].as_str().unwrap()).unwrap();
    (algorithm, header["kid"].as_str().map(str::to_owned))
}

fn decode(part: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()
}

fn rfc() -> Value {
    serde_json::from_str(include_str!("../../tests/security/vectors/rfc.json")).unwrap()
}
