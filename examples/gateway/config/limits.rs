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

/// Returns the limits by name, and all names, including the names of invalid limits.
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

/// Reads `requests`, `per` and `burst` of any table.
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

/// Reads the limits of a route that these callers may use.
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
                "two limits of this route are named {:?}: clients could not distinguish them",
                limit.name
            );
            context.problems.add(&limit.place, text);
        }
        limits.push(limit);
    }
    limits
}

/// The warning for a limit that has nothing but plans.
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
            "has no effect: no consumer that may use this route has a plan. Add `requests` and `per`",
        );
    }
    let others_pass = !matches!(filter, ConsumerFilter::Allow(_));
    (others_pass || !callers.all(has_plan))
        .then_some("does not limit callers without a plan: add `requests` and `per`")
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
            "must be \"address\" or \"route\" on a public route, because its callers are not verified",
        );
    }
    let plan_place = section.place_of("plan");
    let allowance = if section.or("plan", false, |item| item.flag()) {
        if key.is_some() && !is_callers {
            section.problem(
                &plan_place,
                "plan",
                "needs a consumer, which this key does not identify: use \"client\" or \"subject\"",
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

/// A keyword, or `{ claim = ".." }`.
fn key(item: &Item) -> Result<LimitKey, Fault> {
    let Ok(table) = item.table() else {
        let words = LimitKey::WORDS.map(|(word, _)| word).join(", ");
        let text = item.text()?;
        return choice(&LimitKey::WORDS)(item).map_err(|_| {
            format!("unknown value {text:?}, expected one of {words}, or {{ claim = [..] }}").into()
        });
    };
    let mut entries = table.iter();
    match (entries.next(), entries.next()) {
        (Some((form, place)), None) if form == "claim" => Ok(LimitKey::Claim(claim(place)?)),
        _ => Err("expected subject, client, address, route, or { claim = [..] }".into()),
    }
}
