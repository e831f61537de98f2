//! How much is admitted: a rate, and the burst that may come at once.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// How many requests a caller may make.
///
/// The names say what is meant: `per_second(4000)` admits four thousand requests a second. Whoever has been quiet may
/// make [`burst`](Self::burst) requests at once; from then on, permits come back one by one at the rate. A quota of 0,
/// and one over no time at all, admits nothing.
///
/// ```
/// use std::time::Duration;
/// use portcullis::Quota;
///
/// let quota = Quota::per_second(50).burst(100);
/// assert_eq!(quota.bound(Duration::from_secs(1)), 150);
/// assert_eq!(quota.bound(Duration::from_secs(60)), 3_100);
/// assert_eq!(Quota::per_second(0).bound(Duration::MAX), 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    permits: u32,
    period_nanos: u64,
    burst: u32,
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

// === impl Quota ===

impl Quota {
    /// No limit: nothing is counted, and clients are told of no quota.
    ///
    /// For some callers of a layer, or for a layer that only limits what is in flight.
    pub const UNLIMITED: Self = Self {
        permits: u32::MAX,
        period_nanos: 1,
        burst: u32::MAX,
    };

    /// So many requests a second.
    #[must_use]
    pub const fn per_second(permits: u32) -> Self {
        Self::per(permits, Duration::from_secs(1))
    }

    /// So many requests a minute.
    #[must_use]
    pub const fn per_minute(permits: u32) -> Self {
        Self::per(permits, Duration::from_secs(60))
    }

    /// So many requests an hour.
    #[must_use]
    pub const fn per_hour(permits: u32) -> Self {
        Self::per(permits, Duration::from_secs(3600))
    }

    /// So many requests a day.
    #[must_use]
    pub const fn per_day(permits: u32) -> Self {
        Self::per(permits, Duration::from_secs(86_400))
    }

    /// So many requests in a period of any length.
    #[must_use]
    pub const fn per(permits: u32, period: Duration) -> Self {
        let nanos = period.as_nanos();
        Self {
            permits,
            // Longer than 584 years is never.
            period_nanos: if nanos > u64::MAX as u128 {
                u64::MAX
            } else {
                nanos as u64
            },
            burst: permits,
        }
    }

    /// How many requests may come at once. The default is the quota's own number: 50 for `per_second(50)`.
    #[must_use]
    pub const fn burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    /// The most that is admitted in *any* window of this length, wherever it starts: the burst, and what comes back in
    /// the meantime.
    ///
    /// To promise at most `n` requests in any minute, choose burst and rate so that the bound of a minute is `n`.
    #[must_use]
    pub fn bound(&self, window: Duration) -> u64 {
        if self.admits_nothing() {
            return 0;
        }
        if self.is_unlimited() {
            return u64::MAX;
        }
        let refilled = window.as_nanos().saturating_mul(u128::from(self.permits))
            / u128::from(self.period_nanos);
        u64::try_from(refilled.saturating_add(u128::from(self.burst))).unwrap_or(u64::MAX)
    }

    pub(crate) fn is_unlimited(&self) -> bool {
        *self == Self::UNLIMITED
    }

    /// This quota, lowered to so many permits in its own period.
    pub(crate) fn at_most(mut self, permits: u32) -> Self {
        self.permits = self.permits.min(permits);
        self.burst = self.burst.min(permits);
        self
    }

    /// The part of one of `nodes` processes: a fraction of the rate, and of the burst, but at least a burst of one.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub(crate) fn shared_by(mut self, nodes: NonZeroU32) -> Self {
        self.period_nanos = self.period_nanos.saturating_mul(nodes.get().into());
        if self.burst > 0 {
            self.burst = (self.burst / nodes).max(1);
        }
        self
    }

    fn admits_nothing(&self) -> bool {
        self.permits == 0 || self.period_nanos == 0 || self.burst == 0
    }

    /// The most that is admitted at once: `q` of the `RateLimit-Policy` field.
    pub(crate) fn size(&self) -> u32 {
        if self.admits_nothing() { 0 } else { self.burst }
    }

    /// How long one permit takes to come back, in nanoseconds.
    ///
    /// It is rounded up, so that never more is admitted than was stated: less than one nanosecond a permit.
    pub(crate) fn interval_nanos(&self) -> u64 {
        let permits = u64::from(self.permits.max(1));
        self.period_nanos.div_ceil(permits).max(1)
    }

    /// How long the whole burst takes to come back, in seconds: `w` of the `RateLimit-Policy` field.
    pub(crate) fn window_seconds(&self) -> u64 {
        let permits = u128::from(self.permits.max(1)) * NANOS_PER_SECOND;
        let nanos = u128::from(self.size().max(1)) * u128::from(self.period_nanos);
        u64::try_from(nanos.div_ceil(permits).max(1)).unwrap_or(u64::MAX)
    }
}

