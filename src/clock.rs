//! The only module that reads the time.
//!
//! *Wall* time is compared with the times in a token (`exp`, `nbf`, `iat`). *Monotonic* time drives
//! limits and caches, which must not jump when an operator corrects the clock. The two are never
//! mixed.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, Ordering},
};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::duration::nanos;

/// The clock that a layer reads. The default is the system clock.
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Clock, ManualClock};
///
/// let manual = ManualClock::at(1_800_000_000);
/// let clock = Clock::from(manual.clone());
/// manual.advance(Duration::from_secs(60));
/// assert_eq!(clock.unix_time(), Duration::from_secs(1_800_000_060));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Clock {
    /// The system clock.
    #[default]
    System,
    /// A clock for tests, which moves only when the test moves it.
    Manual(ManualClock),
}

/// A clock for tests, which moves only when the test moves it. Clones share the time.
///
/// ```
/// use std::time::Duration;
/// use portcullis::{JwtAuthLayer, ManualClock, TestIssuer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = ManualClock::at(1_800_000_000);
/// let issuer = TestIssuer::offline_with(portcullis::Algorithm::ES256, clock.clone())?;
/// let token = issuer.token("alice").sign(); // valid for 5 minutes
/// # let keys = portcullis::JwksSource::keys(issuer.issuer(), issuer.key_set()?);
/// # let own = portcullis::Issuer::new(issuer.issuer()).audience(issuer.audience());
/// # let own = own.with_keys(portcullis::JwksCache::new([keys])?);
/// let auth = JwtAuthLayer::new([own])?.clock(clock.clone());
/// assert!(auth.verify_now(&token).is_ok());
/// clock.advance(Duration::from_secs(3600));
/// assert!(auth.verify_now(&token).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Times>);

#[derive(Debug)]
struct Times {
    unix_nanos: AtomicU64,
    monotonic_nanos: AtomicU64,
}

/// One reading of the system's monotonic time, shared by all steps of one decision.
///
/// Wall time is derived from it. That costs 12 ns; reading the system clock a second time would
/// cost 106 ns, and the whole decision for a cached token takes a few hundred.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    at: Instant,
    monotonic: Duration,
}

// === impl Clock ===

impl Clock {
    /// Wall time since the Unix epoch; zero if the system clock is before it.
    #[must_use]
    #[allow(clippy::disallowed_methods)] // the only module that reads the time
    pub fn unix_time(&self) -> Duration {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            Self::Manual(clock) => Duration::from_nanos(clock.0.unix_nanos.load(Ordering::Acquire)),
        }
    }

    /// Time since an arbitrary moment before the first call. It never goes backwards.
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

    /// [`monotonic`](Self::monotonic) time at `reading`.
    pub(crate) fn monotonic_at(&self, reading: Reading) -> Duration {
        match self {
            Self::System => reading.monotonic,
            Self::Manual(_) => self.monotonic(),
        }
    }

    /// [`unix_time`](Self::unix_time) at `reading`. A correction of the system clock is seen up to
    /// 134 ms late.
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

    /// Monotonic time plus the offset of wall time, which is read anew every 2^27 ns (134 ms).
    fn unix_time(self) -> Duration {
        static OFFSET: AtomicU64 = AtomicU64::new(0);
        static READ_IN: AtomicU64 = AtomicU64::new(0);
        let monotonic = nanos(self.monotonic);
        let interval = monotonic >> 27;
        // Concurrent readers compute the same offset.
        if READ_IN.load(Ordering::Acquire) != interval {
            let unix_time = nanos(Clock::System.unix_time());
            let offset = unix_time.wrapping_sub(nanos(Clock::System.monotonic()));
            OFFSET.store(offset, Ordering::Relaxed);
            READ_IN.store(interval, Ordering::Release);
        }
        Duration::from_nanos(monotonic.wrapping_add(OFFSET.load(Ordering::Relaxed)))
    }
}

// === impl ManualClock ===

impl ManualClock {
    /// A clock whose wall time is `unix_seconds` seconds after the Unix epoch.
    #[must_use]
    pub fn at(unix_seconds: u64) -> Self {
        Self(Arc::new(Times {
            unix_nanos: AtomicU64::new(unix_seconds.saturating_mul(1_000_000_000)),
            monotonic_nanos: AtomicU64::new(3_600_000_000_000),
        }))
    }

    /// Moves wall time and monotonic time forward.
    pub fn advance(&self, by: Duration) {
        let nanos = nanos(by);
        self.0.unix_nanos.fetch_add(nanos, Ordering::AcqRel);
        self.0.monotonic_nanos.fetch_add(nanos, Ordering::AcqRel);
    }

    /// Sets wall time only, as a correction of the system clock does.
    pub fn set_unix_time(&self, since_epoch: Duration) {
        self.0
            .unix_nanos
            .store(nanos(since_epoch), Ordering::Release);
    }
}

/// Returns the time `unix_seconds` after the Unix epoch. Times after the year 9999, which some
/// platforms cannot represent, become the end of that year.
pub(crate) fn system_time(unix_seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(unix_seconds.min(253_402_300_799))
}

/// Time since the first call, plus one hour, so that a subtraction does not reach zero.
#[allow(clippy::disallowed_methods)]
fn since_start(now: Instant) -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    now.saturating_duration_since(*START) + Duration::from_secs(3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_moves_forward() {
        let clock = Clock::System;
        let before = clock.monotonic();
        assert!(clock.monotonic() >= before);
        assert!(clock.unix_time() > Duration::from_secs(1_700_000_000));
    }

    #[test]
    fn one_reading_gives_wall_and_monotonic_time() {
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

        let manual = ManualClock::at(1_000);
        let clock = Clock::from(manual.clone());
        let reading = Reading::now();
        manual.advance(Duration::from_secs(5));
        assert_eq!(clock.unix_time_at(reading), Duration::from_secs(1_005));
        assert_eq!(clock.monotonic_at(reading), clock.monotonic());
    }

    #[test]
    fn corrected_wall_clock_keeps_monotonic_time() {
        let manual = ManualClock::at(1_000);
        let clock = Clock::from(manual.clone());
        let before = clock.monotonic();
        manual.set_unix_time(Duration::from_secs(10));
        assert_eq!(clock.unix_time(), Duration::from_secs(10));
        assert_eq!(clock.monotonic(), before);
    }
}
