//! Revoked tokens that clients still present.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis::revoke::Revocation;
use portcullis::{Issuer, JwtAuthLayer, Revocations};
use serde_json::json;

use super::board::Board;
use super::site::{AUDIENCE, NOW, Site, Stack, auth, policy, present, stack};
use crate::forge::{signature_of, with_signature};

pub(crate) async fn mount(board: &mut Board) {
    tokens(board).await;
    long_lives(board).await;
    subjects(board).await;
    namesakes(board).await;
}

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second)
}

fn guarded(site: &Site) -> (Stack, Revocations) {
    let revocations = Revocations::new().clock(site.clock.clone());
    let auth = auth(policy(&site.issuer), &site.keys, &site.clock);
    (stack(auth.revocations(revocations.clone())), revocations)
}

async fn tokens(board: &mut Board) {
    let site = Site::open().await;
    let (stack, revocations) = guarded(&site);
    let iss = site.issuer.issuer();
    let named = |jti: &str| {
        let token = site.issuer.token("alice").claim("jti", json!(jti));
        token.claim("exp", json!(NOW + 300)).sign()
    };
    let (token, other) = (named("t-1"), named("t-2"));
    let twin = with_signature(&token, negated(&signature_of(&token)));
    for good in [&token, &twin, &other] {
        assert_eq!(present(&stack, good).await, "200", "control");
    }
    let revocation = Revocation::token(iss, "t-1", at(NOW + 300));
    revocations.revoke(revocation).unwrap();
    board.row(
        "revoked-token-that-is-remembered",
        present(&stack, &token).await,
    );
    board.row(
        "revoked-token-in-a-second-spelling",
        present(&stack, &twin).await,
    );
    assert_eq!(present(&stack, &other).await, "200", "control");

    site.clock.advance(Duration::from_secs(359));
    assert_eq!(present(&stack, &other).await, "200", "within the leeway");
    board.row("revoked-token-past-its-end", present(&stack, &token).await);

    let in_session = |sid: &str| site.issuer.token("alice").claim("sid", json!(sid)).sign();
    revocations
        .revoke(Revocation::session(iss, "s-1", at(NOW + 3600)))
        .unwrap();
    assert_eq!(present(&stack, &in_session("s-2")).await, "200", "control");
    let fresh = present(&stack, &in_session("s-1")).await;
    board.row("new-token-of-an-ended-session", fresh);

    let kid = site.issuer.key_ring().signing_kid();
    revocations
        .revoke(Revocation::key(iss, &kid, at(NOW + 86_400)))
        .unwrap();
    assert_eq!(
        present(&stack, &site.forged("", "")).await,
        "200",
        "control"
    );
    let fresh = site.issuer.token("alice").sign();
    board.row("new-token-by-a-stolen-key", present(&stack, &fresh).await);

    // The issuer has one key, so its tokens need no `kid`.
    site.issuer.recover();
    site.keys.warm().await.unwrap();
    let unnamed = || site.issuer.token("alice").without_kid().sign();
    let open = super::site::stack(site.auth.clone());
    assert_eq!(present(&open, &unnamed()).await, "200", "control");
    board.row(
        "stolen-key-that-is-not-named",
        present(&stack, &unnamed()).await,
    );
}

/// `n - s`, which ECDSA accepts in place of `s`: each signature can be computed from the other.
fn negated(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut twin = signature.to_vec();
    let mut borrow = 0;
    for (digit, order) in twin[32..].iter_mut().zip(ORDER).rev() {
        let difference = i16::from(order) - i16::from(*digit) - borrow;
        *digit = difference.rem_euclid(256) as u8;
        borrow = i16::from(difference < 0);
    }
    assert_eq!(borrow, 0);
    twin
}

/// An explicit end counts, although it is later than `max_token_lifetime`.
async fn long_lives(board: &mut Board) {
    const DAY: u64 = 24 * 3600;
    let site = Site::open().await;
    let (stack, revocations) = guarded(&site);
    let week = |jti: &str| {
        let token = site.issuer.token("alice").claim("jti", json!(jti));
        token.claim("exp", json!(NOW + 7 * DAY)).sign()
    };
    let revoked = Revocation::token(site.issuer.issuer(), "t-1", at(NOW + 7 * DAY));
    revocations.revoke(revoked).unwrap();
    site.clock.advance(Duration::from_secs(25 * 3600));
    site.keys.warm().await.unwrap();
    assert_eq!(present(&stack, &week("t-2")).await, "200", "control");
    let presented = present(&stack, &week("t-1")).await;
    board.row("revoked-token-that-lives-for-a-week", presented);
}

async fn subjects(board: &mut Board) {
    let site = Site::open().await;
    let (stack, revocations) = guarded(&site);
    let iss = site.issuer.issuer();
    let issued = |second: u64| {
        let token = site.issuer.token("alice").claim("iat", json!(second));
        token.sign()
    };
    revocations
        .revoke(Revocation::subject(iss, "alice", at(NOW - 100)))
        .unwrap();
    assert_eq!(present(&stack, &issued(NOW - 99)).await, "200", "control");
    board.row(
        "token-of-the-very-second",
        present(&stack, &issued(NOW - 100)).await,
    );
    let silent = site.issuer.token("alice").without("iat").sign();
    board.row(
        "token-that-hides-when-it-was-issued",
        present(&stack, &silent).await,
    );
    revocations
        .revoke(Revocation::issuer(iss, at(NOW - 50)))
        .unwrap();
    revocations
        .revoke(Revocation::subject(iss, "alice", at(NOW - 200)))
        .unwrap();
    let between = present(&stack, &issued(NOW - 60)).await;
    board.row("earlier-mark-that-hides-a-later-one", between);
    assert_eq!(present(&stack, &issued(NOW - 49)).await, "200", "control");
}

async fn namesakes(board: &mut Board) {
    let (first, second) = (Site::open().await, Site::open().await);
    let revocations = Revocations::new().clock(first.clock.clone());
    let issuers = [&first, &second].map(|site| {
        let issuer = Issuer::new(site.issuer.issuer()).audience(AUDIENCE);
        issuer.with_keys(site.keys.clone())
    });
    let auth = JwtAuthLayer::new(issuers)
        .unwrap()
        .clock(first.clock.clone());
    let stack = stack(auth.revocations(revocations.clone()));
    let token = |site: &Site| site.issuer.token("alice").claim("jti", json!("t-1")).sign();
    let revocation = Revocation::token(first.issuer.issuer(), "t-1", at(NOW + 300));
    revocations.revoke(revocation).unwrap();
    let subject = Revocation::subject(first.issuer.issuer(), "alice", at(NOW));
    revocations.revoke(subject).unwrap();
    assert_eq!(
        present(&stack, &token(&first)).await,
        "401 revoked",
        "control"
    );
    let namesake = present(&stack, &token(&second)).await;
    board.row("namesake-of-what-was-revoked", namesake);
}
