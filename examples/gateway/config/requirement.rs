//! `require`: authorization rules as nested tables. The library parses the rules; this reader adds
//! places to its errors.

use axum::http::Method;
use portcullis::Rule;
use serde_json::{Number, Value as Json};

use super::document::{Item, Value};
use super::model::Place;
use super::names::method;
use super::section::Fault;
use super::values::claim;

/// Forms that take one name.
const NAMED: [&str; 10] = [
    "role",
    "scope",
    "permission",
    "permission_pattern",
    "permission_or_wildcard",
    "group",
    "issuer",
    "client",
    "subject",
    "acr",
];

/// Reads a rule and everything inside it.
pub(super) fn read(item: &Item) -> Result<Rule, Fault> {
    let table = item.table()?;
    let mut entries = table.iter();
    let (Some((form, value)), None) = (entries.next(), entries.next()) else {
        return leaf(item);
    };
    let read = match form.as_str() {
        "any" => list(value).map(Rule::any),
        "all" => list(value).map(Rule::all),
        "not" => read(value).map(Rule::not),
        "scope" if value.text().is_ok_and(|scope| scope.contains(' ')) => {
            Err("this is a list of scopes: use { all = [..] } or { any = [..] }".into())
        }
        name if NAMED.contains(&name) && value.list().is_ok() => Err(format!(
            "name one: for several use {{ any = [{{ {name} = .. }}, ..] }} or {{ all = [{{ {name} = .. }}, ..] }}"
        )
        .into()),
        _ if value.text().is_ok_and(|name| name.trim().is_empty()) => {
            Err("must not be empty".into())
        }
        _ => leaf(item),
    };
    read.map_err(|fault| fault.at(value))
}

/// Reads one rule per method.
pub(super) fn by_method(item: &Item) -> Result<Vec<(Method, Rule)>, Fault> {
    let rule = |(mut name, item): (String, Item)| {
        // Environment variable names do not preserve case.
        if let Place::Variable(_) = item.place {
            name.make_ascii_uppercase();
        }
        let method = method(&name).map_err(|text| Fault::from(text).at(&item))?;
        Ok((method, read(&item)?))
    };
    item.table()?.into_iter().map(rule).collect()
}

fn list(item: &Item) -> Result<Vec<Rule>, Fault> {
    let list = item.all(read)?;
    if list.is_empty() {
        return Err("an empty list matches no caller: add an element".into());
    }
    Ok(list)
}

/// Reads a rule that contains no other rules.
fn leaf(item: &Item) -> Result<Rule, Fault> {
    let table = item.table()?;
    if let Some(place) = table.get("claim") {
        claim(place).map_err(|fault| fault.at(place))?;
    }
    let entries = table.iter().map(|(key, value)| {
        // Text of a variable becomes a number or boolean only where one is expected.
        let json = match key.as_str() {
            "max_age" | "at_least" | "at_most" => value.integer().and_then(number),
            "exists" => value.flag().map(Json::from),
            _ => json(value),
        };
        Ok((key.clone(), json.map_err(|fault| fault.at(value))?))
    });
    let json = Json::Object(entries.collect::<Result<_, Fault>>()?);
    serde_json::from_value(json).map_err(|error| Fault::from(error.to_string()).at(item))
}

/// Converts to JSON, without places.
fn json(item: &Item) -> Result<Json, Fault> {
    let item = item.expanded().unwrap_or_else(|| item.clone());
    Ok(match item.value {
        Value::Text(text) | Value::Variable(text) => text.into(),
        Value::Boolean(flag) => flag.into(),
        Value::Integer(integer) => number(integer)?,
        Value::List(list) => list.iter().map(json).collect::<Result<_, _>>()?,
        Value::Table(table) => {
            let entries = table.into_iter();
            let entries = entries.map(|(key, item)| Ok((key, json(&item)?)));
            Json::Object(entries.collect::<Result<_, Fault>>()?)
        }
        Value::Unusable => {
            return Err("expected a string in quotes, an integer, true or false".into());
        }
    })
}

fn number(integer: i128) -> Result<Json, Fault> {
    let number = Number::from_i128(integer).map(Json::from);
    number.ok_or_else(|| "the number is too large".into())
}
