//! `[plans]`, `[failed_auth_limit]`, and the limits of a route.

use std::collections::BTreeMap;

use portcullis::{Quota, RateLimitLayer};

use super::build::problem;
use super::document::Item;
use super::model::{Allowance, Consumer, ConsumerFilter, Limit, LimitKey, RateLimit};
use super::section::{Fault, Section};
use super::values::{choice, claim, count, name, period, text};

/// The keys of [`limit`].
const LIMIT: [&str; 3] = ["requests", "per", "burst"];

/// Limits by name, and all names, those of limits that will not do too.
pub(super) fn plans(root: &mut Section<'_>) -> (BTreeMap<String, Limit>, Vec<String>) {
    let (mut plans, mut names) = (BTreeMap::new(), Vec::new());
    let Some(mut section) = root.section("plans") else {
        return (plans, names);
    };
    for (name, item) in section.rest() {
        names.push(name.clone());
        let plan = section.named(&name, item).and_then(|mut plan| {
            let limit = limit(&mut plan);
            plan.finish();
            limit
        });
        if let Some(plan) = plan {
            plans.insert(name, plan);
        }
    }
    (plans, names)
}

pub(super) fn failed_auth(root: &mut Section<'_>) -> Option<Limit> {
    let mut section = root.section("failed_auth_limit")?;
    let requests = section.required("requests", count);
    let per = section.required("per", text(period));
    section.finish();
    let requests = requests?;
    Some(Limit {
        requests,
        per: per?,
        burst: requests,
    })
}

/// `requests`, `per` and `burst` of any table.
fn limit(section: &mut Section<'_>) -> Option<Limit> {
    let requests = section.required("requests", count);
    let per = section.required("per", text(period));
    let burst = section.get("burst", count);
    let requests = requests?;
    Some(Limit {
        requests,
        per: per?,
        burst: burst.unwrap_or(requests),
    })
}

/// The limits of a route, on which these may be who calls.
pub(super) fn of_route(
    route: &mut Section<'_>,
    is_public: bool,
    consumers: &[Consumer],
    filter: &ConsumerFilter,
) -> Vec<RateLimit> {
    let mut limits: Vec<RateLimit> = Vec::new();
    let unlimited = unlimited(consumers, filter);
    for section in route.sections("rate_limits") {
        let context = section.context;
        let Some(limit) = of_route_one(section, is_public, unlimited) else {
            continue;
        };
        if limits.iter().any(|other| other.name == limit.name) {
            let text = format!(
                "there are two limits named {:?} here: clients could not tell them apart",
                limit.name
            );
            context.problems.add(&limit.place, text);
        }
        limits.push(limit);
    }
    limits
}

/// What to say of a limit that has nothing but the plans.
fn unlimited(consumers: &[Consumer], filter: &ConsumerFilter) -> Option<&'static str> {
    let passes = |consumer: &&Consumer| match filter {
        ConsumerFilter::Any => true,
        ConsumerFilter::Allow(names) => names.contains(&consumer.name),
        ConsumerFilter::Deny(names) => !names.contains(&consumer.name),
    };
    let has_plan = |consumer: &Consumer| consumer.plan.is_some();
    let mut callers = consumers.iter().filter(passes);
    if !callers.clone().any(has_plan) {
        return Some(
            "limits NOBODY: no consumer that may call here has a plan; add `requests` and `per`",
        );
    }
    let others_pass = !matches!(filter, ConsumerFilter::Allow(_));
    (others_pass || !callers.all(has_plan))
        .then_some("does not limit callers without a plan: add `requests` and `per` for them")
}

fn of_route_one(
    mut section: Section<'_>,
    is_public: bool,
    unlimited: Option<&str>,
) -> Option<RateLimit> {
    let place = section.place.clone();
    let name = section.required("name", |item| {
        let name = name(item.text()?)?;
        let named = RateLimitLayer::new(Quota::per_second(1)).named(&name);
        named.map(|_| name).map_err(|error| problem(error).into())
    });
    let key_place = section.place_of("key");
    let key = section.required("key", key);
    let is_callers = key.as_ref().is_some_and(LimitKey::is_callers);
    if is_public && is_callers {
        section.problem(
            &key_place,
            "key",
            "must be \"address\" or \"route\" on a public route, where nobody is known",
        );
    }
    let plan_place = section.place_of("plan");
    let allowance = if section.or("plan", false, |item| item.flag()) {
        if key.is_some() && !is_callers {
            section.problem(
                &plan_place,
                "plan",
                "belongs to a consumer, whom this key does not know: use \"client\" or \"subject\"",
            );
        }
        if LIMIT.iter().any(|own| section.has(own)) {
            limit(&mut section).map(|others| Allowance::Plan(Some(others)))
        } else {
            if let Some(text) = unlimited {
                section.warn(&plan_place, "plan", text);
            }
            LIMIT.into_iter().for_each(|own| drop(section.take(own)));
            Some(Allowance::Plan(None))
        }
    } else {
        limit(&mut section).map(Allowance::Fixed)
    };
    section.finish();
    Some(RateLimit {
        place,
        name: name?,
        key: key?,
        allowance: allowance?,
    })
}

/// A word, or `{ claim = ".." }`.
fn key(item: &Item) -> Result<LimitKey, Fault> {
    let Ok(table) = item.table() else {
        let words = LimitKey::WORDS.map(|(word, _)| word).join(", ");
        let text = item.text()?;
        return choice(&LimitKey::WORDS)(item).map_err(|_| {
            format!("there is no {text:?}: choose one of {words}, or {{ claim = [..] }}").into()
        });
    };
    let mut entries = table.iter();
    match (entries.next(), entries.next()) {
        (Some((form, place)), None) if form == "claim" => Ok(LimitKey::Claim(claim(place)?)),
        _ => Err("choose one of subject, client, address, route, or { claim = [..] }".into()),
    }
}
