//! Tokens that other libraries are known to accept: valid signatures over contents that must be
//! refused.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use portcullis::jwks::Skipped;
use portcullis::{
    Algorithm, Clock, Issuer, JwksCache, JwksSource, JwtAuthLayer, KeySet, ManualClock, Reason,
};
use serde_json::{Value, json};

const ISSUER: &str = "https://id.example.com/";
const AUDIENCE: &str = "orders-api";
const NOW: u64 = 1_800_000_000;

static EC: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn ec_jwk() -> Value {
    let (x, y) = EC.public_key().as_ref()[1..].split_at(32);
    json!({"kty": "EC", "crv": "P-256", "kid": "ec", "x": encode(x), "y": encode(y)})
}

fn rsa_jwk() -> Value {
    let RsaPublicKeyComponents::<Vec<u8>> { n, e } = RSA.public_key().into();
    json!({"kty": "RSA", "kid": "rsa", "n": encode(n), "e": encode(e)})
}

fn sign(header: &Value, claims: &str) -> String {
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims));
    let random = SystemRandom::new();
    let signature = if header["alg"] == "ES256" {
        EC.sign(&random, signed.as_bytes())
            .unwrap()
            .as_ref()
            .to_vec()
    } else {
        let mut signature = vec![0; RSA.public_modulus_len()];
        RSA.sign(
            &RSA_PKCS1_SHA256,
            &random,
            signed.as_bytes(),
            &mut signature,
        )
        .unwrap();
        signature
    };
    format!("{signed}.{}", encode(signature))
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 300, "iat": NOW})
}

fn layer(keys: KeySet) -> JwtAuthLayer {
    let cache = JwksCache::new([JwksSource::keys(ISSUER, keys)]).unwrap();
    let issuer = Issuer::new(ISSUER).audience(AUDIENCE).with_keys(cache);
    let layer = JwtAuthLayer::new([issuer]).unwrap();
    layer.clock(Clock::from(ManualClock::at(NOW)))
}

fn keys(jwks: &[Value]) -> KeySet {
    KeySet::from_json(json!({ "keys": jwks }).to_string().as_bytes()).unwrap()
}

/// Both keys verify their own tokens, so every refusal below has another cause.
#[track_caller]
fn verdict(header: &Value, claims: &str) -> Result<(), Reason> {
    let verified = layer(keys(&[ec_jwk(), rsa_jwk()])).verify_now(&sign(header, claims));
    verified.map(drop).map_err(|rejection| rejection.reason())
}

#[track_caller]
fn check_header(members: Value, expected: Result<(), Reason>) {
    let mut header = json!({"alg": "ES256", "kid": "ec"});
    let header_members = header.as_object_mut().unwrap();
    header_members.extend(members.as_object().unwrap().clone());
    assert_eq!(
        verdict(&header, &claims().to_string()),
        expected,
        "{header}"
    );
}

/// One claim is set, or left out if there is no value.
#[track_caller]
fn check_claim(name: &str, value: Option<Value>, expected: Result<(), Reason>) {
    let mut claims = claims();
    match value {
        Some(value) => claims[name] = value,
        None => drop(claims.as_object_mut().unwrap().remove(name)),
    }
    let header = json!({"alg": "ES256", "kid": "ec"});
    assert_eq!(verdict(&header, &claims.to_string()), expected, "{claims}");
}

/// Claims with this `exp` as raw JSON.
#[track_caller]
fn check_exp(exp: &str, expected: Result<(), Reason>) {
    let good = format!("\"exp\":{}", NOW + 300);
    let claims = claims()
        .to_string()
        .replace(&good, &format!("\"exp\":{exp}"));
    assert!(claims.contains(exp));
    let header = json!({"alg": "ES256", "kid": "ec"});
    assert_eq!(verdict(&header, &claims), expected, "{claims}");
}

#[test]
fn both_keys_verify() {
    check_header(json!({}), Ok(()));
    check_header(json!({"alg": "RS256", "kid": "rsa"}), Ok(()));
}

#[test]
fn refuses_unknown_critical_extensions() {
    for members in [
        json!({"crit": ["x"], "x": 1}),
        json!({"crit": ["x"]}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"crit": null}),
    ] {
        check_header(members, Err(Reason::MalformedToken));
    }
}

#[test]
fn refuses_a_key_in_the_token() {
    for members in [
        json!({"jwk": ec_jwk()}),
        json!({"jku": "https://id.example.com/keys"}),
        json!({"x5u": "https://id.example.com/cert"}),
        json!({"x5c": ["MIIB"]}),
    ] {
        check_header(members, Err(Reason::MalformedToken));
    }
}

