//! Durations as whole numbers.

use std::time::Duration;

/// Nanoseconds; `u64::MAX` for 584 years and more.
pub(crate) fn nanos(duration: Duration) -> u64 {
    // Cheaper than a conversion of `as_nanos`, which is a `u128`.
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(duration.subsec_nanos().into())
}

/// Whole seconds, rounded up, so that a client that waits this long is not early.
pub(crate) fn seconds_rounded_up(duration: Duration) -> u64 {
    let part = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_saturate() {
        assert_eq!(nanos(Duration::new(3, 7)), 3_000_000_007);
        assert_eq!(nanos(Duration::MAX), u64::MAX);
    }

    #[test]
    fn a_part_of_a_second_is_a_second() {
        let seconds = [(0, 0), (0, 1), (1, 0), (1, 999)].map(|(s, n)| Duration::new(s, n));
        assert_eq!(seconds.map(seconds_rounded_up), [0, 1, 1, 2]);
        assert_eq!(seconds_rounded_up(Duration::MAX), u64::MAX);
    }
}
