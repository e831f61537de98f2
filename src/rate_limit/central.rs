//! The shared store's side of a lease, as `charge.lua` does it: for tests and simulations, which have no server.

use super::gcra::Gcra;
use super::lease::Order;

/// The state of one caller under one quota.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Central {
    arrival: u64,
}

/// No node takes more than this part of what is there, unless it needs it.
const SHARE: u64 = 4;

// === impl Central ===

impl Central {
    /// What is owed, and what would be granted: `None` where that is less than is needed.
    pub(crate) fn look(&self, gcra: &Gcra, now: u64, order: Order) -> (u64, Option<u32>) {
        let owed = self.arrival.saturating_sub(now);
        let room = gcra.room(owed);
        if room < gcra.price(order.need.max(order.least)) {
            return (owed, None);
        }
        let share = u32::try_from(room / gcra.price(1) / SHARE).unwrap_or(u32::MAX);
        (owed, Some(order.want.min(share.max(order.need))))
    }

    /// When all permits will be back.
    pub(crate) fn arrival(&self) -> u64 {
        self.arrival
    }

    /// What is owed at a moment.
    pub(crate) fn arrival_at(&self, now: u64) -> u64 {
        self.arrival.saturating_sub(now)
    }

    pub(crate) fn charge(&mut self, gcra: &Gcra, now: u64, order: Order) -> (u64, Option<u32>) {
        let (owed, granted) = self.look(gcra, now, order);
        if let Some(permits) = granted {
            self.arrival = now.saturating_add(owed).saturating_add(gcra.price(permits));
        }
        (owed, granted)
    }
}