#[test]
fn audience_is_required_and_typed() {
    check_claim("aud", None, Err(Reason::InvalidClaim));
    for aud in [
        json!(null),
        json!(7),
        json!({AUDIENCE: 1}),
        json!([AUDIENCE, 5]),
        json!([AUDIENCE, null]),
        json!([[AUDIENCE]]),
        json!(true),
    ] {
        check_claim("aud", Some(aud), Err(Reason::InvalidClaim));
    }
    for aud in [json!([]), json!(""), json!("orders"), json!("ORDERS-API")] {
        check_claim("aud", Some(aud), Err(Reason::WrongAudience));
    }
    check_claim("aud", Some(json!(["another", AUDIENCE])), Ok(()));
}

#[test]
fn issuer_must_be_one_string() {
    check_claim("iss", None, Err(Reason::InvalidClaim));
    for iss in [
        json!(["https://evil.example", ISSUER]),
        json!([ISSUER]),
        json!(7),
        json!({"iss": ISSUER}),
        json!(null),
    ] {
        check_claim("iss", Some(iss), Err(Reason::InvalidClaim));
    }
    for iss in ["https://id.example.com", "https://ID.example.com/", ""] {
        check_claim("iss", Some(json!(iss)), Err(Reason::WrongIssuer));
    }
}

#[test]
fn subject_must_be_one_string() {
    check_claim("sub", None, Err(Reason::InvalidClaim));
    for sub in [
        json!(null),
        json!(""),
        json!(7),
        json!(["alice"]),
        json!({}),
    ] {
        check_claim("sub", Some(sub), Err(Reason::InvalidClaim));
    }
}

#[test]
fn refuses_a_token_from_the_future() {
    for claim in ["iat", "nbf"] {
        check_claim(claim, Some(json!(NOW + 61)), Err(Reason::NotYetValid));
        check_claim(claim, Some(json!(NOW + 60)), Ok(()));
        for time in [
            json!(NOW.to_string()),
            json!(-1),
            json!(null),
            json!([NOW]),
            json!(1e300),
        ] {
            check_claim(claim, Some(time), Err(Reason::InvalidClaim));
        }
    }
}

#[test]
fn exp_is_required_and_a_number() {
    check_claim("exp", None, Err(Reason::InvalidClaim));
    for exp in [
        "null",
        "\"1800000300\"",
        "-1",
        "true",
        "[1800000300]",
        "1e300",
        "-0.5",
    ] {
        check_exp(exp, Err(Reason::InvalidClaim));
    }
    // serde_json reads no number beyond a float's range.
    check_exp("1e400", Err(Reason::MalformedToken));
    // Integers that a float cannot represent exactly.
    for exp in ["9007199254740992.0", "18446744073709551616"] {
        check_exp(exp, Err(Reason::InvalidClaim));
    }
    for exp in ["0", "1799999940", "1799999940.9"] {
        check_exp(exp, Err(Reason::Expired));
    }
    // A NumericDate may have a fraction (RFC 7519 section 2), which is cut off.
    for exp in ["1800000300.5", "1.8000003e9"] {
        check_exp(exp, Ok(()));
    }
}

#[test]
fn refuses_exp_beyond_2_to_the_53() {
    for exp in [u64::MAX, 1 << 53] {
        check_exp(&exp.to_string(), Err(Reason::InvalidClaim));
    }
    check_exp(&((1_u64 << 53) - 1).to_string(), Ok(()));
}

/// Changes a key and adds a good one. A token of the changed key is refused.
#[track_caller]
fn check_key(changes: Value, skipped: &[Skipped]) {
    let mut jwk = rsa_jwk();
    let members = jwk.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    let keys = keys(&[jwk, ec_jwk()]);
    assert_eq!(keys.skipped(), skipped, "{changes}");
    let token = sign(
        &json!({"alg": "RS256", "kid": "rsa"}),
        &claims().to_string(),
    );
    let refused = layer(keys).verify_now(&token).unwrap_err();
    assert_eq!(refused.reason(), Reason::UnknownKey, "{changes}");
}

#[test]
fn key_verifies_only_its_stated_use() {
    check_key(json!({"use": "enc"}), &[Skipped::Use]);
    check_key(json!({"key_ops": ["encrypt"]}), &[Skipped::Operations]);
    check_key(json!({"key_ops": []}), &[Skipped::Operations]);
    check_key(json!({"alg": "RSA-OAEP"}), &[Skipped::Algorithm]);
    check_key(json!({"alg": "unknown"}), &[Skipped::Algorithm]);
    check_key(json!({"alg": "HS256"}), &[Skipped::Mismatch]);
    check_key(json!({"alg": "RS512"}), &[]);
    check_key(json!({"alg": "PS256"}), &[]);
    check_key(json!({"d": "AQAB"}), &[Skipped::Private]);
    check_key(json!({"kid": 7}), &[Skipped::Unparsable]);
}

