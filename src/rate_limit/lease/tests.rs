use proptest::prelude::*;

use super::*;
use crate::rate_limit::central::Central;
use crate::rate_limit::quota::Quota;

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
const START: u64 = 3_600 * SECOND;

/// Quota, percent: permits of a lease, life, floor, rest.
#[track_caller]
fn check(quota: Quota, percent: u8, expected: (u32, u64, u32, u64)) {
    let terms = LeaseTerms::new(Gcra::new(&quota), percent);
    let found = (terms.max, terms.ttl / MS, terms.floor, terms.backoff / MS);
    assert_eq!(found, expected, "{quota:?}");
}

fn terms() -> LeaseTerms {
    LeaseTerms::new(Gcra::new(&Quota::per_second(1_000)), 25)
}

#[test]
fn ttl_is_refill_time_up_to_a_second() {
    check(Quota::per_second(1_000), 25, (250, 250, 25, 50));
    check(Quota::per_second(10_000), 25, (2_500, 250, 250, 50));
    check(Quota::per_second(100), 10, (10, 100, 1, 25));
    check(Quota::per_second(10).burst(20), 25, (5, 500, 0, 50));
    check(Quota::per_day(86_400), 25, (21_600, 1_000, 0, 50));
}

#[test]
fn a_lease_of_one_permit_is_exact() {
    for (quota, percent) in [
        (Quota::per_second(1_000), 0),
        (Quota::per_minute(7), 25),
        (Quota::per_second(0), 25),
        (Quota::per_second(100).burst(1), 100),
    ] {
        check(quota, percent, (1, 0, 0, 0));
        let terms = LeaseTerms::new(Gcra::new(&quota), percent);
        assert!(!terms.leases(1));
        assert_eq!(
            Lease::default().request(&terms, START, 3),
            LeaseRequest::exactly(3)
        );
    }
}

#[test]
fn the_excess_is_the_refill_of_one_ttl() {
    let excess = |quota, percent| LeaseTerms::new(Gcra::new(&quota), percent).excess();
    assert_eq!(excess(Quota::per_second(1_000), 25), 250);
    assert_eq!(excess(Quota::per_second(1_000), 0), 0);
    assert_eq!(excess(Quota::per_day(86_400), 25), 1);
    assert_eq!(excess(Quota::per_minute(7), 25), 0);
}

#[test]
fn permits_expire_from_when_they_were_requested() {
    let (terms, mut lease) = (terms(), Lease::default());
    lease.granted(&terms, START, START + 10 * MS, 8);
    lease.granted(&terms, START + 100 * MS, START + 110 * MS, 5);
    assert_eq!(lease.permits(START + 250 * MS - 1), 13);
    assert_eq!(lease.permits(START + 250 * MS), 5);
    assert_eq!(lease.permits(START + 350 * MS), 0);
    // An answer that comes after its permits have ended brings nothing.
    lease.granted(&terms, START, START + 400 * MS, 8);
    assert_eq!(lease.permits(START + 400 * MS), 0);
}

#[test]
fn the_oldest_permits_are_spent_first() {
    let (terms, mut lease) = (terms(), Lease::default());
    lease.granted(&terms, START, START, 4);
    lease.granted(&terms, START + 200 * MS, START + 200 * MS, 4);
    lease.spend(3);
    lease.spend(2);
    assert_eq!(lease.permits(START + 260 * MS), 3);
    lease.spend(3);
    assert_eq!(lease.permits(START + 260 * MS), 0);
}

#[test]
fn many_grants_are_merged() {
    let (terms, mut lease) = (terms(), Lease::default());
    for i in 0..100 {
        lease.granted(&terms, START + i * MS, START + i * MS, 1);
    }
    assert_eq!(lease.batches.len(), MAX_BATCHES);
    assert_eq!(lease.permits(START + 100 * MS), 100);
    let last = START + 250 * MS + (MAX_BATCHES as u64 - 1) * MS;
    assert_eq!(lease.permits(last), 0, "merged at the earlier end");
}

#[test]
fn a_node_requests_its_demand() {
    let (terms, mut lease) = (terms(), Lease::default());
    lease.record_demand(&terms, START, 1);
    let request = lease.request(&terms, START, 1);
    assert_eq!(
        request,
        LeaseRequest {
            min: 1,
            desired: 1,
            floor: 25
        }
    );
    // 400 a second, which is a hundred within each life, for long enough.
    let mut now = START;
    for _ in 0..1_600 {
        now += SECOND / 400;
        lease.record_demand(&terms, now, 1);
    }
    let desired = lease.request(&terms, now, 1).desired;
    assert!((90..=100).contains(&desired), "{desired}");
    // No request came for a long time.
    assert_eq!(lease.request(&terms, now + 10 * SECOND, 1).desired, 1);
    // A crowd is served by purchases of a share, not at once.
    lease.record_demand(&terms, now + 10 * SECOND, 1_000_000);
    assert_eq!(lease.request(&terms, now + 10 * SECOND, 1).desired, 250);
}

#[test]
fn a_node_requests_ahead_at_a_quarter() {
    let (terms, mut lease) = (terms(), Lease::default());
    lease.record_demand(&terms, START, 400);
    lease.granted(&terms, START, START, 40);
    lease.spend(29);
    assert_eq!(lease.request_ahead(&terms, START), None);
    lease.spend(1);
    let request = lease.request_ahead(&terms, START).unwrap();
    // (400 + 2 - 20) / 4, less the 10 that it holds.
    assert_eq!(
        request,
        LeaseRequest {
            min: 1,
            desired: 85,
            floor: 25
        }
    );
    lease.spend(10);
    assert_eq!(
        lease.request_ahead(&terms, START),
        None,
        "too late: a request will ask"
    );
}

