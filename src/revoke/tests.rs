//! Which tokens a revocation concerns, and when it ends.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::slice::from_ref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use super::{Facts, Kind, Revocation, Revocations, RevokeError};
use crate::clock::ManualClock;

const ISSUER: &str = "https://id.example.com/";
const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;
const LEEWAY: u64 = 600;

const TOKEN: Facts<'_> = Facts {
    issuer: ISSUER,
    subject: "alice",
    client: Some("web"),
    token_id: Some("t-1"),
    session: Some("s-1"),
    issued_at: Some(NOW - 100),
    kid: Some("k-1"),
};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn revocations() -> (Revocations, ManualClock) {
    let clock = ManualClock::at(NOW);
    (Revocations::new().clock(clock.clone()), clock)
}

#[test]
fn only_matching_revocations_revoke_a_token() {
    #[track_caller]
    fn check(revoked: &[Revocation], token: Facts<'_>, expected: bool) {
        let (revocations, _) = revocations();
        for revocation in revoked {
            revocations.revoke(revocation.clone()).unwrap();
        }
        assert_eq!(revocations.is_revoked(&token), expected);
    }
    let end = at(NOW + 300);
    let iat = at(NOW - 100);
    let nameless = Facts {
        client: None,
        token_id: None,
        session: None,
        kid: None,
        ..TOKEN
    };
    let timeless = Facts {
        issued_at: None,
        ..TOKEN
    };

    check(&[], TOKEN, false);
    check(&[], timeless, false);

    // The token, its session, its key.
    for (own, other) in [
        (
            Revocation::token(ISSUER, "t-1", end),
            Revocation::token(ISSUER, "t-2", end),
        ),
        (
            Revocation::session(ISSUER, "s-1", end),
            Revocation::session(ISSUER, "s-2", end),
        ),
        (
            Revocation::key(ISSUER, "k-1", end),
            Revocation::key(ISSUER, "k-2", end),
        ),
    ] {
        check(from_ref(&own), TOKEN, true);
        check(from_ref(&own), timeless, true);
        check(from_ref(&own), nameless, false);
        check(&[own, other.clone()], TOKEN, true);
        check(&[other], TOKEN, false);
    }

    // Not before: the second itself is revoked with what came earlier.
    let not_before: [fn(SystemTime) -> Revocation; 3] = [
        |time| Revocation::subject(ISSUER, "alice", time),
        |time| Revocation::client(ISSUER, "web", time),
        |time| Revocation::issuer(ISSUER, time),
    ];
    for revoke in not_before {
        check(&[revoke(iat - secs(1))], TOKEN, false);
        check(&[revoke(iat)], TOKEN, true);
        check(&[revoke(iat + Duration::from_millis(999))], TOKEN, true);
        check(&[revoke(iat - Duration::from_millis(1))], TOKEN, false);
        check(&[revoke(at(NOW))], TOKEN, true);
        check(&[revoke(iat - secs(1))], timeless, true);
    }
    check(&[Revocation::subject(ISSUER, "bob", end)], TOKEN, false);
    check(&[Revocation::subject(ISSUER, "bob", end)], timeless, false);
    check(&[Revocation::client(ISSUER, "app", end)], TOKEN, false);
    check(&[Revocation::client(ISSUER, "web", end)], nameless, false);

    // A name counts only for its own kind.
    check(&[Revocation::token(ISSUER, "s-1", end)], TOKEN, false);
    check(&[Revocation::session(ISSUER, "t-1", end)], TOKEN, false);
    check(&[Revocation::subject(ISSUER, "web", end)], TOKEN, false);
    check(&[Revocation::client(ISSUER, "alice", end)], TOKEN, false);
    check(&[Revocation::token(ISSUER, "k-1", end)], TOKEN, false);
}

