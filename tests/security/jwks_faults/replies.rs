//! Responses, byte by byte.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};

use super::site::{Request, Step};

/// What the issuer may publish.
pub(super) struct Keys {
    pub(super) origin: String,
    /// Another site, which must get no request.
    pub(super) elsewhere: String,
    pub(super) old: Value,
    pub(super) new: Value,
    /// A key whose private half an attacker has.
    pub(super) leaked: Value,
}

pub(super) type Page = fn(&Keys, &Request) -> Vec<Step>;

pub(super) const METADATA: &str = "/.well-known/openid-configuration";

pub(super) fn status(status: &str) -> Vec<Step> {
    raw(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"))
}

pub(super) fn raw(bytes: impl Into<Vec<u8>>) -> Vec<Step> {
    vec![Step::Send(bytes.into())]
}

pub(super) fn redirect(location: &str) -> Vec<Step> {
    raw(format!(
        "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
    ))
}

/// A head without a length. The body ends with the connection.
pub(super) fn head(fields: &str) -> Step {
    Step::Send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").into_bytes())
}

pub(super) fn ok(body: impl AsRef<[u8]>) -> Vec<Step> {
    ok_with("", body)
}

/// Each of the `fields` ends with a line break.
pub(super) fn ok_with(fields: &str, body: impl AsRef<[u8]>) -> Vec<Step> {
    let body = body.as_ref();
    let length = format!("{fields}content-length: {}\r\n", body.len());
    vec![head(&length), Step::Send(body.to_vec())]
}

pub(super) fn set(keys: &[&Value]) -> String {
    json!({ "keys": keys }).to_string()
}

pub(super) fn both(keys: &Keys) -> String {
    set(&[&keys.old, &keys.new])
}

pub(super) fn metadata(issuer: &str, jwks_uri: &str) -> Vec<Step> {
    ok(json!({"issuer": issuer, "jwks_uri": jwks_uri}).to_string())
}

/// A set of good keys between `bad` ones.
pub(super) fn among(bad: &[Value], keys: &Keys) -> String {
    let mut all: Vec<_> = bad.iter().collect();
    all.insert(bad.len() / 2, &keys.old);
    all.push(&keys.new);
    set(&all)
}

/// The same key with another member.
pub(super) fn with(key: &Value, member: &str, value: impl Into<Value>) -> Value {
    let mut key = key.clone();
    key[member] = value.into();
    key
}

/// `count` good keys with different kids.
pub(super) fn many(count: usize, keys: &Keys) -> String {
    let filler = with(&keys.leaked, "kid", "filler").to_string();
    let filler: Vec<_> = (2..count)
        .map(|at| filler.replace("filler", &at.to_string()))
        .collect();
    format!(
        r#"{{"keys":[{},{},{}]}}"#,
        keys.old,
        filler.join(","),
        keys.new
    )
}

/// Keys that must not be used.
pub(super) fn unusable(keys: &Keys) -> Vec<Value> {
    vec![
        Value::Null,
        json!(7),
        json!({}),
        json!({"kty": "RSA", "kid": "weak", "e": "AQAB", "n": BASE64.encode([0xff; 128])}),
        json!({"kty": "EC", "kid": "off", "crv": "P-256", "x": BASE64.encode([1; 32]), "y": BASE64.encode([1; 32])}),
        json!({"kty": "OKP", "kid": "short", "crv": "Ed25519", "x": "AAAA"}),
        with(&keys.leaked, "use", "enc"),
        with(&keys.leaked, "alg", "RS256"),
        with(&keys.leaked, "alg", "none"),
        with(&keys.leaked, "kid", 7),
        with(&keys.leaked, "key_ops", json!(["sign"])),
        secret(),
    ]
}

pub(super) const SECRET: [u8; 32] = [7; 32];

pub(super) fn secret() -> Value {
    json!({"kty": "oct", "kid": "secret", "alg": "HS256", "k": BASE64.encode(SECRET)})
}

/// RFC 1952, around one stored block of RFC 1951.
pub(super) fn gzip(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let mut crc = u32::MAX;
    for byte in text.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        }
    }
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(text.bytes());
    bytes.extend((!crc).to_le_bytes());
    bytes.extend(u32::from(length).to_le_bytes());
    bytes
}
