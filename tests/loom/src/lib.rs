//! The current key set under every order of two threads.

#![cfg(test)]
#![allow(dead_code, unreachable_pub)]

mod atomics;
#[path = "../../../src/jwks/current.rs"]
mod current;
#[path = "../../../src/duration.rs"]
mod duration;
mod key;
mod set;

use std::sync::Arc;
use std::time::Duration;

use atomics::{AtomicU64, Ordering};
use current::{CurrentKeys, NO_REVISION, Snapshot};
use key::Key;
use loom::thread;
use set::KeySet;

const EARLY: Duration = Duration::from_secs(5);
const LATE: Duration = Duration::from_secs(50);

fn snapshot(keys: &[&Arc<Key>], valid_until: u64) -> Arc<Snapshot> {
    Arc::new(Snapshot {
        keys: KeySet(keys.iter().copied().cloned().collect()),
        generation: 0,
        fetched_at: Duration::ZERO,
        age_then: Duration::ZERO,
        fresh_until: Duration::ZERO,
        valid_until: Duration::from_secs(valid_until),
    })
}

/// Keys that contain one key until second 10, a `seen` for that key, and the key. If `is_seen`, the
/// key was found before.
fn start(is_seen: bool) -> (Arc<CurrentKeys>, Arc<AtomicU64>, Arc<Key>) {
    let key = Arc::new(Key);
    let keys = Arc::new(CurrentKeys::empty());
    keys.put(snapshot(&[&key], 10));
    let seen = Arc::new(AtomicU64::new(NO_REVISION));
    if is_seen {
        assert!(keys.is_still_valid(&Arc::downgrade(&key), EARLY, &seen));
    }
    (keys, seen, key)
}

/// One thread stores `next` while another checks the key. Calls `check` with the result of that
/// check and of one after both threads are done.
fn race(is_seen: bool, next: fn(&Arc<Key>) -> Arc<Snapshot>, now: Duration, check: fn(bool, bool)) {
    loom::model(move || {
        let (keys, seen, key) = start(is_seen);
        let writer = {
            let (keys, key) = (Arc::clone(&keys), Arc::clone(&key));
            thread::spawn(move || keys.put(next(&key)))
        };
        let meanwhile = keys.is_still_valid(&Arc::downgrade(&key), now, &seen);
        writer.join().unwrap();
        check(
            meanwhile,
            keys.is_still_valid(&Arc::downgrade(&key), now, &seen),
        );
    });
}

#[test]
fn removed_key_is_invalid_after_the_store() {
    for is_seen in [false, true] {
        race(
            is_seen,
            |_| snapshot(&[], 100),
            EARLY,
            |_, after| assert!(!after),
        );
    }
}

#[test]
fn next_set_does_not_prolong_an_expired_one() {
    for is_seen in [false, true] {
        let check = |meanwhile: bool, after: bool| assert!(!meanwhile && !after);
        race(is_seen, |_| snapshot(&[], 100), LATE, check);
    }
}

#[test]
fn kept_key_is_valid_all_the_time() {
    for is_seen in [false, true] {
        let check = |meanwhile: bool, after: bool| assert!(meanwhile && after);
        race(is_seen, |key| snapshot(&[key], 100), EARLY, check);
    }
}

#[test]
fn seen_never_has_a_revision_without_the_key() {
    loom::model(|| {
        let (keys, seen, key) = start(false);
        let writer = {
            let keys = Arc::clone(&keys);
            thread::spawn(move || keys.put(snapshot(&[], 100)))
        };
        let reader = {
            let (keys, seen, key) = (Arc::clone(&keys), Arc::clone(&seen), Arc::clone(&key));
            thread::spawn(move || keys.is_still_valid(&Arc::downgrade(&key), EARLY, &seen))
        };
        let also = keys.is_still_valid(&Arc::downgrade(&key), EARLY, &seen);
        let other = reader.join().unwrap();
        writer.join().unwrap();
        assert!(!keys.is_still_valid(&Arc::downgrade(&key), EARLY, &seen));
        assert!(also || other || seen.load(Ordering::Relaxed) == NO_REVISION);
    });
}
