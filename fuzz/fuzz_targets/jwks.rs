//! A JWK Set, and the same bytes as one key among others.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use libfuzzer_sys::fuzz_target;
use portcullis::jwks::KeySetError;
use portcullis::{Issuer, JwksCache, JwksSource, KeySet};
use portcullis_fuzz::{AUDIENCE, ISSUER, NOW, assert_blames_the_client, layer};
use serde_json::Value;
use serde_json::value::RawValue;

/// A key, and a token that it signed.
struct Signer {
    jwk: String,
    token: String,
}

static HONEST: LazyLock<Signer> = LazyLock::new(|| Signer::new("honest"));
static STRANGER: LazyLock<Signer> = LazyLock::new(|| Signer::new("k1"));

fuzz_target!(|data: &[u8]| {
    as_set(data);
    as_one_of_many(data);
});

/// No token of an unknown key is accepted, and a set contains no more keys than it lists.
fn as_set(data: &[u8]) {
    let keys = match KeySet::from_json(data) {
        Ok(keys) => keys,
        Err(KeySetError::NoUsableKey(skipped)) => {
            assert!(skipped.len() <= published(data).expect("a JWK Set").len());
            return;
        }
        Err(_) => return,
    };
    let published = published(data).expect("a JWK Set");
    assert!((1..=256).contains(&keys.len()));
    assert!(keys.len() + keys.skipped().len() <= published.len());
    let is_secret = |jwk: &&Value| {
        jwk["kty"] == "oct"
            || ["d", "k", "p", "oth"]
                .iter()
                .any(|name| jwk.get(name).is_some())
    };
    let secrets = published.iter().filter(is_secret).count();
    assert!(secrets <= keys.skipped().len(), "a key that signs is used");
    assert!(!accepts(keys, &STRANGER.token));
}

/// An invalid key does not affect others.
fn as_one_of_many(data: &[u8]) {
    let Ok(jwk) = serde_json::from_slice::<&RawValue>(data) else {
        return;
    };
    let namesakes = ["honest", "\\u"];
    if namesakes.iter().any(|name| jwk.get().contains(name)) {
        return; // two keys with the same kid are ambiguous
    }
    for set in [
        format!(r#"{{"keys":[{jwk},{}]}}"#, HONEST.jwk),
        format!(r#"{{"keys":[{},{jwk}]}}"#, HONEST.jwk),
    ] {
        let keys = KeySet::from_json(set.as_bytes()).unwrap();
        assert!(accepts(keys, &HONEST.token));
    }
}

/// Every key, or null for invalid JSON. Other members may be invalid.
fn published(data: &[u8]) -> Option<Vec<Value>> {
    let document = String::from_utf8_lossy(data);
    let document: BTreeMap<String, &RawValue> = serde_json::from_str(&document).ok()?;
    let keys: Vec<&RawValue> = serde_json::from_str(document.get("keys")?.get()).ok()?;
    let keys = keys.iter().map(|jwk| serde_json::from_str(jwk.get()));
    Some(keys.map(|jwk| jwk.unwrap_or_default()).collect())
}

fn accepts(keys: KeySet, token: &str) -> bool {
    let keys = JwksCache::new([JwksSource::keys(ISSUER, keys)]).unwrap();
    let layer = layer([Issuer::new(ISSUER).audience(AUDIENCE).with_keys(keys)]);
    let verified = layer.verify_now(token);
    verified
        .map_err(|rejection| assert_blames_the_client(rejection.reason()))
        .is_ok()
}

impl Signer {
    fn new(kid: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (BASE64.encode(x), BASE64.encode(y));
        let header = format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#);
        let claims = format!(
            r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"alice","exp":{}}}"#,
            NOW + 300
        );
        let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        Self {
            jwk: format!(r#"{{"kty":"EC","crv":"P-256","kid":"{kid}","x":"{x}","y":"{y}"}}"#),
            token: format!("{message}.{}", BASE64.encode(signature)),
        }
    }
}
