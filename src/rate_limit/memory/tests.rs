use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::rate_limit::key::KeyHasher;
use crate::rate_limit::policy::Policies;
use crate::rate_limit::quota::Quota;

const ONE: NonZeroU32 = NonZeroU32::MIN;
const SECOND: u64 = 1_000_000_000;

impl Memory {
    fn slots(&self) -> usize {
        let tables = self.shards.iter().map(|shard| shard.lock().unwrap());
        tables.map(|table| table.slots.capacity()).sum()
    }

    fn bytes(&self) -> usize {
        let tables = self.shards.iter().map(|shard| shard.lock().unwrap());
        let bytes = |table: MutexGuard<'_, Table>| {
            let floors = table.floors.capacity() * size_of::<[u64; CLASSES]>();
            table.slots.capacity() * size_of::<Slot>() + floors
        };
        tables.map(bytes).sum()
    }

    fn remembers(&self, key: Key, policy: &Policy) -> bool {
        let table = self.table(key);
        let place = table.place(Name::new(key, policy), &policy.gcra, SECOND);
        place.is_some_and(|place| place.slot == SlotState::Found)
    }
}

fn memory(max_keys: usize) -> Memory {
    Memory::new(NonZeroUsize::new(max_keys).unwrap())
}

fn policies(quotas: &[Quota]) -> Arc<Policies> {
    let names: Vec<Arc<str>> = (0..quotas.len()).map(|at| at.to_string().into()).collect();
    let quotas = names.iter().zip(quotas.iter().copied());
    Arc::new(Policies::new(quotas).unwrap())
}

fn key(name: u64) -> Key {
    // How full a small table gets is chance; here it is the same with every run.
    let mut hasher = KeyHasher::shared(b"0123456789abcdef");
    name.hash(&mut hasher);
    hasher.key()
}

fn check(policies: &Arc<Policies>, name: u64, now: u64, cost: u32) -> Check<'_> {
    Check {
        key: key(name),
        policies,
        cost: NonZeroU32::new(cost).unwrap(),
        purpose: Purpose::Acquire,
        now,
    }
}

fn admits(memory: &Memory, policies: &Arc<Policies>, name: u64, now: u64) -> bool {
    let outcome = memory.decide(&check(policies, name, now, 1));
    outcome.verdicts.admit()
}

#[test]
fn an_offender_stays_limited_in_a_flood() {
    let ten = policies(&[Quota::per_minute(10)]);
    for ceiling in [2, 100, 10_000] {
        let memory = memory(ceiling);
        while admits(&memory, &ten, u64::MAX, SECOND) {}
        for name in 0..20 * ceiling as u64 {
            admits(&memory, &ten, name, SECOND);
            if name % 97 == 0 {
                assert!(!admits(&memory, &ten, u64::MAX, SECOND));
            }
        }
        assert!(!admits(&memory, &ten, u64::MAX, SECOND));
    }
}

#[test]
fn a_flood_gets_the_permits_of_the_slots() {
    let three = policies(&[Quota::per_hour(3)]);
    let memory = memory(640);
    let flood = || (0..20_000).filter(|name| admits(&memory, &three, *name, SECOND));
    let admitted = flood().count();
    let slots = memory.slots();
    assert!(
        (3 * slots..=3 * (slots + slots / REACH)).contains(&admitted),
        "{admitted}"
    );
    // A replaced caller comes back to its debt, or a larger one.
    assert_eq!(flood().count(), 0);
}

#[test]
fn newcomers_pass_while_slots_have_permits() {
    let ten = policies(&[Quota::per_second(10)]);
    let memory = memory(6_400);
    for name in 0..3 * 6_400 {
        assert!(admits(&memory, &ten, name, SECOND), "{name}");
    }
}

#[test]
fn memory_never_exceeds_the_ceiling() {
    let one = policies(&[Quota::per_hour(1)]);
    for ceiling in [1, 2, 15, 17, 100, 1_000, 1_023, 20_000] {
        let memory = memory(ceiling);
        for name in 0..4 * ceiling as u64 {
            admits(&memory, &one, name, SECOND);
        }
        assert!(memory.slots() <= ceiling, "{} > {ceiling}", memory.slots());
        // Small tables are rounded: one group at least has its floors.
        assert!(memory.bytes() <= 17 * ceiling + 64, "{ceiling}");
        assert!(
            memory.slots() * 8 >= ceiling * 7 || ceiling < 1_000 && memory.slots() * 2 >= ceiling
        );
    }
}

#[test]
fn callers_are_kept_up_to_three_quarters() {
    let one = policies(&[Quota::per_hour(1)]);
    for ceiling in [2_048, 20_000] {
        let memory = memory(ceiling);
        let callers = ceiling as u64 * 3 / 4;
        let admitted = (0..callers).filter(|name| admits(&memory, &one, *name, SECOND));
        assert!(callers - (admitted.count() as u64) < 2 + callers / 100);
        let policy = one.only().unwrap();
        let forgotten = (0..callers).filter(|name| !memory.remembers(key(*name), policy));
        let forgotten = forgotten.count();
        assert!(forgotten * 100 <= ceiling, "{forgotten} of {callers}");
    }
}

