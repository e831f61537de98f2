//! Keys that sign any content, for tokens that no correct library would create.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding,
    RsaKeyPair, RsaPublicKeyComponents,
};
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

/// A P-256 key.
pub(crate) struct Forge(EcdsaKeyPair);

/// An RSA key of 2048 bits.
pub(crate) struct RsaForge(RsaKeyPair);

/// An Ed25519 key.
pub(crate) struct EdForge(Ed25519KeyPair);

/// Base64url without padding.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64.encode(bytes)
}

pub(crate) fn decode(part: &str) -> Vec<u8> {
    BASE64.decode(part).unwrap()
}

/// What a signature covers.
pub(crate) fn message(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    format!("{}.{}", encode(header), encode(payload))
}

/// The token with another signature.
pub(crate) fn with_signature(token: &str, signature: impl AsRef<[u8]>) -> String {
    let (message, _) = token.rsplit_once('.').unwrap();
    format!("{message}.{}", encode(signature))
}

/// The signature of a token, decoded.
pub(crate) fn signature_of(token: &str) -> Vec<u8> {
    decode(token.rsplit('.').next().unwrap())
}

/// A token with an HS256 code under any secret.
pub(crate) fn hs256(header: &str, payload: &str, secret: &[u8]) -> String {
    let message = message(header, payload);
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        message.as_bytes(),
    );
    format!("{message}.{}", encode(tag))
}

/// DER of less than 128 bytes.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match length {
        0..128 => out.push(length as u8),
        _ => panic!("{length} bytes"),
    }
    out.extend_from_slice(content);
    out
}

fn der_number(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = &bytes[zeros.min(bytes.len() - 1)..];
    let sign = (bytes[0] >= 128).then_some(0);
    der(
        2,
        &sign
            .into_iter()
            .chain(bytes.iter().copied())
            .collect::<Vec<_>>(),
    )
}

/// An ECDSA signature in the format of X.509 (DER).
pub(crate) fn der_signature(fixed: &[u8]) -> Vec<u8> {
    let (r, s) = fixed.split_at(fixed.len() / 2);
    der(0x30, &[der_number(r), der_number(s)].concat())
}

/// A PEM block around any bytes.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

// === impl Forge ===

impl Forge {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let point = self.0.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "kid": kid,
            "x": encode(&point[1..33]), "y": encode(&point[33..65]),
        })
    }

    pub(crate) fn sign(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let message = message(header, payload);
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes());
        format!("{message}.{}", encode(signature.unwrap()))
    }

    /// The public key in PEM (`PUBLIC KEY`).
    pub(crate) fn pem(&self) -> String {
        // SubjectPublicKeyInfo of an uncompressed P-256 point.
        let algorithm = [
            0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
            0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
        ];
        let point = [&[0], self.0.public_key().as_ref()].concat();
        let key = der(0x30, &[&algorithm[..], &der(3, &point)].concat());
        pem("PUBLIC KEY", &key)
    }
}

// === impl RsaForge ===

impl RsaForge {
    pub(crate) fn new() -> Self {
        Self(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let RsaPublicKeyComponents { n, e } = self.0.public_key().into();
        let (n, e): (Vec<u8>, Vec<u8>) = (n, e);
        json!({"kty": "RSA", "kid": kid, "n": encode(n), "e": encode(e)})
    }

    pub(crate) fn sign(
        &self,
        encoding: &'static dyn RsaEncoding,
        header: &str,
        payload: &str,
    ) -> String {
        let message = message(header, payload);
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(
                encoding,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{message}.{}", encode(signature))
    }
}

// === impl EdForge ===

impl EdForge {
    pub(crate) fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(self.point())})
    }

    /// The bytes of the public key.
    pub(crate) fn point(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }

    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        let message = message(header, payload);
        format!("{message}.{}", encode(self.0.sign(message.as_bytes())))
    }

    /// Signs the hash of the message instead of the message.
    pub(crate) fn sign_hash(&self, header: &str, payload: &str) -> String {
        let message = message(header, payload);
        let hash = digest::digest(&digest::SHA512, message.as_bytes());
        format!("{message}.{}", encode(self.0.sign(hash.as_ref())))
    }
}
