//! Decisions while the store does not answer.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::rate_limit::gcra::Verdict;
use crate::rate_limit::memory::Memory;
use crate::rate_limit::policy::Policy;
use crate::rate_limit::store::{Check, Outcome, Source, StoreError};

/// What decides while the store does not answer.
pub(super) enum Fallback {
    /// This process's share of each quota.
    Share { memory: Memory, nodes: NonZeroU32 },
    /// Requests pass.
    Open,
    /// Requests are refused.
    Closed,
}

// === impl Fallback ===

impl Fallback {
    /// An error becomes 503.
    pub(super) fn decide(&self, check: &Check<'_>) -> Result<Outcome, StoreError> {
        match self {
            Self::Closed => Err(StoreError),
            Self::Open => {
                let verdict = |policy: &Policy| Verdict {
                    left: policy.gcra.left(policy.gcra.price(check.cost.get())),
                    retry_after: None,
                };
                Ok(Outcome {
                    verdicts: check.policies.iter().map(verdict).collect(),
                    source: Source::Open,
                })
            }
            Self::Share { memory, nodes } => {
                let policies = &Arc::new(check.policies.shared_by(*nodes));
                let outcome = memory.decide(&Check { policies, ..*check });
                let source = Source::Fallback;
                Ok(Outcome { source, ..outcome })
            }
        }
    }

    /// Charges permits that were used already.
    pub(super) fn charge(&self, check: &Check<'_>) {
        if let Self::Share { memory, nodes } = self {
            let policies = &Arc::new(check.policies.shared_by(*nodes));
            memory.charge(&Check { policies, ..*check });
        }
    }
}