#[test]
fn refuses_a_key_of_another_type() {
    check_header(json!({"kid": "rsa"}), Err(Reason::UnknownKey));
    check_header(json!({"alg": "RS256"}), Err(Reason::UnknownKey));
    check_header(
        json!({"alg": "RS256", "kid": "rsa "}),
        Err(Reason::UnknownKey),
    );
}

#[test]
fn public_key_is_not_a_secret() {
    use aws_lc_rs::hmac;
    let jwk = ec_jwk();
    let point = EC.public_key().as_ref();
    for secret in [point, &point[1..], jwk.to_string().as_bytes(), b""] {
        let header = json!({"alg": "HS256", "kid": "ec"});
        let signed = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims().to_string())
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let token = format!("{signed}.{}", encode(hmac::sign(&key, signed.as_bytes())));
        let refused = layer(keys(std::slice::from_ref(&jwk)))
            .verify_now(&token)
            .unwrap_err();
        assert_eq!(refused.reason(), Reason::AlgorithmNotAllowed);
    }
    // A policy cannot allow it either.
    let cache = JwksCache::new([JwksSource::keys(ISSUER, keys(&[jwk]))]).unwrap();
    let issuer = Issuer::new(ISSUER).audience(AUDIENCE).with_keys(cache);
    assert!(JwtAuthLayer::new([issuer.algorithms([Algorithm::ES256, Algorithm::HS256])]).is_err());
}

#[test]
fn accepts_an_rsa_key_of_8192_bits() {
    let mut modulus = [0xa5; 1024];
    modulus[1023] = 0x0b;
    let jwk = json!({"kty": "RSA", "kid": "large", "n": encode(modulus), "e": "AQAB"});
    assert_eq!(keys(&[jwk]).len(), 1);
}

/// A key set with a key that anyone can sign with and a good key, and a token of the former.
fn weak(name: &str) -> (KeySet, String) {
    let weak: Vec<Value> = serde_json::from_str(include_str!("weak_keys.json")).unwrap();
    let entry = weak.iter().find(|entry| entry["name"] == name).unwrap();
    let token = entry["token"].as_str().unwrap().to_owned();
    (keys(&[entry["jwk"].clone(), ec_jwk()]), token)
}

#[test]
fn skips_keys_that_anyone_can_sign_with() {
    for (name, skipped, refused) in [
        ("RSA of 1024 bits", Skipped::Weak, Reason::UnknownKey),
        ("RSA with exponent 3", Skipped::Weak, Reason::UnknownKey),
        (
            "a secret of 4 bytes",
            Skipped::Symmetric,
            Reason::AlgorithmNotAllowed,
        ),
        (
            "an empty secret",
            Skipped::Symmetric,
            Reason::AlgorithmNotAllowed,
        ),
    ] {
        let (keys, token) = weak(name);
        assert_eq!(keys.skipped(), [skipped], "{name}");
        let verified = layer(keys).verify_now(&token);
        assert_eq!(verified.unwrap_err().reason(), refused, "{name}");
    }
}

/// For such a key one signature, R the point of order 1 and S = 0, is valid for every message, or
/// for every eighth.
#[test]
fn skips_an_ed25519_key_of_small_order() {
    for name in [
        "the Ed25519 point of order 1",
        "the Ed25519 point of order 2",
        "an Ed25519 point of order 4",
        "an Ed25519 point of order 8",
    ] {
        let (keys, token) = weak(name);
        assert_eq!(keys.skipped(), [Skipped::Weak], "{name}");
        assert!(layer(keys).verify_now(&token).is_err(), "{name}");
    }
}

/// Every ECDSA signature has a second form: (r, s) and (r, n - s). RFC 7518 allows both, so the
/// text of a token does not identify it.
#[test]
fn accepts_the_second_form_of_an_ecdsa_signature() {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63,
        0x25, 0x51,
    ];
    let token = sign(&json!({"alg": "ES256", "kid": "ec"}), &claims().to_string());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut twin = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for (at, digit) in ORDER.iter().enumerate().rev() {
        let difference = i16::from(*digit) - i16::from(twin[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        twin[32 + at] = difference.rem_euclid(256) as u8;
    }
    let twin = format!("{signed}.{}", encode(twin));
    assert_ne!(token, twin);
    let layer = layer(keys(&[ec_jwk()]));
    for token in [token, twin] {
        assert_eq!(layer.verify_now(&token).unwrap().subject(), "alice");
    }
}
