//! A quota: a rate and a burst.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use crate::error::ConfigError;

/// How many requests a caller may make: a rate, and a burst.
///
/// `per_second(4000)` admits four thousand requests per second. A caller that was idle may send
/// [`burst`](Self::burst) requests at once; after that, permits are refilled one by one at the
/// rate. A quota of 0, or over a period of zero, admits nothing.
///
/// The text form, also with the feature `serde`, is `50/s`, `50/s burst 100`, `1000/30m` or
/// `unlimited`.
///
/// ```
/// use std::time::Duration;
/// use portcullis::Quota;
///
/// let quota = Quota::per_second(50).burst(100);
/// assert_eq!(quota.bound(Duration::from_secs(1)), 150);
/// assert_eq!(quota.bound(Duration::from_secs(60)), 3_100);
/// assert_eq!(Quota::per_second(0).bound(Duration::MAX), 0);
/// assert_eq!("50/s burst 100".parse(), Ok(quota));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    permits: u32,
    period_nanos: u64,
    burst: u32,
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Units of a period, and their nanoseconds.
const UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

// === impl Quota ===

impl Quota {
    /// No limit: nothing is counted, and responses have no fields.
    ///
    /// For some callers of a layer, or for a layer that only limits requests in flight.
    pub const UNLIMITED: Self = Self {
        permits: u32::MAX,
        period_nanos: 1,
        burst: u32::MAX,
    };

    /// This many requests per second.
    #[must_use]
    pub const fn per_second(permits: u32) -> Self {
        Self::per(permits, Duration::from_secs(1))
    }

    /// This many requests per minute.
    #[must_use]
    pub const fn per_minute(permits: u32) -> Self {
        Self::per(permits, Duration::from_secs(60))
    }

    /// This many requests per hour.
    #[must_use]
    pub const fn per_hour(permits: u32) -> Self {
        Self::per(permits, Duration::from_secs(3600))
    }

    /// This many requests per day.
    #[must_use]
    pub const fn per_day(permits: u32) -> Self {
        Self::per(permits, Duration::from_secs(86_400))
    }

    /// This many requests per period.
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

    /// How many requests may come at once. The default is the number of the quota: 50 for
    /// `per_second(50)`.
    #[must_use]
    pub const fn burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    /// The most requests that are admitted in *any* window of this length: the burst, and what is
    /// refilled within the window.
    ///
    /// To promise at most `n` requests in any minute, choose burst and rate so that the bound of a
    /// minute is `n`.
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

    /// This quota, lowered to this many permits per period.
    pub(crate) fn at_most(mut self, permits: u32) -> Self {
        self.permits = self.permits.min(permits);
        self.burst = self.burst.min(permits);
        self
    }

    /// The part of one of `nodes` processes: a fraction of the rate and of the burst, but a burst
    /// of one at least.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub(crate) fn shared_by(mut self, nodes: NonZeroU32) -> Self {
        self.period_nanos = self.period_nanos.saturating_mul(nodes.get().into());
        if self.burst > 0 {
            self.burst = (self.burst / nodes).max(1);
        }
        self
    }

    /// `100 at once and 1 more every 20ms`, for a manifest.
    pub(crate) fn in_words(&self) -> String {
        if self.is_unlimited() {
            return "any number".to_owned();
        }
        if self.admits_nothing() {
            return "nothing".to_owned();
        }
        let interval = Duration::from_nanos(self.interval_nanos());
        format!("{} at once and 1 more every {interval:?}", self.size())
    }

    fn admits_nothing(&self) -> bool {
        self.permits == 0 || self.period_nanos == 0 || self.burst == 0
    }

    /// The most requests that are admitted at once: `q` of the `RateLimit-Policy` field.
    pub(crate) fn size(&self) -> u32 {
        if self.admits_nothing() { 0 } else { self.burst }
    }

    /// How long one permit takes to refill, in nanoseconds. Rounded up, so that never more is
    /// admitted than stated.
    pub(crate) fn interval_nanos(&self) -> u64 {
        let permits = u64::from(self.permits.max(1));
        self.period_nanos.div_ceil(permits).max(1)
    }

    /// How long the whole burst takes to refill, in seconds: `w` of the `RateLimit-Policy` field.
    pub(crate) fn window_seconds(&self) -> u64 {
        let permits = u128::from(self.permits.max(1)) * NANOS_PER_SECOND;
        let nanos = u128::from(self.size().max(1)) * u128::from(self.period_nanos);
        u64::try_from(nanos.div_ceil(permits).max(1)).unwrap_or(u64::MAX)
    }
}

