//! `[[routes]]`: a path, its upstream service, and its access rules.

use std::time::Duration;

use axum::http::{Method, Uri};
use portcullis::TokenPropagationLayer;

use super::model::{Access, Consumer, ConsumerFilter, Mode, Propagate, Route, UpstreamHost};
use super::names::{host, method, upstream};
use super::section::{Fault, Section};
use super::values::{choice, name, period, some, text};
use super::{limits, requirement, routes};

/// Settings of other sections that a route depends on.
pub(super) struct References<'o> {
    pub(super) request_timeout: Duration,
    pub(super) consumers: &'o [Consumer],
    pub(super) has_issuers: bool,
}

pub(super) fn read(mut section: Section<'_>, others: &References<'_>) -> Option<Route> {
    let place = section.place.clone();
    let path = section.required("path", text(routes::path));
    let host = section.get("host", text(host));
    let methods = section.get("methods", some(text(method)));
    let timeout = section.or("timeout", others.request_timeout, text(period));
    let hosts = [
        ("upstream", UpstreamHost::Upstream),
        ("client", UpstreamHost::Client),
    ];
    let upstream_host = section.or("upstream_host", UpstreamHost::Upstream, choice(&hosts));
    let upstream = if section.has("upstreams") {
        section.unsupported("upstreams", "give one service in `upstream`");
        section.get("upstream", text(upstream))
    } else {
        section.required("upstream", text(upstream))
    };
    let ca_place = section.place_of("upstream_ca");
    let upstream_ca = section.certificates("upstream_ca");
    let is_plain = upstream
        .as_ref()
        .is_some_and(|uri| uri.scheme_str() == Some("http"));
    if upstream_ca.is_some() && is_plain {
        section.problem(
            &ca_place,
            "upstream_ca",
            "applies to https only: change `upstream`, or remove this key",
        );
    }

    let is_public = section.or("public", false, |item| item.flag());
    let access = if is_public {
        for key in ["require", "require_for", "consumers"] {
            let place = section.place_of(key);
            if section.take(key).is_some() {
                section.problem(
                    &place,
                    key,
                    "needs a verified caller, which a public route does not have: remove this key or `public`",
                );
            }
        }
        Access::Public
    } else {
        if !others.has_issuers {
            section.problem(
                &place,
                "public",
                "is false, but no token can be accepted: add [[issuers]], or make the route public",
            );
        }
        verified(&mut section, methods.as_deref())
    };
    let consumers = consumers(&mut section, others.consumers);
    let rate_limits = limits::of_route(&mut section, is_public, others.consumers, &consumers);
    let propagate = propagate(&mut section, is_public, upstream.as_ref());
    let modes = [("enforce", Mode::Enforce), ("report", Mode::Report)];
    let mode = section.or("mode", Mode::Enforce, choice(&modes));
    section.finish();
    Some(Route {
        place,
        path: path?,
        host,
        methods,
        upstream: upstream?,
        upstream_ca,
        upstream_host,
        timeout,
        access,
        consumers,
        rate_limits,
        propagate,
        mode,
    })
}

fn verified(section: &mut Section<'_>, methods: Option<&[Method]>) -> Access {
    let has_require = section.has("require");
    let require = section.get("require", requirement::read);
    let place = section.place_of("require_for");
    let require_for = section.or("require_for", Vec::new(), |item| {
        let rules = requirement::by_method(item)?;
        let unused = rules.iter().map(|(method, _)| method);
        let mut unused = unused.filter(|own| methods.is_some_and(|all| !all.contains(own)));
        match unused.next() {
            Some(method) => Err(Fault::from(format!(
                "{method} is not among the `methods` of this route"
            ))),
            None => Ok(rules),
        }
    });
    let is_named = |own: &Method| require_for.iter().any(|(method, _)| method == own);
    // The rule for GET applies to HEAD as well.
    let has_rule = |own: &Method| is_named(own) || *own == Method::HEAD && is_named(&Method::GET);
    if !(has_require
        || require_for.is_empty()
        || methods.is_some_and(|methods| methods.iter().all(has_rule)))
    {
        let text = "admits any verified caller for all other methods: add `require`, or restrict `methods`";
        section.warn(&place, "require_for", text);
    }
    Access::Verified {
        require,
        require_for,
    }
}

fn consumers(section: &mut Section<'_>, known: &[Consumer]) -> ConsumerFilter {
    section.or("consumers", ConsumerFilter::Any, |item| {
        let mut entries = item.table()?.into_iter();
        let (Some((form, names)), None) = (entries.next(), entries.next()) else {
            return Err("give either { allow = [..] } or { deny = [..] }".into());
        };
        let names = some(text(name))(&names).map_err(|fault| fault.at(&names))?;
        let unknown = names
            .iter()
            .find(|name| known.iter().all(|own| own.name != **name));
        if let Some(unknown) = unknown {
            return Err(format!("{unknown:?} is not defined in [[consumers]]").into());
        }
        match form.as_str() {
            "allow" => Ok(ConsumerFilter::Allow(names)),
            "deny" => Ok(ConsumerFilter::Deny(names)),
            _ => Err("give either { allow = [..] } or { deny = [..] }".into()),
        }
    })
}

fn propagate(section: &mut Section<'_>, is_public: bool, upstream: Option<&Uri>) -> Propagate {
    let place = section.place_of("propagate");
    let modes = [("none", Propagate::None), ("forward", Propagate::Forward)];
    let propagate = section.get("propagate", |item| match item.text()? {
        other @ ("mint" | "exchange") => {
            Err(format!("{other:?} is not supported yet: use \"none\" or \"forward\"").into())
        }
        _ => choice(&modes)(item),
    });
    section.unsupported("audience", "only \"mint\" and \"exchange\" use it");
    if is_public && propagate == Some(Propagate::Forward) {
        section.problem(
            &place,
            "propagate",
            "must be \"none\" on a public route, where no token is verified",
        );
    }
    let in_clear = |uri: &Uri| {
        let origin = uri.to_string();
        let origin = origin.trim_end_matches('/');
        TokenPropagationLayer::forward_to([origin]).is_err()
    };
    if propagate == Some(Propagate::Forward) && upstream.is_some_and(in_clear) {
        section.warn(
            &place,
            "propagate",
            "sends tokens without encryption: use https",
        );
    }
    propagate.unwrap_or(Propagate::None)
}
