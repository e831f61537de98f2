//! What fetches and purges must agree on before they replace the keys in force.

use std::time::Duration;

use super::distrust::Distrust;

/// Locked while the snapshot is replaced.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) distrust: Distrust,
    expected: Option<Expected>,
}

/// The one fetch whose answer counts.
#[derive(Clone, Copy, Debug)]
struct Expected {
    number: u64,
    until: Duration,
}

// === impl Ledger ===

impl Ledger {
    /// From now on the answer of this fetch counts, and of no other.
    pub(super) fn expect(&mut self, number: u64, until: Duration) {
        self.expected = Some(Expected { number, until });
    }

    pub(super) fn expects_any(&self) -> bool {
        self.expected.is_some()
    }

    /// The fetch that should have ended by now.
    pub(super) fn overdue(&self, now: Duration) -> Option<u64> {
        let overdue = self.expected.filter(|expected| now >= expected.until);
        overdue.map(|expected| expected.number)
    }

    /// Crosses a fetch off; `false` if it was before. What such a one brings may be older than what is in force.
    pub(super) fn strike(&mut self, number: u64) -> bool {
        let expected = self.expected.is_some_and(|e| e.number == number);
        if expected {
            self.expected = None;
        }
        expected
    }
}