#[test]
fn the_latest_not_before_counts() {
    let makers: [fn(SystemTime) -> Revocation; 3] = [
        // CVE-2026-8922: a not-before of the client hid that of the realm.
        |time| Revocation::issuer(ISSUER, time),
        // CVE-2026-18218: a not-before of the realm hid that of the client.
        |time| Revocation::client(ISSUER, "web", time),
        |time| Revocation::subject(ISSUER, "alice", time),
    ];
    for (late, early) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
        for late_first in [true, false] {
            let (revocations, _) = revocations();
            let mut both = [makers[late](at(NOW - 50)), makers[early](at(NOW - 150))];
            if !late_first {
                both.reverse();
            }
            for revocation in both {
                revocations.revoke(revocation).unwrap();
            }
            // Issued at NOW - 100.
            assert!(revocations.is_revoked(&TOKEN), "{late} {early}");
            let younger = Facts {
                issued_at: Some(NOW - 49),
                ..TOKEN
            };
            assert!(!revocations.is_revoked(&younger), "{late} {early}");
        }
    }
}

#[test]
fn other_issuers_are_not_affected() {
    let (revocations, _) = revocations();
    let end = at(NOW + 300);
    for revocation in [
        Revocation::token(ISSUER, "t-1", end),
        Revocation::session(ISSUER, "s-1", end),
        Revocation::subject(ISSUER, "alice", at(NOW)),
        Revocation::client(ISSUER, "web", at(NOW)),
        Revocation::issuer(ISSUER, at(NOW)),
        Revocation::key(ISSUER, "k-1", end),
    ] {
        revocations.revoke(revocation).unwrap();
    }
    assert!(revocations.is_revoked(&TOKEN));
    for issuer in ["https://id.example.com", "https://other.example.com/", ""] {
        assert!(!revocations.is_revoked(&Facts { issuer, ..TOKEN }));
    }
}

#[test]
fn each_ends_by_itself() {
    /// `lasts` is how many seconds from now it counts, without the ten minutes of leeway.
    #[track_caller]
    fn check(revocation: Revocation, lasts: u64) {
        let (revocations, clock) = revocations();
        // Any not-before revokes a token without `iat`.
        let token = Facts {
            issued_at: None,
            ..TOKEN
        };
        let entry = revocations.revoke(revocation.clone()).unwrap();
        let last = lasts + LEEWAY - 1;
        assert_eq!(entry.ends_at, at(NOW + last + 1));
        clock.advance(secs(last));
        assert!(revocations.is_revoked(&token));
        assert!(revocations.contains(&revocation));
        assert_eq!(revocations.entries(), [entry]);
        clock.advance(secs(1));
        assert!(!revocations.is_revoked(&token));
        assert!(!revocations.contains(&revocation));
        assert!(revocations.is_empty());
        assert_eq!((revocations.len(), revocations.entries()), (0, vec![]));
    }
    let ends_soon = at(NOW + 300);
    let ends_never = UNIX_EPOCH + secs(i64::MAX as u64);
    let ten_years = 3653 * DAY;
    check(Revocation::token(ISSUER, "t-1", ends_soon), 300);
    check(
        Revocation::token(ISSUER, "t-1", ends_soon + Duration::from_millis(1)),
        301,
    );
    check(Revocation::session(ISSUER, "s-1", ends_soon), 300);
    // An explicit end is used, however long other tokens live.
    for days in [7, 30, 3653] {
        let end = at(NOW + days * DAY);
        check(Revocation::token(ISSUER, "t-1", end), days * DAY);
        check(Revocation::session(ISSUER, "s-1", end), days * DAY);
        check(Revocation::key(ISSUER, "k-1", end), days * DAY);
    }
    check(Revocation::token(ISSUER, "t-1", ends_never), ten_years);
    check(Revocation::key(ISSUER, "k-1", ends_never), ten_years);
    check(Revocation::subject(ISSUER, "alice", at(NOW)), DAY);
    check(Revocation::client(ISSUER, "web", at(NOW - 100)), DAY - 100);
    check(Revocation::issuer(ISSUER, at(NOW + 50)), DAY + 50);
}

