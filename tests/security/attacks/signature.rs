//! Invalid signatures that other libraries have accepted.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256};
use portcullis::{Algorithm, Issuer, JwtAuthLayer};

use super::board::Board;
use super::site::{AUDIENCE, NOW, Site, Stack, present, stack};
use crate::forge::{
    EdForge, Forge, RsaForge, der_signature, encode, hs256, message, signature_of, with_signature,
};

pub(crate) async fn mount(board: &mut Board) {
    let site = Site::open().await;
    ecdsa(board, &site).await;
    rsa(board).await;
    ed25519(board).await;
    secret(board).await;
}

async fn ecdsa(board: &mut Board, site: &Site) {
    let stack = site.stack().await;
    let token = |subject: &str| site.issuer.token(subject);
    let tampered = token("alice").tampered().sign();
    board.row(
        "claims-changed-afterwards",
        present(&stack, &tampered).await,
    );
    let stranger = token("alice").signed_by_stranger().sign();
    board.row("signed-by-a-stranger", present(&stack, &stranger).await);

    let good = token("alice").sign();
    let signature = signature_of(&good);
    let other = signature_of(&token("bob").sign());
    for (id, signature) in [
        ("signature-left-out", vec![]),
        ("signature-of-zeros", vec![0; 64]),
        ("signature-of-another-token", other),
        ("signature-in-der", der_signature(&signature)),
    ] {
        let forged = with_signature(&good, signature);
        board.row(id, present(&stack, &forged).await);
    }
    assert_eq!(present(&stack, &good).await, "200", "it is remembered");
    let other = with_signature(&token("mallory").sign(), signature_of(&good));
    board.row(
        "other-claims-under-a-remembered-signature",
        present(&stack, &other).await,
    );
    board.row(
        "any-bit-of-a-signature-flipped",
        any_bit(&stack, &good).await,
    );
}

/// The answer to 512 signatures that each differ from a valid one in one bit. All answers must be
/// equal.
async fn any_bit(stack: &Stack, good: &str) -> String {
    let signature = signature_of(good);
    let mut answers = Vec::new();
    for bit in 0..signature.len() * 8 {
        let mut flipped = signature.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        answers.push(present(stack, &with_signature(good, flipped)).await);
    }
    answers.dedup();
    answers.join(" or ")
}

async fn rsa(board: &mut Board) {
    let rsa = RsaForge::new();
    let site = Site::publishing(Algorithm::ES256, [rsa.jwk("rsa")], Forge::new()).await;
    let stack = stack(site.auth.clone());
    let (header, claims) = (r#"{"alg":"RS256","kid":"rsa"}"#, site.claims(""));
    let good = rsa.sign(&RSA_PKCS1_SHA256, header, &claims);
    assert_eq!(present(&stack, &good).await, "200", "control");

    let pss = rsa.sign(&RSA_PSS_SHA256, header, &claims);
    board.row("pss-under-the-name-of-pkcs1", present(&stack, &pss).await);
    let sha512 = rsa.sign(&RSA_PKCS1_SHA512, header, &claims);
    board.row("another-hash-than-named", present(&stack, &sha512).await);
    let longer = [&[0], &signature_of(&good)[..]].concat();
    let longer = with_signature(&good, longer);
    board.row(
        "rsa-signature-with-a-zero-in-front",
        present(&stack, &longer).await,
    );
}

async fn ed25519(board: &mut Board) {
    let ed = EdForge::new();
    let site = Site::publishing(Algorithm::ES256, [ed.jwk("ed")], Forge::new()).await;
    let stack = stack(site.auth.clone());
    let (header, claims) = (r#"{"alg":"EdDSA","kid":"ed"}"#, site.claims(""));
    let good = ed.sign(header, &claims);
    assert_eq!(present(&stack, &good).await, "200", "control");
    let twin = with_signature(&good, plus_group_order(&signature_of(&good)));
    board.row(
        "second-spelling-of-an-ed25519-signature",
        present(&stack, &twin).await,
    );
    let hashed = ed.sign_hash(header, &claims);
    board.row(
        "ed25519-signature-of-a-hash",
        present(&stack, &hashed).await,
    );
}

/// The same signature for verifiers that do not reduce its scalar (RFC 8032 section 5.1.7).
fn plus_group_order(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut sum = signature.to_vec();
    let mut carry = 0;
    for (byte, add) in sum[32..].iter_mut().zip(ORDER) {
        let total = u16::from(*byte) + u16::from(add) + carry;
        *byte = total as u8;
        carry = total >> 8;
    }
    assert_eq!(carry, 0);
    sum
}

async fn secret(board: &mut Board) {
    const ISS: &str = "https://id.example.com/";
    let secret = [7; 32];
    let policy = Issuer::new(ISS).with_secret(&secret).unwrap();
    let policy = policy.audience(AUDIENCE);
    let stack = stack(JwtAuthLayer::new([policy]).unwrap());
    let exp = NOW + 4_000_000_000;
    let claims = format!(r#"{{"iss":"{ISS}","aud":"{AUDIENCE}","sub":"alice","exp":{exp}}}"#);
    let header = r#"{"alg":"HS256"}"#;
    let good = hs256(header, &claims, &secret);
    assert_eq!(present(&stack, &good).await, "200", "control");

    let tag = signature_of(&good);
    let half = with_signature(&good, &tag[..16]);
    board.row("half-of-a-code", present(&stack, &half).await);

    let longer = message(r#"{"alg":"HS512"}"#, &claims);
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA512, &secret),
        longer.as_bytes(),
    );
    let longer = format!("{longer}.{}", encode(tag));
    board.row(
        "longer-hash-than-the-secret",
        present(&stack, &longer).await,
    );
}
