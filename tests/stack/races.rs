//! Two threads present a cached token repeatedly while its validity ends. From that moment on, no
//! thread may get it accepted.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use portcullis::revoke::Revocation;
use portcullis::{JwtAuthLayer, Reason, Revocations};
use tokio::runtime::Runtime;

use super::remembered::bench;

const ROUNDS: usize = 30;
const READERS: usize = 2;

/// `end` makes the token invalid.
fn race(auth: &JwtAuthLayer, token: &str, expected: Reason, end: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    let accepted = [const { AtomicUsize::new(0) }; READERS];
    let read = |accepted: &AtomicUsize| {
        let mut refused = 0;
        while refused < 50 {
            // Read before the request is sent: an end during the request may be seen or not.
            let was_over = is_over.load(Ordering::Acquire);
            match auth.verify_now(token) {
                Ok(_) => {
                    assert!(!was_over, "accepted once more, not {expected:?}");
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
                Err(rejection) => {
                    assert_eq!(rejection.reason(), expected);
                    refused += usize::from(was_over);
                }
            }
        }
    };
    thread::scope(|scope| {
        for accepted in &accepted {
            scope.spawn(|| read(accepted));
        }
        while accepted
            .iter()
            .any(|count| count.load(Ordering::Relaxed) < 100)
        {
            thread::yield_now();
        }
        end();
        is_over.store(true, Ordering::Release);
    });
}

#[test]
fn a_purged_key_is_gone_at_once() {
    let runtime = Runtime::new().unwrap();
    let bench = runtime.block_on(bench());
    for _ in 0..ROUNDS {
        runtime.block_on(bench.keys.warm()).unwrap();
        let token = bench.issuer.token("alice").sign();
        let kid = bench.issuer.key_ring().signing_kid();
        race(&bench.auth, &token, Reason::UnknownKey, || {
            assert!(bench.keys.purge(bench.issuer.issuer(), &kid));
        });
        bench.issuer.rotate();
    }
}

#[test]
fn a_removed_key_is_gone_after_the_fetch() {
    let runtime = Runtime::new().unwrap();
    let bench = runtime.block_on(bench());
    for _ in 0..ROUNDS {
        runtime.block_on(bench.keys.warm()).unwrap();
        let token = bench.issuer.token("alice").sign();
        let old = bench.issuer.rotate();
        race(&bench.auth, &token, Reason::UnknownKey, || {
            // Still published, in addition to the new key.
            runtime.block_on(bench.keys.warm()).unwrap();
            assert!(bench.auth.verify_now(&token).is_ok());
            bench.issuer.retire(&old);
            runtime.block_on(bench.keys.warm()).unwrap();
        });
    }
}

#[test]
fn a_token_ends_when_it_expires() {
    let runtime = Runtime::new().unwrap();
    let bench = runtime.block_on(bench());
    runtime.block_on(bench.keys.warm()).unwrap();
    for _ in 0..ROUNDS {
        let token = bench.issuer.token("alice");
        let token = token.expires_in(Duration::from_secs(10)).sign();
        race(&bench.auth, &token, Reason::Expired, || {
            // 60 seconds of leeway.
            bench.clock.advance(Duration::from_secs(70));
        });
    }
}

#[test]
fn a_revoked_token_is_gone_at_once() {
    let runtime = Runtime::new().unwrap();
    let bench = runtime.block_on(bench());
    runtime.block_on(bench.keys.warm()).unwrap();
    let revocations = Revocations::new().clock(bench.clock.clone());
    let auth = bench.auth.revocations(revocations.clone());
    for round in 0..ROUNDS {
        let id = format!("token-{round}");
        let token = bench.issuer.token("alice").claim("jti", id.as_str()).sign();
        let until = UNIX_EPOCH + Duration::from_secs(1_800_000_000 + 300);
        race(&auth, &token, Reason::Revoked, || {
            let revocation = Revocation::token(bench.issuer.issuer(), &id, until);
            revocations.revoke(revocation).unwrap();
        });
    }
}

#[test]
fn expired_keys_verify_nothing() {
    let runtime = Runtime::new().unwrap();
    let bench = runtime.block_on(bench());
    for _ in 0..ROUNDS {
        runtime.block_on(bench.keys.warm()).unwrap();
        let token = bench.issuer.token("alice");
        let token = token.expires_in(Duration::from_secs(86_400)).sign();
        race(&bench.auth, &token, Reason::KeysUnavailable, || {
            bench.clock.advance(Duration::from_secs(3 * 3600));
        });
    }
}
