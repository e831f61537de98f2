//! The signatures of published test vectors: C2SP/wycheproof (JOSE), and the examples of RFC 7515, 7520 and 8037.
//!
//! What is asserted where:
//!
//! | what | where |
//! |---|---|
//! | form, header, algorithm and key of a token, by the public API alone | `tests/security/vectors.rs` |
//! | the same, and then the signature by the key that the token names | here |
//!
//! The payloads of these tokens are no claims, so the public API refuses them before it looks at the signature. Here
//! the verdict on a vector is put together: the public API must let it come as far as the signature, and the signature
//! must hold.

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

/// Where the verdict is not the file's.
const DEVIATIONS: &[(&str, u64, &str)] = &[
    // RFC 7520's figure 20 is signed by PS384, and the vector's JWK says `"alg": "PS256"`. A key with `alg` allows that
    // alone.
    ("signature", 346, "unknown_key"),
    ("signature", 350, "unknown_key"),
    // P-521 and ES512 (the JWK says ES521).
    ("signature", 347, "key: an unsupported `kty` or `crv`"),
    ("signature", 351, "key: an unsupported `kty` or `crv`"),
    // Called invalid for their padding, which the file has lost: to the byte they are case 357, which is called valid.
    ("signature", 367, "accepted"),
    ("signature", 370, "accepted"),
    // Called valid with a `?` inside of a part. It is no base64url (RFC 7515 section 2).
    ("signature", 372, "invalid_request"),
    ("signature", 373, "invalid_request"),
    // Secrets in a set, which are never taken from there.
    ("key", 2, "key: a shared secret"),
    ("crypto", 48, "key: a shared secret"),
];

/// Every verdict on a signed token, and how many got it.
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
fn every_signed_vector_is_judged_as_its_file_says() {
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
fn the_signatures_of_the_rfcs_hold() {
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
fn the_keys_of_es512_are_not_supported() {
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

/// What becomes of a vector, by everything that the library checks of a token but its claims.
fn judge(vector: &Vector) -> Result<(), String> {
    vector.admitted()?;
    let (signed, signature) = vector.token.rsplit_once('.').unwrap();
    let (algorithm, kid) = header(signed);
    let holds = |key: &Key| key.verify(algorithm, signed.as_bytes(), &decode(signature));
    let accepted = match vector.keys()? {
        Keys::Set(keys) => holds(keys.find(kid.as_deref(), algorithm).unwrap()),
        Keys::Secret(secret, _) => holds(&Key::hmac(&secret).unwrap()),
    };
    if accepted {
        Ok(())
    } else {
        Err("bad_signature".to_owned())
    }
}

/// Of a header that the library has accepted.
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
