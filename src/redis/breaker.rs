//! When a server that keeps failing is not called, and when it is tried again.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::sync::lock;

/// Lets calls pass until several in a row have failed; then one probe at a time, until one
/// succeeds.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Failures in a row.
    failures: u32,
    /// While calls are stopped.
    open: Option<Open>,
    /// Failed calls in total.
    errors: u64,
    last_error: Option<&'static str>,
    /// How long calls were stopped in total, without the outage that goes on.
    degraded: Duration,
}

/// Times in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Open {
    since: u64,
    probe_at: u64,
}

/// What a caller of the server may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Call.
    Go,
    /// Start a probe, and do not call.
    Probe,
    /// Do not call.
    Stop,
}

/// How a result changed the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    None,
    Opened,
    Closed,
}

/// The history of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BreakerStats {
    pub(crate) is_open: bool,
    pub(crate) errors: u64,
    pub(crate) last_error: Option<&'static str>,
    pub(crate) degraded: Duration,
}

/// Failures in a row that stop the calls.
const FAILURES: u32 = 5;

/// Nanoseconds before the first probe, and between two.
const PROBE_INTERVAL: u64 = 250_000_000;

// === impl Breaker ===

impl Breaker {
    /// Lets one call per interval probe.
    pub(super) fn pass(&self, now: u64) -> Pass {
        match &mut self.lock().open {
            None => Pass::Go,
            Some(open) if open.probe_at <= now => {
                open.probe_at = now.saturating_add(PROBE_INTERVAL);
                Pass::Probe
            }
            Some(_) => Pass::Stop,
        }
    }

    /// A call was answered in time.
    pub(super) fn succeeded(&self) {
        let mut state = self.lock();
        // While the breaker is open only a probe counts: this call was sent before the failures.
        if state.open.is_none() {
            state.failures = 0;
        }
    }

    /// A call was not answered, or with an error.
    pub(super) fn failed(&self, now: u64, error: &'static str) -> Transition {
        let mut state = self.lock();
        state.errors += 1;
        state.last_error = Some(error);
        state.count_failure(now)
    }

    /// A request waited for the call of another request, which failed. It counts as a failure, but
    /// not as a failed call.
    pub(super) fn missed(&self, now: u64) -> Transition {
        self.lock().count_failure(now)
    }

    /// A probe was answered in time.
    pub(super) fn recovered(&self, now: u64) -> Transition {
        let mut state = self.lock();
        state.failures = 0;
        let Some(open) = state.open.take() else {
            return Transition::None;
        };
        state.degraded += Duration::from_nanos(now.saturating_sub(open.since));
        Transition::Closed
    }

    pub(super) fn stats(&self, now: u64) -> BreakerStats {
        let state = self.lock();
        let since = state.open.map_or(now, |open| open.since);
        BreakerStats {
            is_open: state.open.is_some(),
            errors: state.errors,
            last_error: state.last_error,
            degraded: state.degraded + Duration::from_nanos(now.saturating_sub(since)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

// === impl State ===

impl State {
    fn count_failure(&mut self, now: u64) -> Transition {
        self.failures = self.failures.saturating_add(1);
        if self.open.is_some() || self.failures < FAILURES {
            return Transition::None;
        }
        self.open = Some(Open {
            since: now,
            probe_at: now.saturating_add(PROBE_INTERVAL),
        });
        Transition::Opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn opened() -> Breaker {
        let breaker = Breaker::default();
        let transitions: Vec<_> = (0..FAILURES)
            .map(|_| breaker.failed(0, "timeout"))
            .collect();
        assert_eq!(transitions.last(), Some(&Transition::Opened));
        assert!(
            transitions
                .iter()
                .rev()
                .skip(1)
                .all(|transition| *transition == Transition::None)
        );
        breaker
    }

    #[test]
    fn five_failures_in_a_row_stop_calls() {
        let breaker = opened();
        assert_eq!(breaker.pass(0), Pass::Stop);
        assert_eq!(breaker.pass(249 * MS), Pass::Stop);
    }

    #[test]
    fn four_failures_and_a_success_stop_nothing() {
        let breaker = Breaker::default();
        for _ in 0..3 {
            (0..FAILURES - 1)
                .for_each(|_| assert_eq!(breaker.failed(0, "timeout"), Transition::None));
            breaker.succeeded();
            assert_eq!(breaker.pass(0), Pass::Go);
        }
    }

    #[test]
    fn each_waiter_of_a_failed_call_counts() {
        let breaker = Breaker::default();
        breaker.failed(0, "timeout");
        let transitions = [(); 4].map(|()| breaker.missed(0));
        assert_eq!(
            transitions,
            [
                Transition::None,
                Transition::None,
                Transition::None,
                Transition::Opened
            ]
        );
        assert_eq!(breaker.stats(0).errors, 1);
    }

    #[test]
    fn one_probe_per_interval() {
        let breaker = opened();
        assert_eq!(breaker.pass(250 * MS), Pass::Probe);
        assert_eq!(breaker.pass(251 * MS), Pass::Stop);
        assert_eq!(breaker.failed(260 * MS, "timeout"), Transition::None);
        assert_eq!(breaker.pass(499 * MS), Pass::Stop);
        assert_eq!(breaker.pass(500 * MS), Pass::Probe);
    }

    #[test]
    fn only_a_probe_closes_the_breaker() {
        let breaker = opened();
        breaker.succeeded();
        assert_eq!(breaker.pass(1), Pass::Stop);
        assert_eq!(breaker.recovered(900 * MS), Transition::Closed);
        assert_eq!(breaker.pass(900 * MS), Pass::Go);
        assert_eq!(breaker.recovered(901 * MS), Transition::None);
        // Five more failures are needed, not one.
        assert_eq!(breaker.failed(902 * MS, "timeout"), Transition::None);
    }

    #[test]
    fn outages_add_up() {
        let breaker = opened();
        assert_eq!(breaker.stats(30 * MS).degraded, Duration::from_millis(30));
        breaker.recovered(400 * MS);
        for _ in 0..FAILURES {
            breaker.failed(1_000 * MS, "io");
        }
        let stats = breaker.stats(1_100 * MS);
        assert_eq!(stats.degraded, Duration::from_millis(500));
        assert_eq!((stats.errors, stats.last_error), (10, Some("io")));
        assert!(stats.is_open);
    }
}