#[test]
fn keys_without_debt_are_overwritten() {
    let ten = policies(&[Quota::per_second(10)]);
    let memory = memory(1_000_000);
    for name in 0..100_000 {
        // Ten keys owe something at any time.
        assert!(admits(&memory, &ten, name, SECOND + name * SECOND / 100));
    }
    assert!(memory.slots() <= 64 * REACH, "{} slots", memory.slots());
}

#[test]
fn refused_newcomer_takes_no_slot() {
    let none = policies(&[Quota::per_second(0)]);
    let memory = memory(1_000);
    for name in 0..100 {
        assert!(!admits(&memory, &none, name, SECOND));
    }
    assert_eq!(memory.slots(), 0);
}

#[test]
fn peek_changes_nothing() {
    let one = policies(&[Quota::per_hour(1)]);
    let memory = memory(1_000);
    let look = Check {
        purpose: Purpose::Peek,
        ..check(&one, 7, SECOND, 1)
    };
    assert!(memory.decide(&look).verdicts.admit());
    assert_eq!(memory.slots(), 0);
    memory.charge(&check(&one, 7, SECOND, 5));
    assert!(!memory.decide(&look).verdicts.admit());
}

#[test]
fn a_slot_is_as_large_as_documented() {
    assert_eq!(size_of::<Slot>(), 16);
}

#[test]
fn refusal_of_one_policy_charges_none() {
    let both = policies(&[Quota::per_second(2), Quota::per_day(3)]);
    let memory = memory(1_000);
    let ask = |now| {
        let outcome = memory.decide(&check(&both, 7, now, 1));
        let verdicts = outcome.verdicts.as_slice();
        let left: Vec<u32> = verdicts.iter().map(|v| v.left.permits).collect();
        (outcome.verdicts.admit(), left)
    };
    assert_eq!(ask(SECOND), (true, vec![1, 2]));
    assert_eq!(ask(SECOND), (true, vec![0, 1]));
    for _ in 0..5 {
        assert_eq!(ask(SECOND), (false, vec![0, 1]));
    }
    assert_eq!(ask(2 * SECOND), (true, vec![1, 0]));
    assert_eq!(ask(2 * SECOND), (false, vec![1, 0]));
}

#[test]
fn debts_of_a_day_do_not_reach_seconds() {
    let daily = policies(&[Quota::per_day(1)]);
    let brief = policies(&[Quota::per_second(10)]);
    let memory = memory(640);
    for name in 0..10_000 {
        admits(&memory, &daily, name, SECOND);
    }
    assert!(admits(&memory, &brief, 1, SECOND));
}

#[test]
fn every_thread_sees_one_count() {
    let many = policies(&[Quota::per_hour(1_000)]);
    let memory = memory(1_000);
    let one_thread = || {
        let requests = 0..1_000;
        requests
            .filter(|_| admits(&memory, &many, 7, SECOND))
            .count()
    };
    let admitted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(one_thread)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(admitted, 1_000);
}

proptest! {
    #[test]
    fn it_decides_as_a_plain_map_does(
        requests in prop::collection::vec((0..400_u64, 0..SECOND / 100), 1..2_000),
    ) {
        let brief = policies(&[Quota::per_second(2).burst(3)]);
        let gcra = brief.only().unwrap().gcra;
        let memory = memory(100_000);
        let mut map = HashMap::<u64, u64>::new();
        let mut now = SECOND;
        for (name, step) in requests {
            now += step;
            let tat = map.entry(name).or_default();
            let expected = gcra.decide(*tat, now, ONE);
            *tat = expected.tat;
            let outcome = memory.decide(&check(&brief, name, now, 1));
            prop_assert_eq!(outcome.verdicts, Verdicts::One(expected.verdict));
        }
    }

    /// In a table of any size, a caller is admitted at most as an exact count of its admissions
    /// allows.
    #[test]
    fn a_replaced_caller_gets_no_more(
        ceiling in 1..100_usize,
        requests in prop::collection::vec((0..150_u64, 0..SECOND / 20, 1..4_u32, 0..4_u8), 1..800),
    ) {
        let brief = policies(&[Quota::per_second(2).burst(5)]);
        let long = policies(&[Quota::per_minute(20).burst(5)]);
        let both = policies(&[Quota::per_second(2).burst(5), Quota::per_hour(100)]);
        let memory = memory(ceiling);
        let mut exact = HashMap::<(u64, u64), u64>::new();
        let mut now = SECOND;
        for (name, step, cost, kind) in requests {
            now += step;
            let set = [&brief, &long, &both, &long][usize::from(kind)];
            let asked = check(set, name, now, cost);
            let afterwards = kind == 3;
            if afterwards {
                memory.charge(&asked);
            } else if !memory.decide(&asked).verdicts.admit() {
                continue;
            }
            for policy in set.iter() {
                let tat = exact.entry((name, policy.fingerprint)).or_default();
                let expected = policy.gcra.decide(*tat, now, asked.cost);
                prop_assert!(afterwards || expected.verdict.retry_after.is_none());
                *tat = policy.gcra.charge(*tat, now, asked.cost);
            }
        }
    }
}