#[test]
fn max_token_lifetime_bounds_a_not_before() {
    let hour = 3600;
    let clock = ManualClock::at(NOW);
    let revocations = Revocations::new()
        .max_token_lifetime(secs(hour))
        .unwrap()
        .clock(clock.clone());
    let subject = Revocation::subject(ISSUER, "alice", at(NOW));
    let token = Revocation::token(ISSUER, "t-1", at(NOW + DAY));
    revocations.revoke(subject).unwrap();
    revocations.revoke(token).unwrap();
    let ends: Vec<_> = revocations.entries().iter().map(|e| e.ends_at).collect();
    let expected = [NOW + hour + LEEWAY, NOW + DAY + LEEWAY];
    assert_eq!(ends, expected.map(at));

    let refused = Revocations::new().max_token_lifetime(Duration::ZERO);
    assert!(refused.unwrap_err().to_string().contains("longest life"));
}

#[test]
fn a_second_revocation_never_shortens_the_first() {
    let (revocations, _) = revocations();
    for end in [300, 500, 100] {
        let token = Revocation::token(ISSUER, "t-1", at(NOW + end));
        revocations.revoke(token).unwrap();
    }
    for not_before in [NOW - 300, NOW - 100, NOW - 200] {
        let subject = Revocation::subject(ISSUER, "alice", at(not_before));
        revocations.revoke(subject).unwrap();
    }
    let listed = revocations.entries();
    let [token, subject] = listed[..] else {
        panic!("{listed:?}");
    };
    assert_eq!(token.kind, Kind::Token);
    assert_eq!(token.ends_at, at(NOW + 500 + LEEWAY));
    assert_eq!(token.not_before, None);
    assert_eq!(subject.kind, Kind::Subject);
    assert_eq!(subject.ends_at, at(NOW - 100 + DAY + LEEWAY));
    assert_eq!(subject.not_before, Some(at(NOW - 100)));
}

#[test]
fn a_week_long_token_stays_revoked() {
    let (revocations, clock) = revocations();
    let token = Revocation::token(ISSUER, "t-1", at(NOW + 7 * DAY));
    revocations.revoke(token).unwrap();
    clock.advance(secs(25 * 3600));
    assert!(revocations.is_revoked(&TOKEN));
    clock.advance(secs(6 * DAY));
    assert!(!revocations.is_revoked(&TOKEN));
}

#[test]
fn an_overdue_revocation_is_an_error() {
    let (revocations, _) = revocations();
    for revocation in [
        Revocation::token(ISSUER, "t-1", at(NOW - LEEWAY)),
        Revocation::session(ISSUER, "s-1", UNIX_EPOCH),
        // Meant as "for a week".
        Revocation::key(ISSUER, "k-1", at(7 * DAY)),
        Revocation::subject(ISSUER, "alice", at(NOW - DAY - LEEWAY)),
        Revocation::issuer(ISSUER, UNIX_EPOCH),
    ] {
        assert_eq!(
            revocations.revoke(revocation),
            Err(RevokeError::AlreadyOver)
        );
    }
    assert!(revocations.is_empty());
    // The token is still accepted, within the leeway of its issuer.
    let token = Revocation::token(ISSUER, "t-1", at(NOW - LEEWAY + 1));
    revocations.revoke(token).unwrap();
    assert!(revocations.is_revoked(&TOKEN));
}

#[test]
fn rejects_empty_names_and_milliseconds() {
    #[track_caller]
    fn check(revocation: Revocation, expected: RevokeError) {
        let (revocations, _) = revocations();
        assert_eq!(revocations.revoke(revocation), Err(expected));
        assert!(revocations.is_empty());
    }
    let end = at(NOW + 300);
    let no_issuer = RevokeError::Empty("issuer");
    let no_value = RevokeError::Empty("value");
    check(Revocation::token("", "t-1", end), no_issuer);
    check(Revocation::issuer("", end), no_issuer);
    check(Revocation::token(ISSUER, "", end), no_value);
    check(Revocation::session(ISSUER, "", end), no_value);
    check(Revocation::subject(ISSUER, "", end), no_value);
    check(Revocation::client(ISSUER, "", end), no_value);
    check(Revocation::key(ISSUER, "", end), no_value);

    let ahead = RevokeError::TooFarAhead;
    check(Revocation::issuer(ISSUER, at(NOW * 1000)), ahead);
    check(
        Revocation::subject(ISSUER, "alice", at(NOW + DAY + 1)),
        ahead,
    );
    check(
        Revocation::client(ISSUER, "web", at(i64::MAX as u64)),
        ahead,
    );
}

