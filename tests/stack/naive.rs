//! A second verifier, written directly from the RFCs with `serde_json` and a cryptographic library,
//! without code of the crate. It must accept every token that the crate accepts.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::Value;

/// A trusted issuer.
pub(super) struct Trusted {
    pub(super) iss: &'static str,
    /// The published JWKs.
    pub(super) keys: Vec<Value>,
    pub(super) secret: Option<Vec<u8>>,
}

/// Returns the claims if the token is valid at this time, with a minute of leeway.
pub(super) fn verify(
    token: &str,
    issuers: &[Trusted],
    audience: &str,
    now: f64,
) -> Result<Value, &'static str> {
    // RFC 7515 section 5.2
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        return Err("not three parts");
    };
    let decode = |part| BASE64.decode(part).map_err(|_| "no base64url");
    let json = |part| serde_json::from_slice::<Value>(&decode(part)?).map_err(|_| "no JSON");
    let (header, claims) = (json(header)?, json(payload)?);
    let signature = decode(signature)?;
    if !header.is_object() || !claims.is_object() {
        return Err("no object");
    }
    if header.get("crit").is_some() {
        return Err("an extension that is not understood");
    }
    let issuer = issuers.iter().find(|issuer| claims["iss"] == issuer.iss);
    let issuer = issuer.ok_or("another issuer")?;
    let message = &token.as_bytes()[..token.rfind('.').unwrap()];
    let alg = header["alg"].as_str().ok_or("no algorithm")?;
    if !is_signed(issuer, alg, header.get("kid"), message, &signature) {
        return Err("no key of the issuer signed it");
    }
    // RFC 7519 section 4.1
    let names_us = |name: &Value| name == audience;
    let aud = &claims["aud"];
    if !names_us(aud) && !aud.as_array().is_some_and(|all| all.iter().any(names_us)) {
        return Err("for another audience");
    }
    let time = |name: &str| claims.get(name).map(|time| time.as_f64().ok_or("no time"));
    if time("exp").ok_or("no end")?? <= now - 60.0 {
        return Err("expired");
    }
    if time("nbf")
        .transpose()?
        .is_some_and(|nbf| nbf.floor() > now + 60.0)
    {
        return Err("not yet valid");
    }
    if !claims["sub"].is_string() {
        return Err("no subject");
    }
    Ok(claims)
}

/// RFC 7515 section 10.7 and RFC 8725 section 3.1: the key decides on the algorithm.
fn is_signed(
    issuer: &Trusted,
    alg: &str,
    kid: Option<&Value>,
    message: &[u8],
    signature: &[u8],
) -> bool {
    if let Some(secret) = &issuer.secret {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        return alg == "HS256" && hmac::verify(&key, message, signature).is_ok();
    }
    let may = |key: &&Value| {
        kid.is_none_or(|kid| key["kid"] == *kid)
            && key.get("alg").is_none_or(|own| own == alg)
            && key.get("use").is_none_or(|usage| usage == "sig")
    };
    issuer
        .keys
        .iter()
        .filter(may)
        .any(|key| holds(key, alg, message, signature))
}

fn holds(key: &Value, alg: &str, message: &[u8], signature: &[u8]) -> bool {
    let number = |name: &str| BASE64.decode(key[name].as_str().unwrap()).unwrap();
    let verified = match (key["kty"].as_str().unwrap(), alg) {
        ("EC", "ES256") => {
            let point = [vec![4], number("x"), number("y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
        }
        ("OKP", "EdDSA" | "Ed25519") => {
            UnparsedPublicKey::new(&ED25519, number("x")).verify(message, signature)
        }
        ("RSA", "RS256") => RsaPublicKeyComponents {
            n: number("n"),
            e: number("e"),
        }
        .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
        _ => return false,
    };
    verified.is_ok()
}
