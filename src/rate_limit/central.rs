//! The server's side of a lease, as `charge.lua` computes it: for tests and simulations without a
//! server.

use super::gcra::Gcra;
use super::lease::LeaseRequest;

/// The state of one caller under one quota.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Central {
    tat: u64,
}

/// A node gets at most this part of what is available, unless it needs more.
const SHARE: u64 = 4;

// === impl Central ===

impl Central {
    /// The debt, and the permits that would be granted; `None` if that is less than the minimum.
    pub(crate) fn peek(&self, gcra: &Gcra, now: u64, request: LeaseRequest) -> (u64, Option<u32>) {
        let debt = self.tat.saturating_sub(now);
        let room = gcra.available(debt);
        if room < gcra.price(request.min.max(request.floor)) {
            return (debt, None);
        }
        let share = u32::try_from(room / gcra.price(1) / SHARE).unwrap_or(u32::MAX);
        (debt, Some(request.desired.min(share.max(request.min))))
    }

    /// When all permits will be refilled.
    pub(crate) fn tat(&self) -> u64 {
        self.tat
    }

    /// The debt at this time.
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
