//! `[plans]`, `[rate_limit_store]`, `[failed_auth_limit]`, and the limits of a route.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use portcullis::{Quota, RateLimitLayer};

use super::build::problem;
use super::model::{
    Allowance, Limit, LimitKey, OnError, RateLimit, RateLimitStore, StoreKind, StoreMode,
};
use super::secrets::Secret;
use super::section::{Fault, Section};
use super::values::{choice, count, name, period, text};

const STORE_URL: &str = "redis://127.0.0.1:6379";

/// Limits by name.
pub(super) fn plans(root: &mut Section<'_>) -> BTreeMap<String, Limit> {
    let mut plans = BTreeMap::new();
    let Some(mut section) = root.section("plans") else {
        return plans;
    };
    for (name, item) in section.rest() {
        let plan = section.named(&name, item).and_then(|mut plan| {
            let limit = limit(&mut plan);
            plan.finish();
            limit
        });
        if let Some(plan) = plan {
            plans.insert(name, plan);
        }
    }
    plans
}

pub(super) fn store(root: &mut Section<'_>) -> RateLimitStore {
    let mut store = RateLimitStore {
        kind: StoreKind::Memory,
        url: Secret::new(STORE_URL),
        mode: StoreMode::Leased,
        on_error: OnError::Local,
        expected_nodes: NonZeroU32::MIN.saturating_add(1),
    };
    let Some(mut section) = root.section("rate_limit_store") else {
        return store;
    };
    section.get("kind", |item| match item.text()? {
        "redis" => Err(
            "\"redis\" is not supported yet: use \"memory\", which counts in this process alone"
                .into(),
        ),
        _ => choice(&[("memory", ()), ("redis", ())])(item),
    });
    let url = section.secret("url", "url_file", redis_url);
    store.url = url.unwrap_or(store.url);
    let modes = [("exact", StoreMode::Exact), ("leased", StoreMode::Leased)];
    store.mode = section.or("mode", store.mode, choice(&modes));
    let policies = [
        ("local", OnError::Local),
        ("open", OnError::Open),
        ("closed", OnError::Closed),
    ];
    store.on_error = section.or("on_error", store.on_error, choice(&policies));
    store.expected_nodes = section.or("expected_nodes", store.expected_nodes, count);
    section.finish();
    store
}

pub(super) fn redis_url(bytes: Vec<u8>) -> Result<Secret, Fault> {
    let schemes = [b"redis://".as_slice(), b"rediss://"];
    if !schemes.iter().any(|scheme| bytes.starts_with(scheme)) {
        return Err("give a URL with redis:// or rediss://".into());
    }
    Ok(Secret::new(bytes))
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

/// The limits of a route.
pub(super) fn of_route(route: &mut Section<'_>, is_public: bool) -> Vec<RateLimit> {
    let mut limits: Vec<RateLimit> = Vec::new();
    for section in route.sections("rate_limits") {
        let context = section.context;
        let Some(limit) = of_route_one(section, is_public) else {
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

fn of_route_one(mut section: Section<'_>, is_public: bool) -> Option<RateLimit> {
    let place = section.place.clone();
    let name = section.required("name", |item| {
        let name = name(item.text()?)?;
        let named = RateLimitLayer::new(Quota::per_second(1)).named(&name);
        named.map(|_| name).map_err(|error| problem(error).into())
    });
    let keys = LimitKey::ALL.map(|key| (key.name(), key));
    let key_place = section.place_of("key");
    let key = section.required("key", choice(&keys));
    if is_public && key.is_some_and(|key| key != LimitKey::Address) {
        section.problem(
            &key_place,
            "key",
            "must be \"address\" on a public route, where nobody is known",
        );
    }
    let plan_place = section.place_of("plan");
    let allowance = if section.or("plan", false, |item| item.flag()) {
        if key == Some(LimitKey::Address) {
            section.problem(
                &plan_place,
                "plan",
                "belongs to a consumer, not to an address: use the key \"client\" or \"subject\"",
            );
        }
        for own in ["requests", "per", "burst"] {
            if section.take(own).is_some() {
                section.problem(
                    &plan_place,
                    own,
                    "comes from the plan here: remove it, or `plan`",
                );
            }
        }
        Some(Allowance::Plan)
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
