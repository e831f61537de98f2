//! A caller's policies and what clients are told of them, made once for all who have the same.

use std::sync::{Arc, OnceLock};

use http::HeaderValue;

use super::fields::{self, Fields};
use super::gcra::Left;
use super::policy::Policies;
use super::quota::Quota;
use super::store::Verdicts;
use crate::identity::Identity;

/// Policies, and what clients are told of them.
#[derive(Debug)]
pub(super) struct Ready {
    policies: Arc<Policies>,
    fields: Fields,
}

/// Chooses a verified caller's quota; `None` is the layer's own.
pub(super) type QuotaFor = dyn Fn(&Identity) -> Option<Quota> + Send + Sync;

/// Quotas by caller.
pub(super) struct Chosen {
    choose: Arc<QuotaFor>,
    /// The layer's own quotas, of which the first gives way.
    quotas: Box<[(Arc<str>, Quota)]>,
    /// What was made already. A layer has few plans; what finds no place is made for each request.
    known: [OnceLock<(Quota, Option<Arc<Ready>>)>; 16],
}

// === impl Ready ===

impl Ready {
    /// `None` where nothing limits the caller.
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

    /// The fields that name one quota: that of which least is left.
    pub(super) fn legacy(&self, left: impl IntoIterator<Item = Left>) -> Option<[HeaderValue; 3]> {
        let policies = self.policies.iter().zip(left);
        let (policy, left) = policies.min_by_key(|(_, left)| left.permits)?;
        Some(fields::legacy(policy.quota.size(), left))
    }

    /// The names of the policies that refuse.
    pub(super) fn violated(&self, verdicts: &Verdicts) -> Vec<Arc<str>> {
        let policies = self.policies.iter().zip(verdicts.as_slice());
        let refusing = policies.filter(|(_, verdict)| verdict.retry_after.is_some());
        refusing
            .map(|(policy, _)| Arc::clone(&policy.name))
            .collect()
    }
}

// === impl Chosen ===

impl Chosen {
    pub(super) fn new(choose: Arc<QuotaFor>, quotas: &[(Arc<str>, Quota)]) -> Self {
        Self {
            choose,
            quotas: quotas.into(),
            known: Default::default(),
        }
    }

    /// `None` where the caller has the layer's own quotas, `Some(None)` where nothing limits it.
    pub(super) fn ready(&self, caller: &Identity) -> Option<Option<Arc<Ready>>> {
        let quota = (self.choose)(caller)?;
        for cell in &self.known {
            let (known, ready) = cell.get_or_init(|| (quota, self.make(quota)));
            if *known == quota {
                return Some(ready.clone());
            }
        }
        Some(self.make(quota))
    }

    fn make(&self, quota: Quota) -> Option<Arc<Ready>> {
        let mut quotas = self.quotas.clone();
        if let Some(first) = quotas.first_mut() {
            first.1 = quota;
        }
        Ready::new(&quotas)
    }
}
