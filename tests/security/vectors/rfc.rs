//! The examples of RFC 7515, 7517, 7519, 7520 and 8037.
//!
//! `rfc.json` contains their texts without line breaks. The thumbprint of RFC 8037 appendix A.3 is
//! asserted where thumbprints are made.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use portcullis::jwks::Skipped;
use portcullis::{Clock, Issuer, JwksCache, JwksSource, JwtAuthLayer, KeySet, ManualClock, Reason};
use serde_json::{Value, json};

/// The `iss` and the `exp` of the claims in RFC 7515 appendix A.1 to A.3 and in RFC 7519 section
/// 3.1.
const JOE: &str = "joe";
const ENDS_AT: u64 = 1_300_819_380;

fn examples() -> Value {
    serde_json::from_str(include_str!("rfc.json")).unwrap()
}

fn token(name: &str) -> String {
    let token = &examples()["tokens"][name]["token"];
    token.as_str().unwrap().to_owned()
}

/// A verifier with the key of an example, at a time when its claims are valid.
pub(super) fn layer(name: &str) -> JwtAuthLayer {
    layer_at(name, ENDS_AT - 1)
}

fn layer_at(name: &str, now: u64) -> JwtAuthLayer {
    let key = &examples()["tokens"][name]["key"];
    let issuer = match key["k"].as_str() {
        Some(secret) => {
            let secret = BASE64_URL_SAFE_NO_PAD.decode(secret).unwrap();
            Issuer::new(JOE).with_secret(&secret).unwrap()
        }
        None => {
            let keys = KeySet::from_json(json!({ "keys": [key] }).to_string().as_bytes());
            let source = JwksSource::keys(JOE, keys.unwrap());
            Issuer::new(JOE).with_keys(JwksCache::new([source]).unwrap())
        }
    };
    let layer = JwtAuthLayer::new([issuer.audience("joes")]).unwrap();
    layer.clock(Clock::from(ManualClock::at(now)))
}

#[track_caller]
fn refused(layer: &JwtAuthLayer, token: &str, expected: Reason) {
    assert_eq!(layer.verify_now(token).unwrap_err().reason(), expected);
}

/// RFC 7519 section 3.1 is the first of the three.
#[test]
fn rfc_7515_signatures_are_valid_without_audience() {
    for name in ["7515 A.1", "7515 A.2", "7515 A.3"] {
        let token = token(name);
        // Both reasons are about claims, which are read after the signature was verified.
        refused(&layer(name), &token, Reason::InvalidClaim);
        refused(&layer_at(name, ENDS_AT + 60), &token, Reason::Expired);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let changed = signature.replacen('j', "k", 1);
        let forged = format!("{signed}.{changed}");
        refused(&layer(name), &forged, Reason::BadSignature);
    }
}

#[test]
fn refuses_the_key_of_another_example() {
    refused(
        &layer("7515 A.1"),
        &token("7515 A.2"),
        Reason::AlgorithmNotAllowed,
    );
    refused(
        &layer("7515 A.2"),
        &token("7515 A.1"),
        Reason::AlgorithmNotAllowed,
    );
    refused(&layer("7515 A.2"), &token("7515 A.3"), Reason::UnknownKey);
    refused(&layer("7515 A.3"), &token("7515 A.2"), Reason::UnknownKey);
}

#[test]
fn es512_and_unsecured_tokens_are_not_allowed() {
    for name in ["7515 A.4", "7515 A.5", "7520 4.3"] {
        for key in ["7515 A.1", "7515 A.2", "7515 A.3", "8037 A.4"] {
            refused(&layer(key), &token(name), Reason::AlgorithmNotAllowed);
        }
    }
}

#[test]
fn refuses_a_signed_text() {
    for name in ["7520 4.1", "7520 4.2", "7520 4.4", "8037 A.4"] {
        refused(&layer(name), &token(name), Reason::MalformedToken);
    }
}

#[test]
fn loads_public_keys_and_skips_private_ones() {
    #[track_caller]
    fn check(name: &str, usable: usize, skipped: &[Skipped]) {
        let set = &examples()["sets"][name];
        let loaded = super::wycheproof::skipped(set);
        let counted = loaded.as_ref().map_or(0, KeySet::len);
        let seen = loaded
            .as_ref()
            .map_or_else(|skipped| &skipped[..], KeySet::skipped);
        assert_eq!((counted, seen), (usable, skipped), "{name}");
    }
    // The first key of A.1 is for encryption.
    check("7517 A.1", 1, &[Skipped::Use]);
    check("7517 A.2", 0, &[Skipped::Private, Skipped::Private]);
    check("7517 A.3", 0, &[Skipped::Symmetric, Skipped::Symmetric]);
    check("8037 A.1", 0, &[Skipped::Private]);
}
