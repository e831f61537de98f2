//! The generic cell rate algorithm: a token bucket whose whole state is one point in time.
//!
//! The state is the TAT (theoretical arrival time): when all permits of the caller will be
//! refilled, in nanoseconds. The time until then is its *debt*. A request is admitted if the debt
//! afterwards is at most the burst. Additions, comparisons and one division: the script on the
//! server does the same.

use std::num::NonZeroU32;
use std::time::Duration;

use super::quota::Quota;

/// A quota, ready to decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gcra {
    /// What one permit costs, in nanoseconds.
    interval: u64,
    /// The largest debt after an admitted request: the whole burst.
    capacity: u64,
}

/// A decision, and the state after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) tat: u64,
    pub(crate) verdict: Verdict,
}

/// The decision about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) left: Left,
    /// How long a refused request must wait. Never zero; `None` if it is admitted.
    pub(crate) retry_after: Option<Duration>,
}

/// What a caller has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) permits: u32,
    /// How long until there is one more. Never zero.
    pub(crate) more_in: Duration,
}

/// A saturated sum is larger than this, so it is refused. Twice as much, the largest debt, is a
/// valid number in Redis too, where numbers are signed and computed as doubles.
const MAX_NANOS: u64 = u64::MAX / 8;

// === impl Gcra ===

impl Gcra {
    pub(crate) fn new(quota: &Quota) -> Self {
        let interval = quota.interval_nanos().min(MAX_NANOS);
        let capacity = interval
            .saturating_mul(u64::from(quota.size()))
            .min(MAX_NANOS);
        Self { interval, capacity }
    }

