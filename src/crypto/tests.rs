use super::testing::{MESSAGE, Signer};
use super::*;
use crate::algorithm::{Algorithm, Algorithms};

fn verify(material: Material<'_>, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
    let verifier = Verifier::new(material, Algorithms::of(&[algorithm])).unwrap();
    verifier.verify(algorithm, signed, signature)
}

#[test]
fn each_algorithm_accepts_only_its_own_signature() {
    for algorithm in Algorithms::ASYMMETRIC.iter() {
        let signer = Signer::of(algorithm);
        let mut signature = signer.sign(algorithm, MESSAGE);
        signer.with_material(|key| {
            assert!(verify(key, algorithm, MESSAGE, &signature), "{algorithm}");
            assert!(!verify(key, algorithm, b"other", &signature), "{algorithm}");
            signature[7] ^= 1;
            assert!(!verify(key, algorithm, MESSAGE, &signature), "{algorithm}");
            for wrong in [&[][..], &[0; 64], &[0; 256]] {
                assert!(!verify(key, algorithm, MESSAGE, wrong), "{algorithm}");
            }
        });
    }
}

#[test]
fn verifier_refuses_algorithms_it_was_not_made_for() {
    let signer = Signer::of(Algorithm::RS256);
    let signature = signer.sign(Algorithm::RS256, MESSAGE);
    signer.with_material(|key| {
        let verifier = Verifier::new(key, Algorithms::of(&[Algorithm::PS256])).unwrap();
        assert!(!verifier.verify(Algorithm::RS256, MESSAGE, &signature));
    });
}

#[test]
fn secret_verifies_with_the_chosen_hash_only() {
    // HMAC-SHA-256 of the message under 32 bytes of 7.
    let tag = [
        0x6f, 0x2c, 0xad, 0xdb, 0x98, 0xb3, 0x7a, 0xfd, 0x37, 0x6a, 0x25, 0xd5, 0xb6, 0xb5, 0xc0,
        0xfd, 0xb4, 0x31, 0x8a, 0xa7, 0x51, 0xd8, 0xa2, 0x33, 0xcf, 0x95, 0xb1, 0xe6, 0xd2, 0x1e,
        0x00, 0xc8,
    ];
    let secret = Material::Secret(&[7; 32]);
    assert!(verify(secret, Algorithm::HS256, MESSAGE, &tag));
    assert!(!verify(secret, Algorithm::HS384, MESSAGE, &tag));
    assert!(!verify(secret, Algorithm::HS256, MESSAGE, &tag[..31]));
}

#[test]
fn refuses_a_point_off_the_curve() {
    let mut point = [0x11; 65];
    point[0] = 4;
    let only = Algorithms::of(&[Algorithm::ES256]);
    assert!(Verifier::new(Material::P256(&point), only).is_none());
}

#[test]
fn no_key_pair_for_a_shared_secret() {
    for algorithm in Algorithms::hmac(64).iter() {
        assert!(KeyPair::generate(algorithm).is_none());
    }
}
