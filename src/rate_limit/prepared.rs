//! Policies and their fields, prepared once for all callers that have the same quotas.

use std::sync::{Arc, OnceLock};

use super::headers::Fields;
use super::policy::{Policies, QuotaChoice};
use super::quota::Quota;
use crate::identity::Identity;

/// Policies, and what their fields have in common in all responses.
#[derive(Debug)]
pub(super) struct PreparedPolicy {
    policies: Arc<Policies>,
    fields: Fields,
}

/// The quotas of callers, prepared on first use.
pub(super) struct QuotaSelector {
    choice: Arc<QuotaChoice>,
    /// The layer's own quotas, of which the chosen one replaces the first.
    quotas: Box<[(Arc<str>, Quota)]>,
    /// Prepared policies. Further quotas are prepared for each request.
    prepared: [OnceLock<(Quota, Option<Arc<PreparedPolicy>>)>; 16],
}

// === impl PreparedPolicy ===

impl PreparedPolicy {
    /// `None` if nothing limits the caller.
    pub(super) fn new(quotas: &[(Arc<str>, Quota)]) -> Option<Arc<Self>> {
        let policies = Policies::new(quotas.iter().map(|(name, quota)| (name, *quota)))?;
        let fields = Fields::new(&policies);
        let policies = Arc::new(policies);
        Some(Arc::new(Self { policies, fields }))
    }

    pub(super) fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    pub(super) fn fields(&self) -> &Fields {
        &self.fields
    }
}

// === impl QuotaSelector ===

impl QuotaSelector {
    pub(super) fn new(choice: Arc<QuotaChoice>, quotas: &[(Arc<str>, Quota)]) -> Self {
        Self {
            choice,
            quotas: quotas.into(),
            prepared: Default::default(),
        }
    }

    /// `None` if the caller has the layer's own quotas, `Some(None)` if nothing limits it.
    pub(super) fn select(&self, caller: &Identity) -> Option<Option<Arc<PreparedPolicy>>> {
        let quota = self.choice.quota(caller)?;
        for cell in &self.prepared {
            let (known, policy) = cell.get_or_init(|| (quota, self.prepare(quota)));
            if *known == quota {
                return Some(policy.clone());
            }
        }
        Some(self.prepare(quota))
    }

    fn prepare(&self, quota: Quota) -> Option<Arc<PreparedPolicy>> {
        let mut quotas = self.quotas.clone();
        if let Some(first) = quotas.first_mut() {
            first.1 = quota;
        }
        PreparedPolicy::new(&quotas)
    }
}
