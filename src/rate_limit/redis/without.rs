//! What decides while the store does not answer.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::rate_limit::gcra::Verdict;
use crate::rate_limit::memory::Memory;
use crate::rate_limit::policy::Policy;
use crate::rate_limit::store::{Check, Outcome, Source, StoreError};

/// What decides while the store does not answer.
pub(super) enum Without {
    /// This process's share of each quota.
    Share { memory: Memory, nodes: NonZeroU32 },
    /// Nothing: requests pass.
    Open,
    /// Nothing: requests are refused.
    Closed,
}

// === impl Without ===

impl Without {
    /// An error is 503.
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

    /// Charges what can no more be refused.
    pub(super) fn settle(&self, check: &Check<'_>) {
        if let Self::Share { memory, nodes } = self {
            let policies = &Arc::new(check.policies.shared_by(*nodes));
            memory.settle(&Check { policies, ..*check });
        }
    }
}