#[test]
fn forget_ends_one_revocation() {
    let (revocations, _) = revocations();
    let token = Revocation::token(ISSUER, "t-1", at(NOW + 300));
    let subject = Revocation::subject(ISSUER, "alice", at(NOW));
    revocations.revoke(token.clone()).unwrap();
    revocations.revoke(subject.clone()).unwrap();
    assert!(!revocations.forget(&Revocation::token(ISSUER, "t-2", at(NOW))));
    assert!(!revocations.forget(&Revocation::session(ISSUER, "t-1", at(NOW))));
    assert!(revocations.forget(&token));
    assert!(!revocations.forget(&token));
    assert!(revocations.is_revoked(&TOKEN));
    // The time of the argument does not matter.
    assert!(revocations.forget(&Revocation::subject(ISSUER, "alice", at(1))));
    assert!(!revocations.is_revoked(&TOKEN));
    assert!(revocations.is_empty());
}

#[test]
fn a_full_list_never_drops_a_live_revocation() {
    let (revocations, clock) = revocations();
    let revocations = revocations.max_entries(NonZeroUsize::new(10).unwrap());
    let token = |name: u64, end| Revocation::token(ISSUER, &name.to_string(), at(NOW + end));
    for name in 0..10 {
        revocations.revoke(token(name, 100 + name)).unwrap();
    }
    let full = Err(RevokeError::Full);
    assert_eq!(revocations.revoke(token(10, 900)), full);
    assert_eq!(
        revocations.revoke(Revocation::issuer(ISSUER, at(NOW))),
        full
    );
    assert!((0..10).all(|name| revocations.contains(&token(name, 0))));
    assert!(revocations.revoke(token(9, 900)).is_ok());

    // Three have ended, which makes room for three.
    clock.advance(secs(102 + LEEWAY));
    for name in 10..13 {
        assert!(revocations.revoke(token(name, 900)).is_ok());
    }
    assert_eq!(revocations.revoke(token(13, 900)), full);
    assert!((3..13).all(|name| revocations.contains(&token(name, 0))));
    assert_eq!(revocations.len(), 10);
}

#[test]
fn clones_share_revocations() {
    let (revocations, _) = revocations();
    let clone = revocations.clone();
    clone.revoke(Revocation::issuer(ISSUER, at(NOW))).unwrap();
    assert!(revocations.is_revoked(&TOKEN));
    assert!(!Revocations::new().is_revoked(&TOKEN));
}

#[test]
fn a_listing_counts_kinds_without_names() {
    let (revocations, _) = revocations();
    for revocation in [
        Revocation::token(ISSUER, "secret-1", at(NOW + 300)),
        Revocation::token(ISSUER, "secret-2", at(NOW + 100)),
        Revocation::session(ISSUER, "secret-3", at(NOW + 200)),
    ] {
        revocations.revoke(revocation).unwrap();
    }
    let ends: Vec<_> = revocations.entries().iter().map(|e| e.ends_at).collect();
    let expected = [100, 200, 300].map(|end| at(NOW + end + LEEWAY));
    assert_eq!(ends, expected);
    let counts: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| revocations.count(*kind))
        .collect();
    assert_eq!(counts, [2, 1, 0, 0, 0, 0]);
    assert_eq!(revocations.len(), 3);
    let shown = format!("{:?} {revocations:?}", revocations.entries());
    assert!(!shown.contains("secret") && !shown.contains(ISSUER));
}

