//! Shared by the targets: an issuer with a secret, tokens that it signed, and a clock that does not
//! move.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use portcullis::{Clock, Issuer, JwtAuthLayer, ManualClock, Reason};

pub const ISSUER: &str = "https://id.example.com/";
pub const AUDIENCE: &str = "orders-api";
pub const NOW: u64 = 1_800_000_000;
pub const SECRET: &[u8; 32] = b"fuzzing is no secret to anybody!";
pub const HEADER: &str = r#"{"alg":"HS256"}"#;

/// An issuer whose tokens [`sign`] makes.
pub fn issuer() -> Issuer {
    let issuer = Issuer::new(ISSUER).with_secret(SECRET).unwrap();
    issuer.audience(AUDIENCE)
}

/// Every token is verified anew.
pub fn layer(issuers: impl IntoIterator<Item = Issuer>) -> JwtAuthLayer {
    let layer = JwtAuthLayer::new(issuers).unwrap();
    layer
        .token_cache(0)
        .clock(Clock::from(ManualClock::at(NOW)))
}

/// A token with this header and payload, whatever they contain, and a valid HS256 signature.
pub fn sign(header: &[u8], payload: &[u8]) -> String {
    let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(payload));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let tag = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", BASE64.encode(tag))
}

/// A token that is accepted.
pub fn honest(subject: &str) -> String {
    let claims = format!(
        r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"{subject}","exp":{}}}"#,
        NOW + 300
    );
    sign(HEADER.as_bytes(), claims.as_bytes())
}

/// Fails if a rejection is not a client error.
#[track_caller]
pub fn assert_blames_the_client(reason: Reason) {
    let status = reason.status().as_u16();
    assert!((400..500).contains(&status), "{status}: {reason:?}");
}
