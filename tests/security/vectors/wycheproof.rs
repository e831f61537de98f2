//! The JOSE vectors of C2SP/wycheproof, as far as the public API can check them.
//!
//! The payloads are not claims, and the key is chosen by the issuer in the claims, so the library
//! refuses the unchanged tokens before it checks the signature. [`Vector::admitted`] replaces the
//! payload by claims, so that the library checks everything up to the signature.
//! `src/jwks/vectors_tests.rs` includes this file and checks the signatures.

use std::env;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Once};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

// The crate: `portcullis` in an integration test, `crate` in a unit test.
use super::api::jwks::{KeySetError, Skipped};
use super::api::{Algorithm, Issuer, JwksCache, JwksSource, JwtAuthLayer, KeySet, Reason};

/// One case of the files.
pub(super) struct Vector {
    pub(super) file: &'static str,
    pub(super) id: u64,
    pub(super) comment: String,
    pub(super) valid: bool,
    pub(super) encrypted: bool,
    pub(super) token: String,
    /// The verifying key, as a JWK Set.
    keys: Arc<Value>,
    /// The signing key, as a JWK Set.
    #[allow(dead_code)] // used in one of the two places
    pub(super) private: Arc<Value>,
}

/// The keys of a case, as the library loads them.
pub(super) enum Keys {
    Set(KeySet),
    /// A single key for HS256, HS384 or HS512, which the library takes as bytes.
    Secret(Vec<u8>, Algorithm),
}

const ISSUER: &str = "https://vectors.example";

/// The files, and their numbers of cases.
const FILES: [(&str, usize); 4] = [
    ("signature", 401),
    ("encryption", 139),
    ("key", 26),
    ("crypto", 83),
];

/// All cases; `None` without `WYCHEPROOF_DIR`.
pub(super) fn load() -> Option<Vec<Vector>> {
    let Some(folder) = env::var_os("WYCHEPROOF_DIR") else {
        static SAID: Once = Once::new();
        // The test harness captures the print macros.
        let line = "SKIPPED wycheproof: set WYCHEPROOF_DIR to the folder of the JOSE vectors (C2SP/wycheproof testvectors_v1)\n";
        SAID.call_once(|| std::io::stderr().write_all(line.as_bytes()).unwrap());
        return None;
    };
    let mut vectors = Vec::new();
    for (file, count) in FILES {
        let path = Path::new(&folder).join(format!("json_web_{file}_test.json"));
        let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let document: Value = serde_json::from_slice(&text).unwrap();
        let before = vectors.len();
        for group in document["testGroups"].as_array().unwrap() {
            let private = Arc::new(set(&group["private"]));
            let keys = match &group["public"] {
                Value::Null => Arc::clone(&private),
                public => Arc::new(set(public)),
            };
            for case in group["tests"].as_array().unwrap() {
                vectors.push(Vector::new(file, case, &keys, &private));
            }
        }
        assert_eq!(vectors.len() - before, count, "the cases of {file}");
    }
    Some(vectors)
}

fn set(keys: &Value) -> Value {
    match keys.get("keys") {
        Some(_) => keys.clone(),
        None => json!({ "keys": [keys] }),
    }
}

/// Why no key of a set can be used.
pub(super) fn skipped(set: &Value) -> Result<KeySet, Vec<Skipped>> {
    KeySet::from_json(set.to_string().as_bytes()).map_err(|error| match error {
        KeySetError::NoUsableKey(skipped) => skipped,
        other => panic!("{other}: {set}"),
    })
}

// === impl Vector ===

impl Vector {
    fn new(file: &'static str, case: &Value, keys: &Arc<Value>, private: &Arc<Value>) -> Self {
        let encrypted = case.get("jwe").is_some();
        let token = match &case[if encrypted { "jwe" } else { "jws" }] {
            Value::String(token) => token.clone(),
            json => json.to_string(), // the JSON serialization
        };
        Self {
            file,
            id: case["tcId"].as_u64().unwrap(),
            comment: case["comment"].as_str().unwrap().to_owned(),
            valid: match case["result"].as_str().unwrap() {
                "valid" => true,
                "invalid" => false,
                other => panic!("result {other}"),
            },
            encrypted,
            token,
            keys: Arc::clone(keys),
            private: Arc::clone(private),
        }
    }

    /// The keys, or why they cannot be used.
    pub(super) fn keys(&self) -> Result<Keys, String> {
        if let Some((secret, algorithm)) = self.secret() {
            return Ok(Keys::Secret(secret, algorithm));
        }
        skipped(&self.keys)
            .map(Keys::Set)
            .map_err(|skipped| format!("key: {}", skipped[0]))
    }

    fn secret(&self) -> Option<(Vec<u8>, Algorithm)> {
        let [key] = self.keys["keys"].as_array()?.as_slice() else {
            return None;
        };
        let algorithm = match key["alg"].as_str()? {
            "HS256" => Algorithm::HS256,
            "HS384" => Algorithm::HS384,
            "HS512" => Algorithm::HS512,
            _ => return None,
        };
        let secret = BASE64_URL_SAFE_NO_PAD.decode(key["k"].as_str()?).unwrap();
        Some((secret, algorithm))
    }

    /// A verifier with these keys.
    pub(super) fn layer(&self) -> Result<JwtAuthLayer, String> {
        let issuer = match self.keys()? {
            Keys::Set(keys) => {
                let cache = JwksCache::new([JwksSource::keys(ISSUER, keys)]).unwrap();
                Issuer::new(ISSUER).with_keys(cache)
            }
            Keys::Secret(secret, algorithm) => Issuer::new(ISSUER)
                .with_secret(&secret)
                .map_err(|_| "secret: too short".to_owned())?
                .algorithms([algorithm]),
        };
        JwtAuthLayer::new([issuer.audience("vectors")])
            .map_err(|_| "secret: too short for its algorithm".to_owned())
    }

    /// Whether keys, form, header and algorithm are accepted, so that only the signature decides.
    /// Otherwise the reason of the refusal.
    pub(super) fn admitted(&self) -> Result<(), String> {
        let layer = self.layer()?;
        let reason = |token: &str| layer.verify_now(token).unwrap_err().reason();
        let parts: Vec<&str> = self.token.split('.').collect();
        let [header, payload, signature] = parts[..] else {
            return Err(reason(&self.token).code().to_owned());
        };
        let claims = json!({"iss": ISSUER, "aud": "vectors", "sub": "a", "exp": 4_102_444_800_u64});
        let claims = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
        // The payload takes the signature's place once, where its encoding is read just as
        // strictly.
        for last in [signature, payload] {
            let reason = reason(&format!("{header}.{claims}.{last}"));
            if reason != Reason::BadSignature {
                return Err(reason.code().to_owned());
            }
        }
        Ok(())
    }
}
