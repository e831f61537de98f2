//! The storage of the callers' states: memory, or a store that several processes share.
//!
//! Memory is not a [`Store`]: it always decides at once, so the limit calls it directly. A store is
//! asked in this order:
//!
//! 1. [`try_local`](Store::try_local) decides without I/O if it can. The request then costs as
//!    little as with memory: no box, no clone of the inner service.
//! 2. Otherwise the request waits for [`ask`](Store::ask), which has its own deadline. Its future
//!    is dropped when the client disconnects.
//! 3. An error of `ask` becomes 503 with `Retry-After`. A store that handles its outages itself, by
//!    the share of the quota or by admitting every request, returns no error.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::gcra::{Left, Verdict};
use super::key::Key;
use super::policy::Policies;

/// Keeps the states of callers for several processes.
pub(crate) trait Store: fmt::Debug + Send + Sync {
    /// Decides without I/O: by leased permits, or by a refusal that still holds. `None` if the
    /// store must be asked.
    ///
    /// Called on the request path: it must not block, nor allocate if it decides.
    fn try_local(&self, check: &Check<'_>) -> Option<Outcome>;

    /// Decides by the shared state, within a deadline.
    ///
    /// A call that may have charged the caller is never repeated.
    fn ask(&self, check: &Check<'_>) -> OutcomeFuture;

    /// Charges permits that were used already, which may leave the caller in debt.
    ///
    /// Called on the response path: it must not block, and does its I/O in another task. A lost
    /// charge is in favor of the caller.
    fn charge(&self, check: &Check<'_>);
}

/// The pending answer of a store.
pub(crate) type OutcomeFuture = Pin<Box<dyn Future<Output = Result<Outcome, StoreError>> + Send>>;

/// One question: may this caller have `cost` permits of *each* of its policies?
///
/// All or nothing: if one policy refuses, no policy is charged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check<'a> {
    /// The caller. A store combines it with the fingerprint of each policy.
    pub(crate) key: Key,
    pub(crate) policies: &'a Arc<Policies>,
    pub(crate) cost: NonZeroU32,
    pub(crate) purpose: Purpose,
    /// Monotonic time of this process, in nanoseconds.
    pub(crate) now: u64,
}

/// What a decision is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Charges the request if it is admitted.
    Acquire,
    /// Decides only. The charge, if any, is made by [`Store::charge`] once the response is known.
    Peek,
}

/// The decision about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) verdicts: Verdicts,
    pub(crate) source: Source,
}

/// One verdict per policy, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdicts {
    // Most layers have one policy; this case does not allocate.
    One(Verdict),
    Several(Box<[Verdict]>),
}

/// Where a decision comes from, for metrics.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// This process's memory.
    Local,
    /// The shared state itself.
    Exact,
    /// Permits that were leased from the shared state.
    Leased,
    /// This process's share of the quota, during an outage of the store.
    Fallback,
    /// No decision: requests pass during an outage of the store.
    Open,
}

/// A store that did not answer. The store reports the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of rate limits did not answer")]
pub(crate) struct StoreError;

// === impl Verdicts ===

impl Verdicts {
    /// Whether every policy admits the request.
    pub(crate) fn admit(&self) -> bool {
        let mut verdicts = self.as_slice().iter();
        verdicts.all(|verdict| verdict.retry_after.is_none())
    }

    /// What is left of each policy.
    pub(crate) fn left(&self) -> impl Iterator<Item = Left> + Clone {
        self.as_slice().iter().map(|verdict| verdict.left)
    }

    /// Subtracts a later charge from what is left, as an estimate.
    pub(crate) fn subtract(&mut self, cost: NonZeroU32) {
        let verdicts = match self {
            Self::One(verdict) => std::slice::from_mut(verdict),
            Self::Several(verdicts) => verdicts,
        };
        for verdict in verdicts {
            verdict.left.permits = verdict.left.permits.saturating_sub(cost.get());
        }
    }

    /// How long a refused request must wait: until the last of the refusing policies admits it.
    /// `Retry-After` overrides `t`, so it is never the earlier one.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let verdicts = self.as_slice().iter();
        let waits = verdicts.filter_map(|v| Some(v.retry_after?.max(v.left.more_in)));
        waits.max()
    }

    pub(crate) fn as_slice(&self) -> &[Verdict] {
        match self {
            Self::One(verdict) => std::slice::from_ref(verdict),
            Self::Several(verdicts) => verdicts,
        }
    }
}

impl FromIterator<Verdict> for Verdicts {
    fn from_iter<I: IntoIterator<Item = Verdict>>(verdicts: I) -> Self {
        let mut verdicts = verdicts.into_iter();
        match (verdicts.next(), verdicts.next()) {
            (Some(one), None) => Self::One(one),
            (first, second) => {
                let head = first.into_iter().chain(second);
                Self::Several(head.chain(verdicts).collect())
            }
        }
    }
}

// === impl StoreError ===

impl StoreError {
    /// `Retry-After`: longer than it takes to notice that the store is back.
    pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

    /// In addition to [`Source`], for a rejection without a decision.
    pub(crate) const SOURCE: &'static str = "closed";
}

// === impl Source ===

impl Source {
    pub(crate) const COUNT: usize = Self::Open as usize + 1;

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Exact => "exact",
            Self::Leased => "leased",
            Self::Fallback => "fallback",
            Self::Open => "open",
        }
    }
}

#[cfg(test)]
mod tests;