/// `100 at once and 1 more every 20ms`.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.admits_nothing() {
            return f.write_str("nothing");
        }
        let interval = Duration::from_nanos(self.interval_nanos());
        write!(f, "{} at once and 1 more every {interval:?}", self.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[track_caller]
    fn check(quota: Quota, (q, w, interval): (u32, u64, u64)) {
        assert_eq!(
            (quota.size(), quota.window_seconds(), quota.interval_nanos()),
            (q, w, interval),
            "{quota:?}"
        );
    }

    #[test]
    fn a_quota_means_what_it_says() {
        check(Quota::per_second(50).burst(100), (100, 2, 20_000_000));
        check(Quota::per_second(4000), (4000, 1, 250_000));
        check(Quota::per_minute(60), (60, 60, 1_000_000_000));
        check(Quota::per_hour(1), (1, 3600, 3_600_000_000_000));
        check(
            Quota::per(1, Duration::from_millis(500)),
            (1, 1, 500_000_000),
        );
    }

    #[test]
    fn an_interval_is_rounded_up_and_the_window_is_not_affected() {
        check(Quota::per_second(3), (3, 1, 333_333_334));
        check(Quota::per_second(u32::MAX), (u32::MAX, 1, 1));
    }

    #[test]
    fn a_quota_of_nothing_admits_nothing() {
        for quota in [
            Quota::per_second(0),
            Quota::per_second(0).burst(9),
            Quota::per_second(9).burst(0),
            Quota::per(9, Duration::ZERO),
        ] {
            assert_eq!(quota.size(), 0, "{quota:?}");
            assert_eq!(quota.bound(Duration::MAX), 0, "{quota:?}");
            assert!(quota.window_seconds() >= 1);
            assert!(quota.interval_nanos() >= 1);
        }
    }

    #[test]
    fn a_quota_is_lowered_and_never_raised() {
        let ceiling = Quota::per_minute(1_000).burst(50);
        assert_eq!(ceiling.at_most(200), Quota::per_minute(200).burst(50));
        assert_eq!(ceiling.at_most(20), Quota::per_minute(20));
        assert_eq!(ceiling.at_most(u32::MAX), ceiling);
        assert_eq!(ceiling.at_most(0).bound(Duration::MAX), 0);
    }

    #[test]
    fn the_shares_of_all_nodes_are_at_most_the_quota() {
        let of = |nodes| {
            Quota::per_second(50)
                .burst(100)
                .shared_by(NonZeroU32::new(nodes).unwrap())
        };
        for nodes in [1, 3, 7, 100] {
            let minute = of(nodes).bound(60 * SECOND) * u64::from(nodes);
            assert!(minute <= 3_100, "{minute}");
        }
        assert_eq!(of(1_000).size(), 1);
        assert_eq!(
            Quota::per_second(9)
                .burst(0)
                .shared_by(NonZeroU32::MIN)
                .size(),
            0
        );
    }

    #[test]
    fn unlimited_is_without_bound() {
        assert_eq!(Quota::UNLIMITED.bound(Duration::ZERO), u64::MAX);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let quota = Quota::per(1, Duration::MAX).burst(u32::MAX);
        assert_eq!(quota.bound(SECOND), u64::from(u32::MAX));
        assert!(quota.window_seconds() > 1_000_000);
        let _ = Quota::per_second(u32::MAX).bound(Duration::MAX);
    }
}
