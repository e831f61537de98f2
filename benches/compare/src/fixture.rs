//! Keys, tokens and requests that all implementations share.

use std::net::SocketAddr;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
};
use axum::extract::ConnectInfo;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://auth.example.com/realms/main";
pub const AUDIENCE: &str = "orders-api";

/// The algorithms that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    RS256,
    ES256,
    EdDSA,
}

/// A key pair per algorithm, generated anew in every run.
pub struct Keys {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

/// Requests that differ only in their token, in turn.
#[derive(Clone)]
pub struct Requests {
    base: Request<()>,
    credentials: Vec<HeaderValue>,
    next: usize,
}

// === impl Algorithm ===

impl Algorithm {
    pub const ALL: [Self; 3] = [Self::RS256, Self::ES256, Self::EdDSA];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }

    const fn kid(self) -> &'static str {
        match self {
            Self::RS256 => "rsa-2026-01",
            Self::ES256 => "ec-2026-01",
            Self::EdDSA => "ed-2026-01",
        }
    }
}

// === impl Keys ===

impl Keys {
    pub fn generate() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
        }
    }

    /// A key set with the key of one algorithm.
    pub fn jwks(&self, algorithm: Algorithm) -> String {
        let (alg, kid) = (algorithm.as_str(), algorithm.kid());
        let key = match algorithm {
            Algorithm::RS256 => {
                let (modulus, exponent) = self.rsa_numbers();
                json!({ "kty": "RSA", "alg": alg, "use": "sig", "kid": kid, "n": modulus, "e": exponent })
            }
            Algorithm::ES256 => {
                let (x, y) = self.ec.public_key().as_ref()[1..].split_at(32);
                let (x, y) = (BASE64URL.encode(x), BASE64URL.encode(y));
                json!({ "kty": "EC", "crv": "P-256", "alg": alg, "use": "sig", "kid": kid, "x": x, "y": y })
            }
            Algorithm::EdDSA => {
                let x = BASE64URL.encode(self.ed.public_key());
                json!({ "kty": "OKP", "crv": "Ed25519", "alg": alg, "use": "sig", "kid": kid, "x": x })
            }
        };
        json!({ "keys": [key] }).to_string()
    }

    /// The parsed key in aws-lc: the fastest verification on this machine.
    pub fn parsed(&self, algorithm: Algorithm) -> ParsedPublicKey {
        let parsed = match algorithm {
            Algorithm::RS256 => {
                ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.rsa.public_key())
            }
            Algorithm::ES256 => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.ec.public_key())
            }
            Algorithm::EdDSA => ParsedPublicKey::new(&ED25519, self.ed.public_key()),
        };
        parsed.unwrap()
    }

    /// Tokens that differ in `sub` and `jti`: 859 bytes each for RS256, 602 for the others.
    pub fn tokens(&self, algorithm: Algorithm, count: usize) -> Vec<String> {
        let middle = count / 2;
        let range = |range: std::ops::Range<usize>| -> Vec<String> {
            range.map(|at| self.token(algorithm, at as u64)).collect()
        };
        thread::scope(|scope| {
            let second = scope.spawn(|| range(middle..count));
            let mut tokens = range(0..middle);
            tokens.extend(second.join().unwrap());
            tokens
        })
    }

    fn token(&self, algorithm: Algorithm, at: u64) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let header = format!(
            r#"{{"alg":"{}","typ":"JWT","kid":"{}"}}"#,
            algorithm.as_str(),
            algorithm.kid()
        );
        let claims = claims(at, now).to_string();
        let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        let signature = self.sign(algorithm, signed.as_bytes());
        format!("{signed}.{}", BASE64URL.encode(signature))
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match algorithm {
            Algorithm::RS256 => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa
                    .sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Algorithm::ES256 => self.ec.sign(&random, message).unwrap().as_ref().to_vec(),
            Algorithm::EdDSA => self.ed.sign(message).as_ref().to_vec(),
        }
    }

    fn rsa_numbers(&self) -> (String, String) {
        let public = self.rsa.public_key();
        let modulus = public.modulus().big_endian_without_leading_zero();
        let exponent = public.exponent().big_endian_without_leading_zero();
        (BASE64URL.encode(modulus), BASE64URL.encode(exponent))
    }
}

/// The usual claims of an access token.
fn claims(at: u64, now: u64) -> Value {
    json!({
        "iss": ISSUER,
        "sub": format!("8f14e45f-ceea-467f-9e1b-{at:012x}"),
        "aud": AUDIENCE,
        "exp": now + 86_400,
        "nbf": now - 60,
        "iat": now - 60,
        "jti": format!("{:016x}", at.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        "typ": "Bearer",
        "azp": "web",
        "scope": "openid orders:read orders:write",
        "roles": ["user", "admin"],
        "permissions": ["order:create", "order:read", "invoice:read"],
    })
}

// === impl Requests ===

impl Requests {
    /// Requests with these tokens in turn. As in a server, the extensions contain the peer's
    /// address.
    pub fn new(tokens: &[String]) -> Self {
        let peer = SocketAddr::from(([203, 0, 113, 9], 4711));
        let base = Request::builder()
            .uri("/orders/42")
            .header("host", "api.example.com")
            .header("user-agent", "bench/1.0")
            .header("accept", "application/json")
            .extension(ConnectInfo(peer))
            .body(())
            .unwrap();
        let credential = |token: &String| HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        Self {
            base,
            credentials: tokens.iter().map(credential).collect(),
            next: 0,
        }
    }

    /// A copy of the requests in separate memory.
    pub fn copied(&self) -> Self {
        let copy = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).unwrap();
        let mut base = Request::builder().uri("/orders/42");
        for (name, value) in self.base.headers() {
            base = base.header(name, copy(value));
        }
        if let Some(peer) = self.base.extensions().get::<ConnectInfo<SocketAddr>>() {
            base = base.extension(*peer);
        }
        Self {
            base: base.body(()).unwrap(),
            credentials: self.credentials.iter().map(copy).collect(),
            next: 0,
        }
    }

    pub fn next<B>(&mut self, body: fn() -> B) -> Request<B> {
        let mut request = self.base.clone();
        let credential = self.credentials[self.next].clone();
        request.headers_mut().insert(AUTHORIZATION, credential);
        self.next += 1;
        if self.next == self.credentials.len() {
            self.next = 0;
        }
        request.map(|()| body())
    }
}
