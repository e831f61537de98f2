use serde_json::{Value, json};

use crate::algorithm::{Algorithm, Algorithms};
use crate::crypto::testing::{MESSAGE, Signer};
use crate::jwks::jwk::Skipped;
use crate::jwks::key::Key;

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
fn key_verifies_its_own_signatures() {
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
fn key_without_alg_allows_all_of_its_type() {
    let allowed = |algorithm| {
        let key = load(algorithm, json!({})).unwrap();
        Algorithm::ALL
            .iter()
            .copied()
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
fn key_with_alg_allows_that_algorithm_only() {
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
fn key_with_issuer_serves_no_other_issuer() {
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
fn ignores_members_that_do_not_decide() {
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
fn skips_key_with_member_of_wrong_type() {
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
fn skips_key_with_repeated_member() {
    for member in [r#""kid":"k1","kid":"k2""#, r#""kty":"oct","kty":"EC""#] {
        let text = format!(r#"{{{member},"kty":"EC"}}"#);
        assert_eq!(Key::from_jwk(&text).unwrap_err(), Skipped::Unparsable);
    }
}

#[test]
fn skips_secret_and_private_keys() {
    let oct = r#"{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","alg":"HS256"}"#;
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
fn skips_keys_for_other_uses() {
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
fn skips_key_whose_alg_kty_and_crv_differ() {
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
fn skips_weak_rsa_keys() {
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
fn skips_ed25519_keys_of_small_order() {
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
            assert!(error.contains("anyone"), "{hex}: {error}");
        }
    }
}

#[test]
fn skips_invalid_points() {
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
