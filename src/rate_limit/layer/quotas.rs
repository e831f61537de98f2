//! Which quotas the callers of a layer have.

use std::sync::Arc;

use super::RateLimitLayer;
use crate::claim_path::ClaimPath;
use crate::error::ConfigError;
use crate::identity::Identity;
use crate::policy_name::policy_name;
use crate::rate_limit::policy::{Plans, QuotaChoice};
use crate::rate_limit::quota::Quota;

impl RateLimitLayer {
    /// Adds a quota with its own name.
    ///
    /// A request needs a permit of every quota. If one of them refuses, none is charged. The
    /// fields of responses list them all.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let limit = RateLimitLayer::new(Quota::per_second(50)).also("daily", Quota::per_day(1_000))?;
    /// # Ok::<_, portcullis::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the name is invalid (see [`named`](Self::named)), or another quota of the layer has it.
    pub fn also(mut self, name: impl AsRef<str>, quota: Quota) -> Result<Self, ConfigError> {
        let name = check_name(name.as_ref(), self.quotas.iter())?;
        self.quotas.push((name, quota));
        Ok(self)
    }

    /// Chooses the quota of each verified caller, in place of the layer's own.
    ///
    /// If `choose` returns `None`, and for anonymous callers, the layer's own quota applies.
    /// [`Quota::UNLIMITED`] is no limit.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let generous = RateLimitLayer::new(Quota::per_minute(10)).by_client().quota_for(|me| {
    ///     me.client()?.starts_with("partner-").then_some(Quota::per_minute(1_000))
    /// });
    /// ```
    pub fn quota_for(
        self,
        choose: impl Fn(&Identity) -> Option<Quota> + Send + Sync + 'static,
    ) -> Self {
        self.choice(QuotaChoice::Custom(Box::new(choose)))
    }

    /// Gives each verified caller the quota of its plan, in place of the layer's own: the first of
    /// `plans` that the claim names. The claim is a string or an array of strings.
    ///
    /// Callers without one of these plans, and anonymous callers, have the layer's own quota.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let limit = RateLimitLayer::new(Quota::per_minute(10)).by_client().plans("plan", [
    ///     ("pro", Quota::per_minute(1_000).burst(250)),
    ///     ("free", Quota::per_minute(60)),
    /// ]);
    /// ```
    pub fn plans<S: AsRef<str>>(
        self,
        claim: impl Into<ClaimPath>,
        plans: impl IntoIterator<Item = (S, Quota)>,
    ) -> Self {
        self.choice(QuotaChoice::Plans(claim.into(), table(plans)))
    }

    /// Gives each verified caller the quota of its role, in place of the layer's own: the first of
    /// `roles` that it has.
    ///
    /// Callers without one of these roles, and anonymous callers, have the layer's own quota.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let limit = RateLimitLayer::new(Quota::per_minute(10))
    ///     .by_subject()
    ///     .plans_by_role([("partner", Quota::per_minute(1_000))]);
    /// ```
    pub fn plans_by_role<S: AsRef<str>>(self, roles: impl IntoIterator<Item = (S, Quota)>) -> Self {
        self.choice(QuotaChoice::Roles(table(roles)))
    }

    /// Gives each verified caller the number of requests in its claim, per period of `ceiling` and
    /// never more than `ceiling`: with `Quota::per_minute(600).burst(50)`, a claim of 100 is
    /// `per_minute(100).burst(50)`.
    ///
    /// Callers without the claim, or whose claim is no whole number, have the layer's own quota, as
    /// anonymous callers do.
    ///
    /// ```
    /// use portcullis::{Quota, RateLimitLayer};
    ///
    /// let ceiling = Quota::per_minute(600).burst(50);
    /// let limit = RateLimitLayer::new(Quota::per_minute(10)).by_subject().quota_claim("rpm", ceiling);
    /// ```
    pub fn quota_claim(self, claim: impl Into<ClaimPath>, ceiling: Quota) -> Self {
        self.choice(QuotaChoice::Claim(claim.into(), ceiling))
    }

    fn choice(mut self, choice: QuotaChoice) -> Self {
        self.choice = Some(Arc::new(choice));
        self
    }
}

/// Checks a name, and that no other quota of the layer has it.
pub(super) fn check_name<'q>(
    name: &str,
    mut others: impl Iterator<Item = &'q (Arc<str>, Quota)>,
) -> Result<Arc<str>, ConfigError> {
    let setting = "name of a rate limit";
    let checked = policy_name(setting, name)?;
    if others.any(|(other, _)| **other == *name) {
        let problem = "another quota of the layer has this name: choose another";
        return Err(ConfigError::Setting { setting, problem });
    }
    Ok(checked)
}

fn table<S: AsRef<str>>(plans: impl IntoIterator<Item = (S, Quota)>) -> Plans {
    let plans = plans.into_iter();
    plans
        .map(|(name, quota)| (name.as_ref().into(), quota))
        .collect()
}
