//! When a store that fails is left alone, and when it is tried again.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::sync::lock;

/// Lets calls pass until several in a row have failed; then one probe at a time, until one succeeds.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Failures in a row.
    failures: u32,
    /// While calls are kept from the store.
    open: Option<Open>,
    /// Calls that failed, ever.
    errors: u64,
    last: Option<&'static str>,
    /// For how long calls were kept from the store, up to the last time that they were let pass again.
    degraded: Duration,
}

/// Times in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Open {
    since: u64,
    probe_at: u64,
}

/// What a call may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Go,
    /// It may not go, and should see to it that a probe does.
    Probe,
    Stop,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    None,
    Opened,
    Closed,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) is_open: bool,
    pub(super) errors: u64,
    pub(super) last: Option<&'static str>,
    pub(super) degraded: Duration,
}

/// So many failures in a row are no accident.
const FAILURES: u32 = 5;

/// Between two probes, and before the first.
const PAUSE: u64 = 250_000_000;

// === impl Breaker ===

impl Breaker {
    /// Only one call in a pause is told to probe.
    pub(super) fn pass(&self, now: u64) -> Pass {
        match &mut self.lock().open {
            None => Pass::Go,
            Some(open) if open.probe_at <= now => {
                open.probe_at = now.saturating_add(PAUSE);
                Pass::Probe
            }
            Some(_) => Pass::Stop,
        }
    }

    /// A call was answered in time.
    pub(super) fn succeeded(&self) {
        let mut state = self.lock();
        // A call that went out before the others failed proves nothing; a probe does.
        if state.open.is_none() {
            state.failures = 0;
        }
    }

    /// A call was not answered, or with an error.
    pub(super) fn failed(&self, now: u64, why: &'static str) -> Turn {
        let mut state = self.lock();
        state.errors += 1;
        state.last = Some(why);
        state.count(now)
    }

    /// A request waited in vain for another's call. It counts as much as if it had made one of its own.
    pub(super) fn missed(&self, now: u64) -> Turn {
        self.lock().count(now)
    }

    /// A probe was answered in time.
    pub(super) fn recovered(&self, now: u64) -> Turn {
        let mut state = self.lock();
        state.failures = 0;
        let Some(open) = state.open.take() else {
            return Turn::None;
        };
        state.degraded += Duration::from_nanos(now.saturating_sub(open.since));
        Turn::Closed
    }

    pub(super) fn record(&self, now: u64) -> Record {
        let state = self.lock();
        let since = state.open.map_or(now, |open| open.since);
        Record {
            is_open: state.open.is_some(),
            errors: state.errors,
            last: state.last,
            degraded: state.degraded + Duration::from_nanos(now.saturating_sub(since)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

// === impl State ===

impl State {
    fn count(&mut self, now: u64) -> Turn {
        self.failures = self.failures.saturating_add(1);
        if self.open.is_some() || self.failures < FAILURES {
            return Turn::None;
        }
        self.open = Some(Open {
            since: now,
            probe_at: now.saturating_add(PAUSE),
        });
        Turn::Opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn opened() -> Breaker {
        let breaker = Breaker::default();
        let turns: Vec<_> = (0..FAILURES)
            .map(|_| breaker.failed(0, "timeout"))
            .collect();
        assert_eq!(turns.last(), Some(&Turn::Opened));
        assert!(turns.iter().rev().skip(1).all(|turn| *turn == Turn::None));
        breaker
    }

    #[test]
    fn five_failures_in_a_row_stop_the_calls() {
        let breaker = opened();
        assert_eq!(breaker.pass(0), Pass::Stop);
        assert_eq!(breaker.pass(249 * MS), Pass::Stop);
    }

    #[test]
    fn four_failures_and_an_answer_stop_nothing() {
        let breaker = Breaker::default();
        for _ in 0..3 {
            (0..FAILURES - 1).for_each(|_| assert_eq!(breaker.failed(0, "timeout"), Turn::None));
            breaker.succeeded();
            assert_eq!(breaker.pass(0), Pass::Go);
        }
    }

    #[test]
    fn those_who_wait_for_one_call_count_each() {
        let breaker = Breaker::default();
        breaker.failed(0, "timeout");
        let turns = [(); 4].map(|()| breaker.missed(0));
        assert_eq!(turns, [Turn::None, Turn::None, Turn::None, Turn::Opened]);
        assert_eq!(breaker.record(0).errors, 1);
    }

    #[test]
    fn one_call_in_a_pause_is_told_to_probe() {
        let breaker = opened();
        assert_eq!(breaker.pass(250 * MS), Pass::Probe);
        assert_eq!(breaker.pass(251 * MS), Pass::Stop);
        assert_eq!(breaker.failed(260 * MS, "timeout"), Turn::None);
        assert_eq!(breaker.pass(499 * MS), Pass::Stop);
        assert_eq!(breaker.pass(500 * MS), Pass::Probe);
    }

    #[test]
    fn a_probe_that_is_answered_lets_calls_pass_and_a_late_answer_does_not() {
        let breaker = opened();
        breaker.succeeded();
        assert_eq!(breaker.pass(1), Pass::Stop);
        assert_eq!(breaker.recovered(900 * MS), Turn::Closed);
        assert_eq!(breaker.pass(900 * MS), Pass::Go);
        assert_eq!(breaker.recovered(901 * MS), Turn::None);
        // Five more failures are needed, not one.
        assert_eq!(breaker.failed(902 * MS, "timeout"), Turn::None);
    }

    #[test]
    fn time_without_the_store_adds_up() {
        let breaker = opened();
        assert_eq!(breaker.record(30 * MS).degraded, Duration::from_millis(30));
        breaker.recovered(400 * MS);
        for _ in 0..FAILURES {
            breaker.failed(1_000 * MS, "io");
        }
        let record = breaker.record(1_100 * MS);
        assert_eq!(record.degraded, Duration::from_millis(500));
        assert_eq!((record.errors, record.last), (10, Some("io")));
        assert!(record.is_open);
    }
}