#[test]
fn a_refusal_holds_until_the_store_could_grant() {
    let (terms, mut lease) = (terms(), Lease::default());
    let request = LeaseRequest {
        min: 1,
        desired: 9,
        floor: 25,
    };
    // 5 of 1,000 permits are there; 25 will be in 20 ms, but a node rests for 50.
    lease.set_debt(START, 995 * MS);
    for (spread, rest) in [(0, 50), (u32::MAX, 99), (1 << 31, 75)] {
        lease.refused(&terms, START, request, spread);
        let wait = lease.local_refusal(&terms, START, 1).unwrap();
        assert_eq!(wait.as_millis(), rest);
        assert!(
            lease
                .local_refusal(&terms, START + (rest as u64 + 1) * MS, 1)
                .is_none()
        );
    }
    lease.granted(&terms, START, START, 3);
    assert!(
        lease.local_refusal(&terms, START, 1).is_none(),
        "a grant ends it"
    );
}

#[test]
fn what_is_owed_refuses_exactly() {
    let terms = LeaseTerms::new(Gcra::new(&Quota::per_second(10).burst(3)), 0);
    let mut lease = Lease::default();
    lease.set_debt(START, 250 * MS);
    assert_eq!(
        lease.local_refusal(&terms, START, 1).unwrap().as_millis(),
        50
    );
    assert_eq!(
        lease.local_refusal(&terms, START, 3).unwrap().as_millis(),
        250
    );
    assert!(lease.local_refusal(&terms, START + 50 * MS, 1).is_none());
    assert!(lease.local_refusal(&terms, START + 50 * MS, 2).is_some());
}

#[test]
fn left_is_held_plus_the_store() {
    let (terms, mut lease) = (terms(), Lease::default());
    lease.set_debt(START, 400 * MS);
    lease.granted(&terms, START, START, 100);
    assert_eq!(lease.left(&terms, START).permits, 700);
    lease.spend(50);
    assert_eq!(lease.left(&terms, START).permits, 650);
    assert_eq!(lease.left(&terms, START + 100 * MS).permits, 750);
}

/// What happens next: time passes, a node is asked, an answer arrives, a node pauses or is
/// replaced.
#[derive(Clone, Copy, Debug)]
enum Event {
    Ask { node: usize, requests: u32 },
    Wait { millis: u64 },
    Restart { node: usize },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..8_usize, 1..80_u32).prop_map(|(node, requests)| Event::Ask { node, requests }),
        4 => (0..40_u64).prop_map(|millis| Event::Wait { millis }),
        1 => (0..600_u64).prop_map(|millis| Event::Wait { millis }),
        1 => (0..8_usize).prop_map(|node| Event::Restart { node }),
    ]
}

proptest! {
    /// A bucket that leaks at the rate shows the most that any window held beyond the rate.
    #[test]
    fn all_nodes_together_never_exceed_the_bound(
        rate in 1..5_000_u32,
        burst in 1..1_000_u32,
        percent in 0..=100_u8,
        delay in 0..20_u64,
        events in prop::collection::vec(event(), 1..300),
    ) {
        let quota = Quota::per_second(rate).burst(burst);
        let gcra = Gcra::new(&quota);
        let terms = LeaseTerms::new(gcra, percent);
        let mut nodes = vec![Lease::default(); 8];
        let mut central = Central::default();
        let mut now = START;
        let (mut level, mut last) = (0_u64, START);
        for event in events {
            match event {
                Event::Wait { millis } => now += millis * MS,
                Event::Restart { node } => nodes[node] = Lease::default(),
                Event::Ask { node, requests } => for _ in 0..requests {
                    let lease = &mut nodes[node];
                    lease.record_demand(&terms, now, 1);
                    let mut admitted = terms.leases(1) && lease.permits(now) > 0;
                    if !admitted && lease.local_refusal(&terms, now, 1).is_none() {
                        let request = lease.request(&terms, now, 1);
                        let sent = now;
                        let (debt, permits) = central.charge(&gcra, now, request);
                        now += delay * MS;
                        match permits {
                            Some(permits) if terms.leases(1) => {
                                lease.set_debt(sent, debt + gcra.price(permits));
                                lease.granted(&terms, sent, now, permits);
                                admitted = lease.permits(now) > 0;
                            }
                            Some(_) => {
                                // Nothing is held: the answer is the admission, at the store's own
                                // moment.
                                level = level.saturating_sub(sent.saturating_sub(last)) + gcra.price(1);
                                last = last.max(sent);
                            }
                            None => {
                                lease.set_debt(sent, debt);
                                lease.refused(&terms, now, request, 0);
                            }
                        }
                    }
                    if admitted {
                        lease.spend(1);
                        level = level.saturating_sub(now - last) + gcra.price(1);
                        last = now;
                    }
                    let bound = gcra.price(burst) + gcra.price(u32::try_from(terms.excess()).unwrap());
                    prop_assert!(level <= bound, "{} > {}", level / gcra.price(1), bound / gcra.price(1));
                },
            }
        }
    }
}
