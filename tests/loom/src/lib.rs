//! The key set in force, under every order in which two threads may reach it.

#![cfg(test)]
#![allow(dead_code, unreachable_pub)]

mod atomics;
#[path = "../../../src/jwks/in_force.rs"]
mod in_force;
mod key;
mod set;

use std::sync::Arc;
use std::time::Duration;

use atomics::{AtomicU64, Ordering};
use in_force::{InForce, NO_GENERATION, Snapshot};
use key::Key;
use loom::thread;
use set::KeySet;

const EARLY: Duration = Duration::from_secs(5);
const LATE: Duration = Duration::from_secs(50);

fn snapshot(keys: &[&Arc<Key>], serves_until: u64) -> Snapshot {
    Snapshot {
        keys: KeySet(keys.iter().copied().cloned().collect()),
        generation: 0,
        fetched_at: Duration::ZERO,
        age_then: Duration::ZERO,
        fresh_until: Duration::ZERO,
        serves_until: Duration::from_secs(serves_until),
    }
}

/// A place whose snapshot holds a key until second 10, a note on that key, and the key. Where `is_seen`, it was found before.
fn place(is_seen: bool) -> (Arc<InForce>, Arc<AtomicU64>, Arc<Key>) {
    let key = Arc::new(Key);
    let place = Arc::new(InForce::new(snapshot(&[&key], 10)));
    let seen = Arc::new(AtomicU64::new(NO_GENERATION));
    if is_seen {
        assert!(place.holds(&key, EARLY, &seen));
    }
    (place, seen, key)
}

/// One thread puts `next` in force while another asks for the key. Says nothing of what that one sees; the caller asks again
/// when both are done.
fn race(is_seen: bool, next: fn(&Arc<Key>) -> Snapshot, now: Duration, check: fn(bool, bool)) {
    loom::model(move || {
        let (place, seen, key) = place(is_seen);
        let putting = {
            let (place, key) = (Arc::clone(&place), Arc::clone(&key));
            thread::spawn(move || place.put(next(&key)))
        };
        let meanwhile = place.holds(&key, now, &seen);
        putting.join().unwrap();
        check(meanwhile, place.holds(&key, now, &seen));
    });
}

#[test]
fn a_key_that_was_removed_is_not_held_once_its_removal_is_done() {
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
fn a_set_that_has_ended_is_not_prolonged_by_the_next_one() {
    for is_seen in [false, true] {
        let check = |meanwhile: bool, after: bool| assert!(!meanwhile && !after);
        race(is_seen, |_| snapshot(&[], 100), LATE, check);
    }
}

#[test]
fn a_key_that_stays_is_held_all_the_time() {
    for is_seen in [false, true] {
        let check = |meanwhile: bool, after: bool| assert!(meanwhile && after);
        race(is_seen, |key| snapshot(&[key], 100), EARLY, check);
    }
}

#[test]
fn a_note_is_never_of_a_set_that_did_not_hold_the_key() {
    loom::model(|| {
        let (place, seen, key) = place(false);
        let putting = {
            let place = Arc::clone(&place);
            thread::spawn(move || {
                place.put(snapshot(&[], 100));
            })
        };
        let asking = {
            let (place, seen, key) = (Arc::clone(&place), Arc::clone(&seen), Arc::clone(&key));
            thread::spawn(move || place.holds(&key, EARLY, &seen))
        };
        let also = place.holds(&key, EARLY, &seen);
        let other = asking.join().unwrap();
        putting.join().unwrap();
        assert!(!place.holds(&key, EARLY, &seen));
        assert!(also || other || seen.load(Ordering::Relaxed) == NO_GENERATION);
    });
}
