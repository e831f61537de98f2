use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{IssueError, KeyRing};
use crate::algorithm::{Algorithm, Algorithms};
use crate::jwks::KeySet;

fn decode(segment: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(segment).unwrap()
}

fn jwks(ring: &KeyRing) -> HashMap<String, Value> {
    let document: Value = serde_json::from_str(&ring.jwks()).unwrap();
    let keys = document["keys"].as_array().unwrap().clone();
    keys.into_iter()
        .map(|jwk| (jwk["kid"].as_str().unwrap().to_owned(), jwk))
        .collect()
}

fn header(token: &str) -> Value {
    serde_json::from_slice(&decode(token.split('.').next().unwrap())).unwrap()
}

/// Verifies with only the token and the published document.
fn verifies(token: &str, jwks: &str) -> bool {
    let set = KeySet::from_json(jwks.as_bytes()).unwrap();
    let header = header(token);
    let algorithm = Algorithm::from_word(header["alg"].as_str().unwrap()).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    set.find(header["kid"].as_str(), algorithm)
        .is_some_and(|key| key.verify(algorithm, message.as_bytes(), &decode(signature)))
}

#[test]
fn published_keys_verify_tokens_of_each_algorithm() {
    for algorithm in Algorithms::ASYMMETRIC.iter() {
        let ring = KeyRing::generate(algorithm).unwrap();
        let token = ring.sign(&json!({ "sub": "alice" })).unwrap();
        assert!(verifies(&token, &ring.jwks()), "{algorithm}");

        let expected =
            json!({ "alg": algorithm.as_str(), "kid": ring.signing_kid(), "typ": "at+jwt" });
        assert_eq!(header(&token), expected);

        let (header, rest) = token.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let payload = URL_SAFE_NO_PAD.encode(r#"{"sub":"mallory"}"#);
        let forged = format!("{header}.{payload}.{signature}");
        assert!(!verifies(&forged, &ring.jwks()), "{algorithm}");
    }
}

#[test]
fn refuses_a_shared_secret_before_publishing() {
    for algorithm in Algorithms::hmac(64).iter() {
        let refused = IssueError::Symmetric { algorithm };
        assert_eq!(KeyRing::generate(algorithm).unwrap_err(), refused);
        let ring = KeyRing::generate(Algorithm::EdDSA).unwrap();
        assert_eq!(ring.stage(algorithm).unwrap_err(), refused);
        assert_eq!(ring.rotate(algorithm).unwrap_err(), refused);
        assert_eq!(ring.kids().len(), 1);
    }
}

#[test]
fn document_has_public_members_only() {
    let common = ["alg", "kid", "kty", "use"];
    for (algorithm, own) in [
        (Algorithm::RS256, &["e", "n"][..]),
        (Algorithm::PS512, &["e", "n"]),
        (Algorithm::ES256, &["crv", "x", "y"]),
        (Algorithm::ES384, &["crv", "x", "y"]),
        (Algorithm::EdDSA, &["crv", "x"]),
    ] {
        let ring = KeyRing::generate(algorithm).unwrap();
        ring.rotate(algorithm).unwrap();
        let text = ring.jwks();
        for private in [
            "d", "p", "q", "dp", "dq", "qi", "oth", "r", "t", "k", "priv",
        ] {
            assert!(
                !text.contains(&format!("{private:?}:")),
                "{private} in {text}"
            );
        }
        let expected: BTreeSet<_> = common.iter().chain(own).copied().collect();
        for (kid, jwk) in jwks(&ring) {
            let names: BTreeSet<_> = jwk
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            assert_eq!(names, expected);
            assert_eq!(jwk["use"], "sig");
            assert_eq!(jwk["alg"], algorithm.as_str());
            assert_eq!(decode(&kid).len(), 32, "a SHA-256 thumbprint");
        }
    }
}

#[test]
fn debug_and_errors_hide_claims_and_keys() {
    let ring = KeyRing::generate(Algorithm::ES256).unwrap();
    let kid = ring.signing_kid();
    let text = format!("{ring:?}");
    assert_eq!(
        text,
        format!(
            "KeyRing {{ signing: SigningKey {{ algorithm: ES256, kid: {kid:?}, .. }}, staged: None, outgoing: [] }}"
        )
    );
    for claims in [json!("s3cret"), json!(["s3cret"]), json!(7), json!(null)] {
        assert_eq!(ring.sign(&claims), Err(IssueError::Claims));
    }
    let keyless = HashMap::from([((1, "s3cret"), 2)]);
    let error = ring.sign(&keyless).unwrap_err();
    assert!(!error.to_string().contains("s3cret"));
}

#[test]
fn token_type_is_in_the_header() {
    let ring = KeyRing::generate(Algorithm::EdDSA).unwrap();
    let token = ring.sign_as("logout+jwt", &json!({})).unwrap();
    assert_eq!(header(&token)["typ"], "logout+jwt");
    assert!(verifies(&token, &ring.jwks()));
}

#[test]
fn staged_key_is_published_before_it_signs() {
    let ring = KeyRing::generate(Algorithm::ES256).unwrap();
    let first = ring.signing_kid();
    let next = ring.stage(Algorithm::EdDSA).unwrap();
    assert_eq!(ring.kids(), [first.clone(), next.clone()]);
    assert!(jwks(&ring).contains_key(&next));
    let token = ring.sign(&json!({})).unwrap();
    assert_eq!(header(&token)["kid"], first.as_str());

    assert_eq!(ring.promote().unwrap(), first);
    let newer = ring.sign(&json!({})).unwrap();
    assert_eq!(header(&newer)["kid"], next.as_str());
    assert!(verifies(&token, &ring.jwks()) && verifies(&newer, &ring.jwks()));

    ring.retire(&first).unwrap();
    assert!(!verifies(&token, &ring.jwks()));
    assert!(verifies(&newer, &ring.jwks()));
    assert_eq!(ring.kids(), [next]);
}

#[test]
fn rotation_steps_out_of_order_are_errors() {
    let ring = KeyRing::generate(Algorithm::EdDSA).unwrap();
    let first = ring.signing_kid();
    assert_eq!(ring.promote(), Err(IssueError::NothingStaged));
    let signing = IssueError::StillSigning { kid: first.clone() };
    assert_eq!(ring.retire(&first), Err(signing));
    let unknown = IssueError::UnknownKey { kid: "x".into() };
    assert_eq!(ring.retire("x"), Err(unknown));

    let kid = ring.stage(Algorithm::EdDSA).unwrap();
    let staged = IssueError::AlreadyStaged { kid: kid.clone() };
    assert_eq!(ring.stage(Algorithm::EdDSA), Err(staged.clone()));
    assert_eq!(ring.rotate(Algorithm::EdDSA), Err(staged));

    ring.retire(&kid).unwrap();
    assert_eq!(ring.promote(), Err(IssueError::NothingStaged));
    assert_eq!(ring.kids(), std::slice::from_ref(&first));
    assert_eq!(ring.rotate(Algorithm::EdDSA).unwrap(), first);
}

#[test]
fn clones_share_their_keys() {
    let ring = KeyRing::generate(Algorithm::EdDSA).unwrap();
    let clone = ring.clone();
    clone.rotate(Algorithm::EdDSA).unwrap();
    assert_eq!(ring.kids(), clone.kids());
    assert_eq!(ring.kids().len(), 2);
}

#[test]
fn key_of_every_token_is_published_during_rotation() {
    let ring = KeyRing::generate(Algorithm::EdDSA).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let token = ring.sign(&json!({ "sub": "alice" })).unwrap();
                    assert!(verifies(&token, &ring.jwks()));
                }
            });
        }
        let rotations = [(); 2].map(|()| {
            scope.spawn(|| {
                for _ in 0..100 {
                    ring.rotate(Algorithm::EdDSA).unwrap();
                }
            })
        });
        for rotation in rotations {
            rotation.join().unwrap();
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(ring.kids().len(), 201, "every rotation counts");
}