#[cfg(feature = "metrics")]
#[test]
fn metrics_count_new_entries() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let (revocations, _) = revocations();
        for end in [300, 400, 0] {
            let token = Revocation::token(ISSUER, "t-1", at(NOW + end));
            revocations.revoke(token).unwrap();
        }
        let ended = Revocation::session(ISSUER, "s-1", at(1));
        revocations.revoke(ended).unwrap_err();
        revocations
            .revoke(Revocation::token(ISSUER, "", at(NOW)))
            .unwrap_err();
        revocations
            .revoke(Revocation::issuer(ISSUER, at(NOW)))
            .unwrap();
    });
    let text = handle.render();
    for line in [
        r#"portcullis_revoked_total{kind="jti"} 1"#,
        r#"portcullis_revoked_total{kind="iss"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("sid"));
}

#[test]
fn a_revocation_takes_effect_on_all_threads() {
    const EACH: u64 = 2_000;
    let revocations = Revocations::new().clock(ManualClock::at(NOW));
    let name = |writer: u64, number: u64| format!("{writer}-{number}");
    let asks = |writer: u64, number: u64| {
        let name = name(writer, number);
        let token_id = Some(name.as_str());
        revocations.is_revoked(&Facts { token_id, ..TOKEN })
    };
    let done = [AtomicU64::new(0), AtomicU64::new(0)];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut asked = 0_u64;
                    while !stop.load(Ordering::Acquire) || asked < 10_000 {
                        for (writer, done) in (0..).zip(&done) {
                            let known = done.load(Ordering::Acquire);
                            if known > 0 {
                                assert!(asks(writer, asked % known));
                            }
                        }
                        assert!(!asks(2, asked));
                        asked += 1;
                    }
                })
            })
            .collect();
        let revocations = &revocations;
        let writers: Vec<_> = (0..)
            .zip(&done)
            .map(|(writer, done)| {
                scope.spawn(move || {
                    for number in 0..EACH {
                        let token = Revocation::token(ISSUER, &name(writer, number), at(NOW + 9));
                        revocations.revoke(token).unwrap();
                        done.store(number + 1, Ordering::Release);
                    }
                })
            })
            .collect();
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
        stop.store(true, Ordering::Release);
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
    });
    assert_eq!(revocations.count(Kind::Token), 2 * EACH as usize);
}

