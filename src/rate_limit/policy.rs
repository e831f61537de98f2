//! The quotas of a caller, and how they are chosen.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;

use serde_json::Value;
use siphasher::sip::SipHasher13;

use super::gcra::Gcra;
use super::quota::Quota;
use crate::claim_path::ClaimPath;
use crate::identity::Identity;

/// All policies of one caller, in the order of the fields. Never empty.
#[derive(Debug)]
pub(crate) struct Policies(Box<[Policy]>);

/// A quota with a name.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) name: Arc<str>,
    pub(crate) quota: Quota,
    pub(crate) gcra: Gcra,
    /// Hash of name and quota, the same in every process: a quota that is changed starts anew.
    pub(crate) fingerprint: u64,
}

/// How a verified caller gets another quota than the layer's own.
pub(super) enum QuotaChoice {
    /// The first of these that the claim names.
    Plans(ClaimPath, Plans),
    /// The first of these roles that the caller has.
    Roles(Plans),
    /// The number in the claim, with a ceiling.
    Claim(ClaimPath, Quota),
    Custom(Box<ChooseQuota>),
}

/// `None` is the layer's own quota.
type ChooseQuota = dyn Fn(&Identity) -> Option<Quota> + Send + Sync;

/// Quotas by name.
pub(super) type Plans = Box<[(Box<str>, Quota)]>;

// === impl Policies ===

impl Policies {
    /// `None` if nothing limits the caller.
    pub(crate) fn new<'n>(quotas: impl IntoIterator<Item = (&'n Arc<str>, Quota)>) -> Option<Self> {
        let quotas = quotas.into_iter();
        let policies: Box<[_]> = quotas
            .filter(|(_, quota)| !quota.is_unlimited())
            .map(|(name, quota)| Policy::new(name, quota))
            .collect();
        (!policies.is_empty()).then_some(Self(policies))
    }

    /// The policy, if there is only one.
    pub(crate) fn only(&self) -> Option<&Policy> {
        match &*self.0 {
            [policy] => Some(policy),
            _ => None,
        }
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Policy> {
        self.0.iter()
    }

    /// The policies of one of `nodes` processes that decide independently: each has its part of the
    /// rate and of the burst, and a burst of one at least.
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

// === impl QuotaChoice ===

impl QuotaChoice {
    /// `None` is the layer's own quota.
    pub(super) fn quota(&self, caller: &Identity) -> Option<Quota> {
        match self {
            Self::Plans(claim, plans) => {
                let claim = caller.claim_at(claim)?;
                let mut plans = plans.iter();
                Some(plans.find(|(plan, _)| names(claim, plan))?.1)
            }
            Self::Roles(roles) => {
                let mut roles = roles.iter();
                Some(roles.find(|(role, _)| caller.roles().contains(role))?.1)
            }
            Self::Claim(claim, ceiling) => {
                let permits = caller.claim_at(claim)?.as_u64()?;
                Some(ceiling.at_most(u32::try_from(permits).unwrap_or(u32::MAX)))
            }
            Self::Custom(choose) => choose(caller),
        }
    }
}

/// For a manifest: `; plan pro: 250 at once and 1 more every 60ms`.
impl fmt::Display for QuotaChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, plans) = match self {
            Self::Plans(_, plans) => ("plan", plans),
            Self::Roles(roles) => ("role", roles),
            Self::Claim(claim, ceiling) => {
                return write!(f, "; claim {claim}: at most {}", ceiling.in_words());
            }
            Self::Custom(_) => return f.write_str(", or the caller's own quota"),
        };
        for (name, quota) in plans {
            write!(f, "; {kind} {name}: {}", quota.in_words())?;
        }
        Ok(())
    }
}

fn names(claim: &Value, plan: &str) -> bool {
    match claim {
        Value::String(name) => name == plan,
        Value::Array(list) => list.iter().any(|name| name == plan),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_lists_plans() {
        let pro = Quota::per_minute(1_000).burst(250);
        let plans = || -> Plans {
            let others = ("internal".into(), Quota::UNLIMITED);
            [("pro".into(), pro), others].into()
        };
        for (choice, expected) in [
            (
                QuotaChoice::Plans("plan".into(), plans()),
                "; plan pro: 250 at once and 1 more every 60ms; plan internal: any number",
            ),
            (
                QuotaChoice::Roles(plans()),
                "; role pro: 250 at once and 1 more every 60ms; role internal: any number",
            ),
            (
                QuotaChoice::Claim("rpm".into(), pro),
                "; claim rpm: at most 250 at once and 1 more every 60ms",
            ),
            (
                QuotaChoice::Custom(Box::new(|_| None)),
                ", or the caller's own quota",
            ),
        ] {
            assert_eq!(choice.to_string(), expected);
        }
    }
}