/// `50/s`, `50/s burst 100`, `1000/30m`, or `unlimited`: what [`FromStr`] reads.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unlimited() {
            return f.write_str("unlimited");
        }
        let whole = |unit: &&(&str, u64)| self.period_nanos.is_multiple_of(unit.1);
        let (unit, nanos) = UNITS.iter().rfind(whole).unwrap_or(&("ns", 1));
        write!(f, "{}/", self.permits)?;
        if self.period_nanos != *nanos {
            write!(f, "{}", self.period_nanos / nanos)?;
        }
        f.write_str(unit)?;
        if self.burst != self.permits {
            write!(f, " burst {}", self.burst)?;
        }
        Ok(())
    }
}

impl FromStr for Quota {
    type Err = ConfigError;

    /// Reads `<permits>/<period>`, with ` burst <permits>` if the burst differs. A period is an
    /// optional number and one of `ms`, `s`, `m`, `h` and `d`.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let expected = &["50/s", "50/s burst 100", "1000/30m", "unlimited"];
        let unknown = || ConfigError::unknown_word("quota", text, expected);
        parse(text).ok_or_else(unknown)
    }
}

#[cfg(feature = "serde")]
crate::words::serde_by_text!(Quota);

fn parse(text: &str) -> Option<Quota> {
    if text == "unlimited" {
        return Some(Quota::UNLIMITED);
    }
    let (rate, burst) = match text.split_once(" burst ") {
        Some((rate, burst)) => (rate, Some(number(burst)?)),
        None => (text, None),
    };
    let (permits, period) = rate.split_once('/')?;
    let permits = number(permits)?;
    let digits = period.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (_, nanos) = UNITS
        .iter()
        .find(|(unit, _)| Some(*unit) == period.get(digits.len()..))?;
    let count = if digits.is_empty() {
        1
    } else {
        number(digits)?
    };
    let quota = Quota {
        permits,
        period_nanos: nanos.checked_mul(count.into())?,
        burst: burst.unwrap_or(permits),
    };
    Some(quota)
}

/// Digits alone: `parse` would accept a sign.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
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
    fn a_quota_has_size_window_and_interval() {
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
    fn only_the_interval_is_rounded_up() {
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
    fn shares_of_all_nodes_fit_the_quota() {
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
    fn quotas_are_read_and_written() {
        for (text, quota) in [
            ("50/s", Quota::per_second(50)),
            ("50/s burst 100", Quota::per_second(50).burst(100)),
            ("7/250ms", Quota::per(7, Duration::from_millis(250))),
            ("60/m", Quota::per_minute(60)),
            ("1000/30m", Quota::per(1_000, 1_800 * SECOND)),
            ("1/d", Quota::per_day(1)),
            ("0/s", Quota::per_second(0)),
            ("unlimited", Quota::UNLIMITED),
        ] {
            assert_eq!(text.parse(), Ok(quota), "{text}");
            assert_eq!(quota.to_string(), text);
        }
        assert_eq!("60/1m".parse(), Ok(Quota::per_minute(60)));
        for text in [
            "",
            "50",
            "50/",
            "/s",
            "50/x",
            "50/ s",
            "+50/s",
            "50/s burst",
            "50/s burst -1",
            "50/s burst 1 ",
            "4294967296/s",
            "1/4294967295d",
            "50/m burst 1 burst 2",
        ] {
            let error = text.parse::<Quota>().unwrap_err().to_string();
            assert!(error.contains("50/s burst 100"), "{text:?}: {error}");
        }
    }

    #[test]
    fn unlimited_has_no_bound() {
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
