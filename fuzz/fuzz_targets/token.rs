//! A token as text. Two lines are a header and a payload to be signed, so that the claims are
//! reached.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis::{Issuer, JwksCache, JwksSource, JwtAuthLayer, KeySet};
use portcullis_fuzz::{
    AUDIENCE, ISSUER, NOW, assert_blames_the_client, honest, issuer, layer, sign,
};
use serde_json::Value;

/// The public keys of RFC 7515 A.2, RFC 7515 A.3 and RFC 8037 A.2.
const KEYS: &str = include_str!("../keys.json");
const OTHER: &str = "https://keys.example.com/";
const TENANTS: &str = "https://keys.example.com/{tenant}/v2.0";

static LAYER: LazyLock<JwtAuthLayer> = LazyLock::new(|| {
    let keys = KeySet::from_json(KEYS.as_bytes()).unwrap();
    let sources = [OTHER, TENANTS].map(|issuer| JwksSource::keys(issuer, keys.clone()));
    let keys = JwksCache::new(sources).unwrap();
    let others = [Issuer::new(OTHER), Issuer::tenants(TENANTS).unwrap()];
    let others = others.map(|issuer| issuer.audience(AUDIENCE).with_keys(keys.clone()));
    layer(others.into_iter().chain([issuer()]))
});
static HONEST: LazyLock<String> = LazyLock::new(|| honest("alice"));

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let signed = text.split_once('\n');
    let token = match signed {
        Some((header, payload)) => sign(header.as_bytes(), payload.as_bytes()),
        None => text.to_owned(),
    };
    match (LAYER.verify_now(&token), signed) {
        (Err(rejection), _) => assert_blames_the_client(rejection.reason()),
        // HS256 has one signature per message, and base64url has one encoding.
        (Ok(_), None) => assert_eq!(token, *HONEST),
        (Ok(identity), Some((header, payload))) => {
            let claims: Value = serde_json::from_str(payload).unwrap();
            let header: Value = serde_json::from_str(header).unwrap();
            assert!(may_pass(&header, &claims), "{header} {claims}");
            assert_eq!(identity.subject(), claims["sub"]);
            assert_eq!(*identity.claims::<Value>().unwrap(), claims);
        }
    }
});

/// The checks that any reader of RFC 7519 and RFC 8725 would make, with a minute of leeway.
fn may_pass(header: &Value, claims: &Value) -> bool {
    let names_us = |aud: &Value| aud == AUDIENCE;
    let aud = &claims["aud"];
    let in_time = |name: &str, is_good: fn(f64) -> bool| {
        let time = claims.get(name).map(Value::as_f64);
        time.is_none_or(|time| time.is_some_and(is_good))
    };
    let keys = ["crit", "jwk", "jku", "x5u", "x5c"];
    header["alg"] == "HS256"
        && keys.iter().all(|name| header.get(name).is_none())
        && claims["iss"] == ISSUER
        && (names_us(aud) || aud.as_array().is_some_and(|all| all.iter().any(names_us)))
        && claims["sub"].as_str().is_some_and(|sub| !sub.is_empty())
        && claims.get("exp").is_some()
        && in_time("exp", |exp| exp > NOW as f64 - 60.0)
        && in_time("nbf", |nbf| nbf < NOW as f64 + 61.0)
        && in_time("iat", |iat| iat < NOW as f64 + 61.0)
}
