//! Prints a route as it would appear in the file.

use std::fmt;

use portcullis::Rule;
use serde_json::Value;

use super::{List, Quoted, Span, claim, path, texts};
use crate::config::model::{
    Access, Allowance, ConsumerFilter, Limit, LimitKey, RateLimit, Route, UpstreamHost,
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
            match require {
                Some(require) => writeln!(f, "require = {}", requirement(require))?,
                None => writeln!(f, "# require: any verified caller")?,
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
    let (propagate, mode) = (own.propagate.name(), own.mode.as_str());
    writeln!(f, "propagate = \"{propagate}\"\nmode = \"{mode}\"")
}

fn rate_limit(own: &RateLimit) -> String {
    let word = LimitKey::WORDS.iter().find(|(_, key)| *key == own.key);
    let key = match &own.key {
        LimitKey::Claim(place) => format!("{{ claim = {} }}", claim(place)),
        _ => Quoted(word.map_or("subject", |(word, _)| word)).to_string(),
    };
    let allowance = match &own.allowance {
        Allowance::Plan(None) => "plan = true".to_owned(),
        Allowance::Plan(Some(others)) => format!("plan = true, {}", quota(others)),
        Allowance::Fixed(limit) => quota(limit),
    };
    format!(
        "{{ name = {}, key = {key}, {allowance} }}",
        Quoted(&own.name)
    )
}

fn quota(own: &Limit) -> String {
    let Limit {
        requests,
        per,
        burst,
    } = own;
    let per = Span(*per);
    format!("requests = {requests}, per = {per}, burst = {burst}")
}

fn requirement(own: &Rule) -> String {
    inline(&serde_json::to_value(own).unwrap_or_default())
}

/// TOML on one line, limited to types that JSON has, too.
fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => Quoted(text).to_string(),
        Value::Array(list) => List(list.iter().map(inline)).to_string(),
        Value::Object(table) => {
            let entries = table.iter();
            let entries = entries.map(|(key, value)| format!("{} = {}", bare(key), inline(value)));
            let entries: Vec<String> = entries.collect();
            format!("{{ {} }}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

/// A key, quoted only if necessary.
fn bare(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !key.is_empty() && key.bytes().all(is_bare) {
        return key.to_owned();
    }
    Quoted(key).to_string()
}