/// A step of the property test. There are few names, so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Revoke(Kind, usize, usize, u64),
    Forget(Kind, usize, usize),
    Wait(u64),
    Ask {
        issuer: usize,
        names: [usize; 5],
        issued_ago: Option<u64>,
    },
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn revocation(kind: Kind, issuer: usize, value: usize, time: u64) -> Revocation {
    let (issuer, value, time) = (NAMES[issuer], NAMES[value], at(time));
    match kind {
        Kind::Token => Revocation::token(issuer, value, time),
        Kind::Session => Revocation::session(issuer, value, time),
        Kind::Subject => Revocation::subject(issuer, value, time),
        Kind::Client => Revocation::client(issuer, value, time),
        Kind::Issuer => Revocation::issuer(issuer, time),
        Kind::Key => Revocation::key(issuer, value, time),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop::sample::select(Kind::ALL);
    // Times around `NOW`, and waits after which everything has ended.
    let time = prop_oneof![NOW - 400..NOW + 400, NOW - 2 * DAY..NOW + 2 * DAY];
    prop_oneof![
        4 => (kind.clone(), 0..2_usize, 0..3_usize, time)
            .prop_map(|(kind, issuer, value, time)| Step::Revoke(kind, issuer, value, time)),
        1 => (kind, 0..2_usize, 0..3_usize)
            .prop_map(|(kind, issuer, value)| Step::Forget(kind, issuer, value)),
        1 => prop_oneof![0..300_u64, 0..DAY].prop_map(Step::Wait),
        6 => (0..2_usize, [0..4_usize, 0..4, 0..3, 0..4, 0..4], prop::option::of(0..400_u64))
            .prop_map(|(issuer, names, issued_ago)| Step::Ask { issuer, names, issued_ago }),
    ]
}

/// The end and the not-before of each entry. Nothing is ever dropped.
#[derive(Default)]
struct Model(HashMap<(Kind, usize, usize), (u64, u64)>);

impl Model {
    const CEILING: usize = 12;

    fn live(&self, kind: Kind, issuer: usize, value: usize, now: u64) -> Option<u64> {
        let value = if kind == Kind::Issuer { 0 } else { value };
        let (end, not_before) = self.0.get(&(kind, issuer, value))?;
        (now < *end).then_some(*not_before)
    }

    fn len(&self, now: u64) -> usize {
        self.0.values().filter(|(end, _)| now < *end).count()
    }

    fn revoke(
        &mut self,
        (kind, issuer, value): (Kind, usize, usize),
        time: u64,
        now: u64,
    ) -> Result<(), RevokeError> {
        let (end, not_before) = match kind {
            Kind::Token | Kind::Session | Kind::Key => (time, 0),
            _ if time > now + DAY => return Err(RevokeError::TooFarAhead),
            _ => (time + DAY, time),
        };
        let end = end + LEEWAY;
        if end <= now {
            return Err(RevokeError::AlreadyOver);
        }
        let old = self.live(kind, issuer, value, now);
        if old.is_none() && self.len(now) >= Self::CEILING {
            return Err(RevokeError::Full);
        }
        let value = if kind == Kind::Issuer { 0 } else { value };
        let own = self.0.entry((kind, issuer, value)).or_default();
        *own = (own.0.max(end), own.1.max(not_before));
        Ok(())
    }

    fn is_revoked(&self, issuer: usize, names: [usize; 5], iat: Option<u64>, now: u64) -> bool {
        let live = |kind, value| self.live(kind, issuer, value, now);
        let [token, session, subject, client, key] = names;
        let listed = live(Kind::Token, token).is_some()
            || live(Kind::Session, session).is_some()
            || live(Kind::Key, key).is_some();
        let reaches = |not_before| iat.is_none_or(|iat| iat <= not_before);
        listed
            || live(Kind::Subject, subject).is_some_and(reaches)
            || live(Kind::Client, client).is_some_and(reaches)
            || live(Kind::Issuer, 0).is_some_and(reaches)
    }
}

proptest! {
    #[test]
    fn decides_as_a_plain_map_does(steps in prop::collection::vec(step(), 1..200)) {
        let (revocations, clock) = revocations();
        let revocations = revocations.max_entries(NonZeroUsize::new(Model::CEILING).unwrap());
        let mut model = Model::default();
        let mut now = NOW;
        for step in steps {
            match step {
                Step::Revoke(kind, issuer, value, time) => {
                    let result = revocations.revoke(revocation(kind, issuer, value, time));
                    let expected = model.revoke((kind, issuer, value), time, now);
                    prop_assert_eq!(result.map(|_| ()), expected);
                }
                Step::Forget(kind, issuer, value) => {
                    let was_live = model.live(kind, issuer, value, now).is_some();
                    let value_kept = if kind == Kind::Issuer { 0 } else { value };
                    model.0.remove(&(kind, issuer, value_kept));
                    prop_assert_eq!(revocations.forget(&revocation(kind, issuer, value, 0)), was_live);
                }
                Step::Wait(seconds) => {
                    clock.advance(secs(seconds));
                    now += seconds;
                }
                Step::Ask { issuer, names, issued_ago } => {
                    let iat = issued_ago.map(|ago| now - ago);
                    // There is no fourth name.
                    let [token_id, session, subject, client, kid] =
                        names.map(|name| NAMES.get(name).copied());
                    let facts = Facts {
                        issuer: NAMES[issuer],
                        subject: subject.unwrap(),
                        client,
                        token_id,
                        session,
                        issued_at: iat,
                        kid,
                    };
                    let expected = model.is_revoked(issuer, names, iat, now);
                    prop_assert_eq!(revocations.is_revoked(&facts), expected);
                }
            }
        }
        prop_assert_eq!(revocations.len(), model.len(now));
        prop_assert_eq!(revocations.is_empty(), model.len(now) == 0);
    }
}
