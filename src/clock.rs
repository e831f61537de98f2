//! The one place that reads the time.
//!
//! Two kinds of time, never mixed: *wall* time for what a token states (`exp`, `nbf`, `iat`), *monotonic* time for
//! limits and caches, which must not jump when an operator corrects the clock.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, Ordering},
};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::duration::nanos;

/// Where a layer reads the time. The default is the system's clock.
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Clock, ManualClock};
///
/// let hands = ManualClock::at(1_800_000_000);
/// let clock = Clock::from(hands.clone());
/// hands.advance(Duration::from_secs(60));
/// assert_eq!(clock.unix_time(), Duration::from_secs(1_800_000_060));
/// ```
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that moves only when it is told to, for tests.
    Manual(ManualClock),
}

/// A clock that moves only when it is told to. Clones share their hands.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    unix_nanos: AtomicU64,
    monotonic_nanos: AtomicU64,
}

/// The system's monotonic time, read once for all that ask during one decision: to read it costs more than most of them do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    at: Instant,
    monotonic: Duration,
}

// === impl Clock ===

impl Clock {
    /// Wall time since the Unix epoch; zero if the system's clock stands before it.
    #[must_use]
    #[allow(clippy::disallowed_methods)] // the one place that reads the time
    pub fn unix_time(&self) -> Duration {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            Self::Manual(clock) => Duration::from_nanos(clock.0.unix_nanos.load(Ordering::Acquire)),
        }
    }

    /// Time that never goes backwards, since an arbitrary moment before the first call.
    #[must_use]
    #[allow(clippy::disallowed_methods)]
    pub fn monotonic(&self) -> Duration {
        match self {
            Self::System => since_start(Instant::now()),
            Self::Manual(clock) => {
                Duration::from_nanos(clock.0.monotonic_nanos.load(Ordering::Acquire))
            }
        }
    }
}

impl Clock {
    /// [`monotonic`](Self::monotonic) time at `reading`.
    pub(crate) fn monotonic_at(&self, reading: Reading) -> Duration {
        match self {
            Self::System => reading.monotonic,
            Self::Manual(_) => self.monotonic(),
        }
    }

    /// [`unix_time`](Self::unix_time) at `reading`. A correction of the system's clock is heeded an eighth of a second late.
    pub(crate) fn unix_time_at(&self, reading: Reading) -> Duration {
        match self {
            Self::System => reading.unix_time(),
            Self::Manual(_) => self.unix_time(),
        }
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self::Manual(clock)
    }
}

// === impl Reading ===

impl Reading {
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn now() -> Self {
        let at = Instant::now();
        let monotonic = since_start(at);
        Self { at, monotonic }
    }

    #[allow(clippy::disallowed_methods)]
    pub(crate) fn elapsed(self) -> Duration {
        self.at.elapsed()
    }

    /// By how far the two kinds of time were apart when that was looked at last, an eighth of a second ago at most.
    fn unix_time(self) -> Duration {
        static APART: AtomicU64 = AtomicU64::new(0);
        static LOOKED_AT: AtomicU64 = AtomicU64::new(0);
        let monotonic = nanos(self.monotonic);
        let eighth = monotonic >> 27;
        // Two who look at once find the same.
        if LOOKED_AT.load(Ordering::Acquire) != eighth {
            let unix_time = nanos(Clock::System.unix_time());
            let apart = unix_time.wrapping_sub(nanos(Clock::System.monotonic()));
            APART.store(apart, Ordering::Relaxed);
            LOOKED_AT.store(eighth, Ordering::Release);
        }
        Duration::from_nanos(monotonic.wrapping_add(APART.load(Ordering::Relaxed)))
    }
}

// === impl ManualClock ===

impl ManualClock {
    /// A clock whose wall time is `unix_seconds` seconds after the Unix epoch.
    #[must_use]
    pub fn at(unix_seconds: u64) -> Self {
        Self(Arc::new(Hands {
            unix_nanos: AtomicU64::new(unix_seconds.saturating_mul(1_000_000_000)),
            monotonic_nanos: AtomicU64::new(3_600_000_000_000),
        }))
    }

    /// Moves both kinds of time forward.
    pub fn advance(&self, by: Duration) {
        let nanos = nanos(by);
        self.0.unix_nanos.fetch_add(nanos, Ordering::AcqRel);
        self.0.monotonic_nanos.fetch_add(nanos, Ordering::AcqRel);
    }

    /// Sets wall time alone, as an operator who corrects the system's clock does.
    pub fn set_unix_time(&self, since_epoch: Duration) {
        self.0
            .unix_nanos
            .store(nanos(since_epoch), Ordering::Release);
    }
}

/// The time this many seconds after the Unix epoch; the end of the year 9999 for later ones, which some platforms cannot
/// represent.
pub(crate) fn system_time(unix_seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(unix_seconds.min(253_402_300_799))
}

/// An hour ahead of the process's start, so that a reader may subtract without reaching zero.
#[allow(clippy::disallowed_methods)]
fn since_start(now: Instant) -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    now.saturating_duration_since(*START) + Duration::from_secs(3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_moves_forward() {
        let clock = Clock::System;
        let before = clock.monotonic();
        assert!(clock.monotonic() >= before);
        assert!(clock.unix_time() > Duration::from_secs(1_700_000_000));
    }

    #[test]
    fn one_reading_tells_both_kinds_of_time() {
        let (wall, monotonic) = (Clock::System.unix_time(), Clock::System.monotonic());
        for _ in 0..1_000 {
            let reading = Reading::now();
            assert!(Clock::System.monotonic_at(reading) >= monotonic);
            let behind = wall.saturating_sub(Clock::System.unix_time_at(reading));
            assert!(behind < Duration::from_secs(1), "{behind:?}");
        }
        let ahead = Clock::System.unix_time_at(Reading::now());
        let ahead = ahead.saturating_sub(Clock::System.unix_time());
        assert!(ahead < Duration::from_secs(1), "{ahead:?}");

        let hands = ManualClock::at(1_000);
        let clock = Clock::from(hands.clone());
        let reading = Reading::now();
        hands.advance(Duration::from_secs(5));
        assert_eq!(clock.unix_time_at(reading), Duration::from_secs(1_005));
        assert_eq!(clock.monotonic_at(reading), clock.monotonic());
    }

    #[test]
    fn a_corrected_wall_clock_leaves_monotonic_time_alone() {
        let hands = ManualClock::at(1_000);
        let clock = Clock::from(hands.clone());
        let before = clock.monotonic();
        hands.set_unix_time(Duration::from_secs(10));
        assert_eq!(clock.unix_time(), Duration::from_secs(10));
        assert_eq!(clock.monotonic(), before);
    }
}
