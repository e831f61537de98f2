//! A caller's policies and what clients are told of them, made once for all who have the same.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::fields::{Fields, RATE_LIMIT, RATE_LIMIT_POLICY};
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

    /// What a client is told where there is one policy.
    pub(super) fn tell_one(&self, left: Left, headers: &mut HeaderMap) {
        headers.append(&RATE_LIMIT_POLICY, self.fields.policy());
        headers.append(&RATE_LIMIT, self.fields.state([left]));
    }

    pub(super) fn tell(&self, verdicts: &Verdicts, headers: &mut HeaderMap) {
        for (name, value) in self.told(verdicts) {
            headers.append(name, value);
        }
    }

    pub(super) fn told(
        &self,
        verdicts: &Verdicts,
    ) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let left = verdicts.as_slice().iter().map(|verdict| verdict.left);
        let state = self.fields.state(left);
        [
            (RATE_LIMIT_POLICY.clone(), self.fields.policy()),
            (RATE_LIMIT.clone(), state),
        ]
        .into_iter()
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
