//! The shared store's side of a lease, as `charge.lua` does it: for tests and simulations, which have no server.

use super::gcra::Gcra;
use super::lease::LeaseRequest;

/// The state of one caller under one quota.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Central {
    tat: u64,
}

/// No node takes more than this part of what is there, unless it needs it.
const SHARE: u64 = 4;

// === impl Central ===

impl Central {
    /// What is debt, and what would be granted: `None` where that is less than is needed.
    pub(crate) fn peek(&self, gcra: &Gcra, now: u64, request: LeaseRequest) -> (u64, Option<u32>) {
        let debt = self.tat.saturating_sub(now);
        let room = gcra.available(debt);
        if room < gcra.price(request.min.max(request.floor)) {
            return (debt, None);
        }
        let share = u32::try_from(room / gcra.price(1) / SHARE).unwrap_or(u32::MAX);
        (debt, Some(request.desired.min(share.max(request.min))))
    }

    /// When all permits will be back.
    pub(crate) fn tat(&self) -> u64 {
        self.tat
    }

    /// What is debt at a moment.
    pub(crate) fn debt_at(&self, now: u64) -> u64 {
        self.tat.saturating_sub(now)
    }

    pub(crate) fn charge(
        &mut self,
        gcra: &Gcra,
        now: u64,
        request: LeaseRequest,
    ) -> (u64, Option<u32>) {
        let (debt, granted) = self.peek(gcra, now, request);
        if let Some(permits) = granted {
            self.tat = now.saturating_add(debt).saturating_add(gcra.price(permits));
        }
        (debt, granted)
    }
}
