//! One route, as it would stand in the file.

use std::fmt;

use super::{List, Quoted, Span, path, texts};
use crate::config::model::{
    Access, Allowance, ConsumerFilter, Limit, LimitKey, Mode, Propagate, RateLimit, Requirement,
    Route, UpstreamHost,
};

pub(super) fn print(f: &mut fmt::Formatter<'_>, own: &Route) -> fmt::Result {
    writeln!(f, "\n[[routes]]\npath = {}", Quoted(&own.path))?;
    if let Some(host) = &own.host {
        writeln!(f, "host = {}", Quoted(host))?;
    }
    if let Some(methods) = &own.methods {
        let methods = methods.iter().map(|method| Quoted(method.as_str()));
        writeln!(f, "methods = {}", List(methods))?;
    }
    writeln!(f, "upstream = {}", Quoted(&own.upstream.to_string()))?;
    if let Some(ca) = &own.upstream_ca {
        writeln!(f, "upstream_ca = {}", path(&ca.path))?;
    }
    let host = match own.upstream_host {
        UpstreamHost::Upstream => "upstream",
        UpstreamHost::Client => "client",
    };
    writeln!(
        f,
        "upstream_host = \"{host}\"\ntimeout = {}",
        Span(own.timeout)
    )?;
    match &own.access {
        Access::Public => writeln!(f, "public = true")?,
        Access::Verified {
            require,
            require_for,
        } => {
            writeln!(f, "public = false")?;
            if let Some(require) = require {
                writeln!(f, "require = {}", requirement(require))?;
            }
            let rules = require_for.iter();
            let rules = rules.map(|(method, own)| format!("{method} = {}", requirement(own)));
            let rules: Vec<String> = rules.collect();
            if !rules.is_empty() {
                writeln!(f, "require_for = {{ {} }}", rules.join(", "))?;
            }
        }
    }
    match &own.consumers {
        ConsumerFilter::Any => {}
        ConsumerFilter::Allow(names) => writeln!(f, "consumers = {{ allow = {} }}", texts(names))?,
        ConsumerFilter::Deny(names) => writeln!(f, "consumers = {{ deny = {} }}", texts(names))?,
    }
    let limits = own.rate_limits.iter().map(rate_limit);
    writeln!(f, "rate_limits = {}", List(limits))?;
    let propagate = match own.propagate {
        Propagate::None => "none",
        Propagate::Forward => "forward",
    };
    let mode = match own.mode {
        Mode::Enforce => "enforce",
        Mode::Report => "report",
    };
    writeln!(f, "propagate = \"{propagate}\"\nmode = \"{mode}\"")
}

fn rate_limit(own: &RateLimit) -> String {
    let key = match own.key {
        LimitKey::Subject => "subject",
        LimitKey::Client => "client",
        LimitKey::Address => "address",
    };
    let allowance = match &own.allowance {
        Allowance::Plan => "plan = true".to_owned(),
        Allowance::Fixed(Limit {
            requests,
            per,
            burst,
        }) => {
            format!(
                "requests = {requests}, per = {}, burst = {burst}",
                Span(*per)
            )
        }
    };
    format!(
        "{{ name = {}, key = \"{key}\", {allowance} }}",
        Quoted(&own.name)
    )
}

fn requirement(own: &Requirement) -> String {
    let (form, list) = match own {
        Requirement::Role(name) => return format!("{{ role = {} }}", Quoted(name)),
        Requirement::Scope(name) => return format!("{{ scope = {} }}", Quoted(name)),
        Requirement::Permission(name) => return format!("{{ permission = {} }}", Quoted(name)),
        Requirement::Any(list) => ("any", list),
        Requirement::All(list) => ("all", list),
    };
    format!("{{ {form} = {} }}", List(list.iter().map(requirement)))
}