    /// What one permit costs, in nanoseconds.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub(crate) fn interval(&self) -> u64 {
        self.interval
    }

    /// The largest debt after an admitted request, in nanoseconds.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Decides about a request of this cost. A caller that was never seen has a TAT of 0.
    pub(crate) fn decide(&self, tat: u64, now: u64, cost: NonZeroU32) -> Step {
        let debt = tat.saturating_sub(now);
        let after = debt.saturating_add(self.price(cost.get()));
        match after.checked_sub(self.capacity) {
            // A refusal costs nothing, so a client that waits as long is admitted.
            Some(excess @ 1..) => Step {
                tat,
                verdict: self.verdict(debt, Some(Duration::from_nanos(excess))),
            },
            _ => Step {
                tat: now.saturating_add(after),
                verdict: self.verdict(after, None),
            },
        }
    }

    /// Decides as [`decide`](Self::decide) does, without a charge.
    pub(crate) fn peek(&self, tat: u64, now: u64, cost: NonZeroU32) -> Verdict {
        let debt = tat.saturating_sub(now);
        self.verdict(debt, self.decide(tat, now, cost).verdict.retry_after)
    }

    /// The state after a charge that cannot be refused. The debt is at most twice the burst, so a
    /// caller never waits longer than the time that two bursts take to refill.
    pub(crate) fn charge(&self, tat: u64, now: u64, cost: NonZeroU32) -> u64 {
        let debt = tat.saturating_sub(now);
        let after = debt
            .saturating_add(self.price(cost.get()))
            .min(self.max_debt());
        now.saturating_add(after.max(debt))
    }

    /// The largest debt, in nanoseconds.
    pub(crate) fn max_debt(&self) -> u64 {
        self.capacity.saturating_mul(2)
    }

    /// The cost of this many permits, in nanoseconds.
    pub(crate) fn price(&self, permits: u32) -> u64 {
        self.interval.saturating_mul(u64::from(permits))
    }

    /// What is available with this debt, in nanoseconds.
    pub(crate) fn available(&self, debt: u64) -> u64 {
        self.capacity.saturating_sub(debt)
    }

    /// What is left with this debt.
    pub(crate) fn left(&self, debt: u64) -> Left {
        let free = self.available(debt);
        let (permits, part) = (free / self.interval, free % self.interval);
        Left {
            permits: u32::try_from(permits).unwrap_or(u32::MAX),
            more_in: Duration::from_nanos(self.interval - part),
        }
    }

    fn verdict(&self, debt: u64, retry_after: Option<Duration>) -> Verdict {
        Verdict {
            left: self.left(debt),
            retry_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use governor::RateLimiter;
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    const ONE: NonZeroU32 = NonZeroU32::MIN;
    const SECOND: u64 = 1_000_000_000;

    /// One caller and its state.
    struct Caller {
        gcra: Gcra,
        tat: u64,
    }

    impl Caller {
        fn new(quota: Quota) -> Self {
            let gcra = Gcra::new(&quota);
            Self { gcra, tat: 0 }
        }

        fn ask(&mut self, now: u64, cost: NonZeroU32) -> Verdict {
            let step = self.gcra.decide(self.tat, now, cost);
            self.tat = step.tat;
            step.verdict
        }

        fn admits(&mut self, now: u64) -> bool {
            self.ask(now, ONE).retry_after.is_none()
        }
    }

    #[test]
    fn admits_the_burst_then_the_rate() {
        let mut caller = Caller::new(Quota::per_second(10).burst(3));
        let now = 3600 * SECOND;
        let left: Vec<u32> = (0..3).map(|_| caller.ask(now, ONE).left.permits).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = caller.ask(now, ONE);
        assert_eq!(refused.retry_after, Some(Duration::from_millis(100)));
        assert_eq!(refused.left.more_in, Duration::from_millis(100));
        assert!(!caller.admits(now + SECOND / 10 - 1));
        assert!(caller.admits(now + SECOND / 10));
        assert!(!caller.admits(now + SECOND / 10));
    }

    #[test]
    fn admits_four_thousand_per_second() {
        let mut caller = Caller::new(Quota::per_second(4000).burst(1));
        let step = SECOND / 8000;
        let admitted = (0..8000).filter(|i| caller.admits(SECOND + i * step));
        assert_eq!(admitted.count(), 4000);
    }

    #[test]
    fn a_request_may_cost_more_than_one_permit() {
        let five = NonZeroU32::new(5).unwrap();
        let mut caller = Caller::new(Quota::per_second(1).burst(8));
        assert_eq!(caller.ask(SECOND, five).left.permits, 3);
        let refused = caller.ask(SECOND, five);
        assert_eq!(refused.left.permits, 3);
        assert_eq!(refused.retry_after, Some(Duration::from_secs(2)));
        assert_eq!(refused.left.more_in, Duration::from_secs(1));
    }

    #[test]
    fn a_cost_above_the_burst_is_refused() {
        let mut caller = Caller::new(Quota::per_second(1).burst(2));
        let verdict = caller.ask(SECOND, NonZeroU32::MAX);
        assert!(verdict.retry_after.is_some());
        assert_eq!((caller.tat, verdict.left.permits), (0, 2));
    }

    #[test]
    fn a_quota_of_zero_admits_nothing() {
        let mut caller = Caller::new(Quota::per_minute(0));
        let refused = caller.ask(SECOND, ONE);
        assert_eq!(refused.retry_after, Some(Duration::from_secs(60)));
        assert_eq!(refused.left.permits, 0);
    }

    #[test]
    fn extremes_are_refused_and_never_wrap() {
        let mut caller = Caller::new(Quota::per(1, Duration::MAX).burst(u32::MAX));
        assert!(caller.admits(SECOND));
        assert!(!caller.admits(SECOND));
        assert!(!caller.admits(u64::MAX / 9));
    }

    #[test]
    fn charge_leaves_at_most_two_bursts_of_debt() {
        let mut caller = Caller::new(Quota::per_second(1).burst(4));
        let three = NonZeroU32::new(3).unwrap();
        let mut debt = Vec::new();
        for _ in 0..4 {
            caller.tat = caller.gcra.charge(caller.tat, SECOND, three);
            debt.push((caller.tat - SECOND) / SECOND);
        }
        assert_eq!(debt, [3, 6, 8, 8]);
        let refused = caller.ask(SECOND, ONE);
        assert_eq!(refused.retry_after, Some(Duration::from_secs(5)));
        assert!(caller.admits(6 * SECOND));
    }

    /// A token bucket in exact fractions: `level` counts parts of a permit, `period` parts to the
    /// permit.
    struct Bucket {
        level: u128,
        last: u64,
    }

    impl Bucket {
        fn admits(&mut self, quota: (u32, u64, u32), now: u64, cost: u32) -> bool {
            let (_, interval, burst) = quota;
            let full = u128::from(burst) * u128::from(interval);
            self.level = full.min(self.level + u128::from(now - self.last));
            self.last = now;
            let price = u128::from(cost) * u128::from(interval);
            let admitted = self.level >= price;
            if admitted {
                self.level -= price;
            }
            admitted
        }
    }

    proptest! {
        #[test]
        fn decides_as_a_token_bucket_does(
            permits in 1..5_000_u32,
            burst in 1..200_u32,
            steps in prop::collection::vec((0..2 * SECOND / 100, 1..4_u32), 1..300),
        ) {
            let quota = Quota::per_second(permits).burst(burst);
            let mut caller = Caller::new(quota);
            let interval = quota.interval_nanos();
            let full = u128::from(burst) * u128::from(interval);
            let mut bucket = Bucket { level: full, last: SECOND };
            let mut now = SECOND;
            for (step, cost) in steps {
                now += step;
                let expected = bucket.admits((permits, interval, burst), now, cost);
                let verdict = caller.ask(now, NonZeroU32::new(cost).unwrap());
                prop_assert_eq!(verdict.retry_after.is_none(), expected);
                prop_assert_eq!(u128::from(verdict.left.permits), bucket.level / u128::from(interval));
            }
        }

        #[test]
        fn decides_as_governor_does(
            interval in 1..SECOND,
            burst in 1..200_u32,
            steps in prop::collection::vec((0..SECOND, 1..9_u32), 1..300),
        ) {
            let clock = FakeRelativeClock::default();
            let quota = governor::Quota::with_period(Duration::from_nanos(interval)).unwrap();
            let quota = quota.allow_burst(NonZeroU32::new(burst).unwrap());
            let governor = RateLimiter::direct_with_clock(quota, clock.clone());
            let quota = Quota::per(1, Duration::from_nanos(interval)).burst(burst);
            let mut caller = Caller::new(quota);
            let mut now = SECOND;
            for (step, cost) in steps {
                // Close to the interval, so that both decisions occur.
                let step = step % (4 * interval);
                clock.advance(Duration::from_nanos(step));
                now += step;
                let cost = NonZeroU32::new(cost).unwrap();
                let expected = governor.check_n(cost).is_ok_and(|cells| cells.is_ok());
                prop_assert_eq!(caller.ask(now, cost).retry_after.is_none(), expected);
            }
        }

        #[test]
        fn no_window_admits_more_than_the_bound(
            permits in 1..2_000_u32,
            burst in 1..50_u32,
            steps in prop::collection::vec(0..SECOND / 50, 1..300),
        ) {
            let quota = Quota::per_second(permits).burst(burst);
            let mut caller = Caller::new(quota);
            let mut now = SECOND;
            let mut admitted = Vec::new();
            for step in steps {
                now += step;
                if caller.admits(now) {
                    admitted.push(now);
                }
            }
            for (first, from) in admitted.iter().enumerate() {
                for (last, to) in admitted.iter().enumerate().skip(first) {
                    let bound = quota.bound(Duration::from_nanos(to - from));
                    prop_assert!((last - first + 1) as u64 <= bound);
                }
            }
        }

        #[test]
        fn a_client_that_waits_is_admitted(
            permits in 1..5_000_u32, burst in 1..100_u32, cost in 1..100_u32, early in 1..SECOND,
        ) {
            let cost = NonZeroU32::new(cost.min(burst)).unwrap();
            let mut caller = Caller::new(Quota::per_second(permits).burst(burst));
            let mut now = SECOND;
            let wait = loop {
                if let Some(wait) = caller.ask(now, cost).retry_after { break wait };
            };
            let wait = u64::try_from(wait.as_nanos()).unwrap();
            now += wait;
            prop_assert!(caller.ask(now - early.min(wait), cost).retry_after.is_some());
            prop_assert!(caller.ask(now, cost).retry_after.is_none());
        }
    }
}
