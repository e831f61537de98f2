//! The quotas that apply to a caller, made ready to decide: one, or several at once.

use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use super::gcra::Gcra;
use super::quota::Quota;

/// All policies of one caller, in the order in which clients are told of them. Never empty.
#[derive(Debug)]
pub(crate) struct Policies(Box<[Policy]>);

/// A quota with a name.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) name: Arc<str>,
    pub(crate) quota: Quota,
    pub(crate) gcra: Gcra,
    /// Tells the policy from any other, in every process alike: a quota that was changed starts anew.
    pub(crate) fingerprint: u64,
}

// === impl Policies ===

impl Policies {
    /// `None` where nothing limits the caller.
    pub(crate) fn new<'n>(quotas: impl IntoIterator<Item = (&'n Arc<str>, Quota)>) -> Option<Self> {
        let limits = quotas
            .into_iter()
            .filter(|(_, quota)| !quota.is_unlimited());
        let policies: Box<[_]> = limits
            .map(|(name, quota)| Policy::new(name, quota))
            .collect();
        (!policies.is_empty()).then_some(Self(policies))
    }

    /// The policy, where there is but one.
    pub(crate) fn only(&self) -> Option<&Policy> {
        match &*self.0 {
            [policy] => Some(policy),
            _ => None,
        }
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Policy> {
        self.0.iter()
    }

    /// The policies of one of `nodes` processes that have to do without each other: each has its part of the rate and of
    /// the burst, and at least a burst of one.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub(crate) fn shared_by(&self, nodes: NonZeroU32) -> Self {
        let shares = self
            .iter()
            .map(|policy| Policy::new(&policy.name, policy.quota.shared_by(nodes)));
        Self(shares.collect())
    }
}

// === impl Policy ===

impl Policy {
    fn new(name: &Arc<str>, quota: Quota) -> Self {
        let mut hasher = SipHasher13::new();
        (&**name, quota).hash(&mut hasher);
        Self {
            name: Arc::clone(name),
            quota,
            gcra: Gcra::new(&quota),
            fingerprint: hasher.finish(),
        }
    }
}
