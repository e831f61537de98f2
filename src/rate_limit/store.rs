//! Where callers' states are kept: in this process's memory, or in a store that several processes share.
//!
//! Memory is no [`Store`]: it always answers at once, so the limit calls it directly. Everything else stands behind the
//! trait, and the limit asks it in this order:
//!
//! 1. [`try_local`](Store::try_local) answers without I/O where it can. The request then passes or is refused as
//!    cheaply as from memory: no box, no clone of the inner service.
//! 2. Else the request waits for [`ask`](Store::ask), which has a deadline of its own. Its future outlives the request's
//!    stack and is dropped when the client goes away.
//! 3. An error of `ask` is 503 with `Retry-After`. A store that answers its own failures otherwise, by the quota's share
//!    or by letting pass, wraps the store that failed and never returns one.

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
    /// Decides without I/O: from permits that were leased before, or by a refusal that still holds. `None` says that
    /// the store must be asked.
    ///
    /// It is called on the request path and must neither block nor, where it answers, allocate.
    fn try_local(&self, check: &Check<'_>) -> Option<Outcome>;

    /// Decides by the shared state. The answer comes within the store's own deadline.
    ///
    /// What may have been charged is never asked a second time.
    fn ask(&self, check: &Check<'_>) -> Asking;

    /// Charges what has already been spent: it can no more be refused, and may leave the caller in debt.
    ///
    /// It is called when the response is there, on the request path: it must not block, and does its I/O, if any, in
    /// a task of its own. A charge that is lost is in the caller's favour.
    fn charge(&self, check: &Check<'_>);
}

/// The answer of a store that is on its way.
pub(crate) type Asking = Pin<Box<dyn Future<Output = Result<Outcome, StoreError>> + Send>>;

/// One question: may this caller have so many permits of *each* of its policies?
///
/// All or nothing: where one policy refuses, no policy is charged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check<'a> {
    /// The caller, whatever the policy: a store combines it with each policy's fingerprint.
    pub(crate) key: Key,
    pub(crate) policies: &'a Arc<Policies>,
    pub(crate) cost: NonZeroU32,
    pub(crate) purpose: Purpose,
    /// Monotonic time of this process, in nanoseconds.
    pub(crate) now: u64,
}

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An admitted request is charged.
    Acquire,
    /// Nothing is charged, and verdicts tell what is left as it stands: the response will tell whether, and how much ([`Store::charge`]).
    Peek,
}

/// What was decided about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) verdicts: Verdicts,
    pub(crate) source: Source,
}

/// A verdict for each of the policies, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdicts {
    // Most layers have one policy, which thus allocates nothing.
    One(Verdict),
    Several(Box<[Verdict]>),
}

/// Where an answer comes from, for metrics.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// This process's memory.
    Local,
    /// The shared state itself.
    Exact,
    /// Permits that were leased from the shared state.
    Leased,
    /// This process's share of the quota, while the store is out of reach.
    Fallback,
    /// Nothing: the store is out of reach, and requests pass.
    Open,
}

/// A store that did not answer. What went wrong is the store's to report.
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
    pub(crate) fn left(&self) -> impl Iterator<Item = Left> {
        self.as_slice().iter().map(|verdict| verdict.left)
    }

    /// What is left once so much more is charged, as far as that can be told.
    pub(crate) fn subtract(&mut self, cost: NonZeroU32) {
        let verdicts = match self {
            Self::One(verdict) => std::slice::from_mut(verdict),
            Self::Several(verdicts) => verdicts,
        };
        for verdict in verdicts {
            verdict.left.permits = verdict.left.permits.saturating_sub(cost.get());
        }
    }

    /// How long a refused request had better wait: until the last of those that refuse would admit it. `Retry-After`
    /// overrides `t`, so it must never be the earlier one.
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
    /// What clients are told to wait: longer than it takes to notice that the store is back.
    pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

    /// Beside the names of [`Source`], for a refusal that nobody decided.
    pub(crate) const SOURCE: &'static str = "closed";
}

// === impl Source ===

impl Source {
    /// How many there are.
    pub(crate) const ALL: usize = Self::Open as usize + 1;

    pub(crate) const fn name(self) -> &'static str {
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
