//! Which quotas a layer's callers have.

use std::sync::Arc;

use serde_json::Value;

use super::RateLimitLayer;
use crate::claim_path::ClaimPath;
use crate::error::ConfigError;
use crate::identity::Identity;
use crate::rate_limit::fields;
use crate::rate_limit::quota::Quota;

impl RateLimitLayer {
    /// Adds a quota under a name of its own: `.also("daily", Quota::per_day(1_000))`.
    ///
    /// A request needs a permit of every quota. Where one of them refuses, none is charged, and the fields that clients
    /// see list them all.
    ///
    /// # Errors
    ///
    /// When the name is none (see [`named`](Self::named)), or the layer has a quota of that name.
    pub fn also(mut self, name: &str, quota: Quota) -> Result<Self, ConfigError> {
        check_name(name, self.quotas.iter())?;
        self.quotas.push((Arc::from(name), quota));
        Ok(self)
    }

    /// Chooses the quota of each verified caller, in place of the layer's own.
    ///
    /// Whoever is named none has the layer's own, anonymous callers too; [`Quota::UNLIMITED`] is no limit.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let generous = RateLimitLayer::new(Quota::per_minute(10)).by_client().quota_for(|me| {
    ///     me.client()?.starts_with("partner-").then_some(Quota::per_minute(1_000))
    /// });
    /// ```
    pub fn quota_for(
        mut self,
        choose: impl Fn(&Identity) -> Option<Quota> + Send + Sync + 'static,
    ) -> Self {
        self.quota_for = Some(Arc::new(choose));
        self
    }

    /// Gives each verified caller the quota of its plan, in place of the layer's own: the first of `plans` that the claim
    /// names, which is a string or an array of strings.
    ///
    /// Whoever has none of them has the layer's own quota, anonymous callers too.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let limit = RateLimitLayer::new(Quota::per_minute(10)).by_client().plans("plan", [
    ///     ("pro", Quota::per_minute(1_000).burst(250)),
    ///     ("free", Quota::per_minute(60)),
    /// ]);
    /// ```
    pub fn plans<'n>(
        self,
        claim: impl Into<ClaimPath>,
        plans: impl IntoIterator<Item = (&'n str, Quota)>,
    ) -> Self {
        let (claim, plans) = (claim.into(), table(plans));
        self.quota_for(move |caller| {
            let claim = caller.claim_at(&claim)?;
            let mut plans = plans.iter();
            let plan = plans.find(|(plan, _)| names(claim, plan))?;
            Some(plan.1)
        })
    }

    /// Gives each verified caller the quota of its role, in place of the layer's own: the first of `roles` that it has.
    ///
    /// Whoever has none of them has the layer's own quota, anonymous callers too.
    pub fn plans_by_role<'n>(self, roles: impl IntoIterator<Item = (&'n str, Quota)>) -> Self {
        let roles = table(roles);
        self.quota_for(move |caller| {
            let mut roles = roles.iter();
            Some(roles.find(|(role, _)| caller.roles().contains(role))?.1)
        })
    }

    /// Gives each verified caller the number of requests that a claim states, in the period of `ceiling` and never more
    /// than it: with `Quota::per_minute(600).burst(50)`, a claim of 100 is `per_minute(100).burst(50)`.
    ///
    /// Whoever has no such claim, or one that is no whole number, has the layer's own quota, anonymous callers too.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let ceiling = Quota::per_minute(600).burst(50);
    /// let limit = RateLimitLayer::new(Quota::per_minute(10)).by_subject().quota_claim("rpm", ceiling);
    /// ```
    pub fn quota_claim(self, claim: impl Into<ClaimPath>, ceiling: Quota) -> Self {
        let claim = claim.into();
        self.quota_for(move |caller| {
            let permits = caller.claim_at(&claim)?.as_u64()?;
            Some(ceiling.at_most(u32::try_from(permits).unwrap_or(u32::MAX)))
        })
    }
}

pub(super) fn check_name<'q>(
    name: &str,
    mut others: impl Iterator<Item = &'q (Arc<str>, Quota)>,
) -> Result<(), ConfigError> {
    let setting = "name of a rate limit";
    if !fields::is_name(name) {
        let problem = "use 1 to 64 ASCII letters, digits, `-`, `_`, `.`, `:` and `/`";
        return Err(ConfigError::Setting { setting, problem });
    }
    if others.any(|(other, _)| **other == *name) {
        let problem = "clients could not tell two quotas of one name apart: choose another";
        return Err(ConfigError::Setting { setting, problem });
    }
    Ok(())
}

fn table<'n>(plans: impl IntoIterator<Item = (&'n str, Quota)>) -> Box<[(Box<str>, Quota)]> {
    let plans = plans.into_iter();
    plans.map(|(name, quota)| (name.into(), quota)).collect()
}

fn names(claim: &Value, plan: &str) -> bool {
    match claim {
        Value::String(name) => name == plan,
        Value::Array(list) => list.iter().any(|name| name == plan),
        _ => false,
    }
}
