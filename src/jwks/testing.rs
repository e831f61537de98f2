//! Keys to sign with, and a fetch service that does as it is told. For tests.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, ParsedPublicKey, RsaKeyPair,
};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::Service;

use super::fetch::BoxFuture;
use super::verifier::Material;
use super::{FetchError, FetchJwks, KeySet, der};
use crate::algorithm::Algorithm;

pub(super) const MESSAGE: &[u8] = b"header.payload";

/// Made once for all tests: an RSA key takes its time.
static SIGNERS: LazyLock<[Signer; 4]> = LazyLock::new(|| {
    let ec = |kind| EcdsaKeyPair::generate(kind).unwrap();
    [
        Signer::Rsa(RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap()),
        Signer::P256(ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)),
        Signer::P384(ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)),
        Signer::Ed25519(Ed25519KeyPair::generate().unwrap()),
    ]
});

pub(super) enum Signer {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Answers what `answer` holds, counts, and waits for `gate` when it is closed.
#[derive(Clone)]
pub(super) struct Issuer(Arc<Inner>);

struct Inner {
    answer: Mutex<Answer>,
    fetches: AtomicU32,
    gate: Mutex<Option<Arc<Notify>>>,
}

#[derive(Clone)]
pub(super) enum Answer {
    Keys(KeySet),
    Status(u16),
    Panic,
}

// === impl Signer ===

impl Signer {
    pub(super) fn of(algorithm: Algorithm) -> &'static Self {
        let [rsa, p256, p384, ed] = &*SIGNERS;
        match algorithm {
            Algorithm::ES256 => p256,
            Algorithm::ES384 => p384,
            Algorithm::EdDSA => ed,
            _ => rsa,
        }
    }

    /// A P-256 key that no other test has.
    pub(super) fn fresh() -> Self {
        let kind = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        Self::P256(EcdsaKeyPair::generate(kind).unwrap())
    }

    pub(super) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let encoding: &dyn signature::RsaEncoding = match algorithm {
                    Algorithm::RS256 => &signature::RSA_PKCS1_SHA256,
                    Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
                    Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
                    Algorithm::PS256 => &signature::RSA_PSS_SHA256,
                    Algorithm::PS384 => &signature::RSA_PSS_SHA384,
                    _ => &signature::RSA_PSS_SHA512,
                };
                key.sign(encoding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Self::P256(key) | Self::P384(key) => {
                key.sign(&random, message).unwrap().as_ref().into()
            }
            Self::Ed25519(key) => key.sign(message).as_ref().into(),
        }
    }

    fn public(&self) -> &[u8] {
        match self {
            Self::Rsa(key) => key.public_key().as_ref(),
            Self::P256(key) | Self::P384(key) => key.public_key().as_ref(),
            Self::Ed25519(key) => key.public_key().as_ref(),
        }
    }

    pub(super) fn with_material(&self, mut check: impl FnMut(Material<'_>)) {
        let public = self.public();
        check(match self {
            Self::Rsa(_) => {
                let (modulus, exponent) = der::read_rsa_public_key(public).unwrap();
                Material::Rsa { modulus, exponent }
            }
            Self::P256(_) => Material::P256(public),
            Self::P384(_) => Material::P384(public),
            Self::Ed25519(_) => Material::Ed25519(public.try_into().unwrap()),
        });
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let public = self.public();
        match self {
            Self::Rsa(_) => {
                let (n, e) = der::read_rsa_public_key(public).unwrap();
                json!({"kty": "RSA", "kid": kid, "n": text(n), "e": text(e)})
            }
            Self::P256(_) | Self::P384(_) => {
                let (x, y) = public[1..].split_at(public.len() / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": crv, "kid": kid, "x": text(x), "y": text(y)})
            }
            Self::Ed25519(_) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": text(public)})
            }
        }
    }

    pub(super) fn pem(&self) -> String {
        let key = match self {
            Self::Rsa(_) => {
                ParsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, self.public())
            }
            Self::P256(_) => {
                ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, self.public())
            }
            Self::P384(_) => {
                ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, self.public())
            }
            Self::Ed25519(_) => ParsedPublicKey::new(&signature::ED25519, self.public()),
        };
        let der = BASE64_STANDARD.encode(key.unwrap().as_der().unwrap().as_ref());
        format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
    }
}

/// A set of P-256 keys with these kids.
pub(super) fn keys<const N: usize>(kids: [&str; N]) -> KeySet {
    KeySet::from_json(json(kids).as_bytes()).unwrap()
}

pub(super) fn json<const N: usize>(kids: [&str; N]) -> String {
    let keys = kids.map(|kid| Signer::of(Algorithm::ES256).jwk(kid));
    json!({ "keys": keys.as_slice() }).to_string()
}

// === impl Issuer ===

impl Issuer {
    pub(super) fn new(answer: Answer) -> Self {
        Self(Arc::new(Inner {
            answer: Mutex::new(answer),
            fetches: AtomicU32::new(0),
            gate: Mutex::new(None),
        }))
    }

    pub(super) fn answers(&self, answer: Answer) {
        *self.0.answer.lock().unwrap() = answer;
    }

    pub(super) fn publishes<const N: usize>(&self, kids: [&str; N]) {
        self.answers(Answer::Keys(keys(kids)));
    }

    pub(super) fn fetches(&self) -> u32 {
        self.0.fetches.load(Ordering::SeqCst)
    }

    /// Fetches wait from now on, each for one `notify_one`.
    pub(super) fn close(&self) -> Arc<Notify> {
        let gate = Arc::new(Notify::new());
        *self.0.gate.lock().unwrap() = Some(gate.clone());
        gate
    }
}

impl Service<FetchJwks> for Issuer {
    type Response = KeySet;
    type Error = FetchError;
    type Future = BoxFuture<Result<KeySet, FetchError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), FetchError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: FetchJwks) -> Self::Future {
        self.0.fetches.fetch_add(1, Ordering::SeqCst);
        let inner = self.0.clone();
        Box::pin(async move {
            let gate = inner.gate.lock().unwrap().clone();
            if let Some(gate) = gate {
                gate.notified().await;
            }
            let answer = inner.answer.lock().unwrap().clone();
            match answer {
                Answer::Keys(keys) => Ok(keys),
                Answer::Status(status) => Err(FetchError::Status(status)),
                Answer::Panic => panic!("on purpose"),
            }
        })
    }
}
