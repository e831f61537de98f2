//! Transitions of the state machine: (state, event) -> (action, state).

use super::*;
use crate::jwks::testing::keys;

/// A time `seconds` after the start.
fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What happens to the state, with the time in seconds.
#[derive(Clone, Copy, Debug)]
enum Event {
    Tick(u64),
    Warm,
    Fetched(u64),
    Failed(u64),
    /// A token with this kid.
    Token(&'static str, u64),
    /// The same token after it has waited.
    Waited(&'static str, u64),
    Purge(&'static str),
    Restore(u64),
}
use Event::{Failed, Fetched, Purge, Restore, Tick, Token, Waited, Warm};

/// Applies one event. The issuer publishes key `a`. Jitter is in the middle.
fn apply(state: &mut KeyState, event: &Event) -> String {
    let token = |state: &mut KeyState, kid, mode, now| match state.lookup(
        Some(kid),
        Algorithm::ES256,
        mode,
        at(now),
    ) {
        Lookup::Unavailable { retry_after } => format!("503 {}", retry_after.as_secs()),
        Lookup::Wait(Wait::Start(kind)) => format!("start {kind:?}"),
        Lookup::Wait(wait) => format!("{wait:?}"),
        Lookup::Key(_) => "key".to_owned(),
        Lookup::UnknownKey => "401".to_owned(),
        other => panic!("{other:?}"),
    };
    match *event {
        Tick(now) => fetch(state.tick(at(now))),
        Warm => fetch(state.warm()),
        Fetched(now) => format!("{:?}", state.fetched(&keys(["a"]), at(now), 0.5)),
        Failed(now) => {
            state.failed(&FetchError::Status(503), at(now), 0.5);
            String::new()
        }
        Token(kid, now) => token(state, kid, LookupMode::MayWait, now),
        Waited(kid, now) => token(state, kid, LookupMode::Final, now),
        Purge(kid) => state.purge(kid).to_string(),
        Restore(now) => {
            let restored = state.restore(&keys(["a"]), at(60), at(300), at(now));
            format!("{restored:?}")
        }
    }
}

fn fetch(kind: Option<FetchKind>) -> String {
    kind.map_or_else(|| "-".to_owned(), |kind| format!("start {kind:?}"))
}

/// The state as one word and the time of the next fetch.
fn summary(state: &KeyState, now: u64) -> String {
    let status = state.status("", at(now)).state;
    match state.is_fetching {
        true => format!("{status} fetching"),
        false => format!("{status} due {}", state.due.as_secs()),
    }
}

/// Runs `events` from a cold state and compares the last action and the state after it, at the time
/// `now`.
#[track_caller]
fn check(events: &[Event], action: &str, now: u64, after: &str) {
    let settings = Settings::default();
    let mut state = KeyState::new(settings);
    let mut last = String::new();
    for event in events {
        last = apply(&mut state, event);
    }
    let found = (last.as_str(), summary(&state, now));
    assert_eq!(found, (action, after.to_owned()), "{events:?}");
}

#[test]
fn cold_state() {
    check(&[Tick(0)], "start IfChanged", 0, "cold fetching");
    check(&[Token("a", 0)], "start IfChanged", 0, "cold fetching");
    check(&[Waited("a", 0)], "503 1", 0, "cold due 0");
    check(&[Warm], "start IfChanged", 0, "cold fetching");
    check(&[Purge("a")], "false", 0, "cold due 0");
    check(&[Restore(5)], "Some(1)", 5, "stale due 0");
    check(&[Purge("a"), Restore(5)], "Some(0)", 5, "stale due 0");
}

#[test]
fn cold_and_fetching() {
    let after = |event| [Tick(0), event];
    check(&after(Tick(1)), "-", 1, "cold fetching");
    check(&after(Warm), "-", 1, "cold fetching");
    check(&after(Token("a", 1)), "Join", 1, "cold fetching");
    check(&after(Waited("a", 1)), "503 1", 1, "cold fetching");
    check(&after(Fetched(1)), "Changed", 1, "fresh due 451");
    check(&after(Failed(1)), "", 1, "cold due 2");
}

#[test]
fn fresh() {
    let after = |event| [Tick(0), Fetched(0), event];
    check(&after(Tick(449)), "-", 449, "fresh due 450");
    check(&after(Tick(450)), "start IfChanged", 450, "fresh fetching");
    check(&after(Warm), "start IfChanged", 1, "fresh fetching");
    check(&after(Token("a", 1)), "key", 1, "fresh due 450");
    check(&after(Token("b", 1)), "start Whole", 1, "fresh fetching");
    check(&after(Waited("b", 1)), "401", 1, "fresh due 450");
    check(&after(Purge("a")), "true", 1, "fresh due 450");
    check(&after(Purge("b")), "false", 1, "fresh due 450");
    check(&after(Restore(1)), "None", 1, "fresh due 450");
    check(&[Tick(0), Fetched(0)], "Changed", 600, "stale due 450");
    check(&[Tick(0), Fetched(0)], "Changed", 4200, "expired due 450");
}

#[test]
fn fresh_and_fetching() {
    let after = |event| [Tick(0), Fetched(0), Tick(450), event];
    check(&after(Token("a", 451)), "key", 451, "fresh fetching");
    check(
        &after(Token("b", 451)),
        "JoinThenRefetch",
        451,
        "fresh fetching",
    );
    check(&after(Waited("b", 451)), "401", 451, "fresh fetching");
    check(&after(Fetched(451)), "Same", 451, "fresh due 901");
    check(&after(Failed(451)), "", 451, "fresh due 452");
}

#[test]
fn purged_key_is_unknown_and_not_fetched() {
    let known = [Tick(0), Fetched(0), Purge("a"), Token("a", 1)];
    check(&known, "401", 1, "fresh due 450");
    let again = [
        Tick(0),
        Fetched(0),
        Purge("a"),
        Warm,
        Fetched(2),
        Token("a", 2),
    ];
    check(&again, "401", 2, "fresh due 452");
    let early = [Purge("a"), Tick(0), Fetched(0), Token("a", 1)];
    check(&early, "401", 1, "fresh due 450");
}

#[test]
fn unknown_kid_spends_two_fetches_per_cooldown() {
    let spend = |more: &[(&'static str, u64)]| {
        let mut events = vec![Tick(0), Fetched(0)];
        for &(kid, now) in more {
            events.extend([Token(kid, now), Fetched(now)]);
        }
        events
    };
    let then = |mut events: Vec<Event>, event| {
        events.push(event);
        events
    };
    let one = || spend(&[("b", 1)]);
    check(&then(one(), Token("b", 30)), "401", 30, "fresh due 451");
    check(
        &then(one(), Token("b", 31)),
        "start Whole",
        31,
        "fresh fetching",
    );
    check(
        &then(one(), Token("c", 2)),
        "start Whole",
        2,
        "fresh fetching",
    );
    let two = || spend(&[("b", 1), ("c", 5)]);
    check(&then(two(), Token("d", 30)), "401", 30, "fresh due 455");
    check(
        &then(two(), Token("d", 31)),
        "start Whole",
        31,
        "fresh fetching",
    );
}

#[test]
fn unknown_kid_spends_one_fetch_while_fetches_fail() {
    let failing = |more: Vec<Event>| {
        let mut events = vec![Tick(0), Fetched(0), Tick(450), Failed(450)];
        events.extend(more);
        events
    };
    // Attempts are at least one second apart.
    let early = failing(vec![Token("b", 450)]);
    check(&early, "503 1", 450, "fresh due 451");
    // The backoff runs.
    let twice = || vec![Tick(451), Failed(451)];
    check(&failing(twice()), "", 451, "fresh due 453");
    let mut spent = twice();
    spent.push(Token("b", 452));
    check(&failing(spent), "start Whole", 452, "fresh fetching");
    let mut refused = twice();
    refused.extend([Token("b", 452), Failed(452), Token("c", 454)]);
    check(&failing(refused), "503 2", 454, "fresh due 456");
    let mut next = twice();
    next.extend([
        Token("b", 452),
        Failed(452),
        Tick(456),
        Failed(456),
        Token("c", 482),
    ]);
    check(&failing(next), "start Whole", 482, "fresh fetching");
    let mut back = twice();
    back.extend([Token("b", 452), Fetched(452), Token("b", 452)]);
    check(&failing(back), "401", 452, "fresh due 902");
}

#[test]
fn backoff_doubles_from_one_to_sixty_seconds() {
    #[track_caller]
    fn waits(cooldown: u64, awaited: bool) -> Vec<u64> {
        let settings = Settings {
            cooldown: at(cooldown),
            ..Settings::default()
        };
        let mut state = KeyState::new(settings);
        let wait = |_| {
            if awaited {
                apply(&mut state, &Waited("a", 1000));
            }
            apply(&mut state, &Failed(1000));
            state.due.as_secs() - 1000
        };
        (0..9).map(wait).collect()
    }
    assert_eq!(waits(30, false), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(waits(30, true), [1, 2, 4, 8, 16, 30, 30, 30, 30]);
    assert_eq!(waits(1, true), [1, 2, 4, 5, 5, 5, 5, 5, 5]);
    assert_eq!(waits(600, true), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    // Jitter does not leave the bounds, and a success ends the backoff.
    for random in [0.0, 1.0] {
        let mut state = KeyState::new(Settings::default());
        for _ in 0..9 {
            state.failed(&FetchError::Status(500), at(0), random);
            assert!((at(1)..=at(60)).contains(&state.due));
        }
        state.fetched(&keys(["a"]), at(0), random);
        state.failed(&FetchError::Status(500), at(0), 0.5);
        assert_eq!(state.due, at(1));
    }
}

#[test]
fn waiting_request_shortens_the_backoff_that_runs() {
    let mut state = KeyState::new(Settings::default());
    for _ in 0..8 {
        apply(&mut state, &Failed(100));
    }
    assert_eq!(state.due, at(160));
    assert_eq!(apply(&mut state, &Token("a", 110)), "503 20");
    assert_eq!(state.due, at(130));
    assert_eq!(apply(&mut state, &Tick(130)), "start IfChanged");
}

#[test]
fn stale_keys_are_used_until_max_stale() {
    let down = [Tick(0), Fetched(0), Tick(450), Failed(450)];
    let then = |now| {
        down.into_iter()
            .chain([Token("a", now)])
            .collect::<Vec<_>>()
    };
    check(&then(4199), "key", 4199, "stale due 451");
    check(&then(4200), "start IfChanged", 4200, "expired fetching");
}

#[test]
fn ttl_is_limited() {
    let settings = Settings::default();
    for (max_age, ttl) in [
        (None, 600),
        (Some(0), 60),
        (Some(61), 61),
        (Some(9999), 3600),
    ] {
        assert_eq!(settings.ttl(max_age.map(at)), at(ttl), "{max_age:?}");
    }
}
