//! Environment variables that replace values of the file.
//!
//! `PORTCULLIS__RATE_LIMIT_STORE__URL` is `url` in `[rate_limit_store]`,
//! `PORTCULLIS__ISSUERS__0__LEEWAY` is `leeway` in the first `[[issuers]]`. Names are
//! case-insensitive, and `_` also matches `-`. Strings, numbers and booleans are given as they
//! are, lists and tables as TOML or JSON. The index after the last element adds an element.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::document::{Item, Value};
use super::model::Place;
use super::problems::Problems;

const PREFIX: &str = "PORTCULLIS__";

/// Deeper than any key.
const MAX_DEPTH: usize = 12;

/// Sets each variable's value in `root`.
pub(super) fn apply(
    root: &mut Item,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &Problems,
) {
    let mut ours: Vec<(String, OsString)> = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    // Tables before their keys, and elements in ascending order.
    ours.sort_by_cached_key(|(name, _)| order(name));
    for (name, value) in ours {
        let place = Place::Variable(name.as_str().into());
        let set = match value.into_string() {
            Ok(text) => set(root, &name, text, &place),
            Err(_) => Err("the value is not valid UTF-8".to_owned()),
        };
        if let Err(problem) = set {
            problems.add(&place, problem);
        }
    }
}

fn order(name: &str) -> Vec<(Option<usize>, String)> {
    let steps = name.split("__");
    steps
        .map(|step| (step.parse().ok(), step.to_owned()))
        .collect()
}

fn set(root: &mut Item, name: &str, text: String, place: &Place) -> Result<(), String> {
    let steps: Vec<&str> = name.split("__").skip(1).collect();
    if steps.iter().any(|step| step.is_empty()) || steps.len() > MAX_DEPTH {
        return Err("does not name a key: use PORTCULLIS__SECTION__KEY".to_owned());
    }
    let mut item = root;
    for (at, step) in steps.iter().enumerate() {
        let next = steps.get(at + 1);
        if matches!(item.value, Value::Variable(_)) {
            *item = item.expanded().unwrap_or_else(|| item.clone());
        }
        item = match &mut item.value {
            Value::Table(table) => entry(table, step, next, place),
            Value::List(list) => element(list, step, next, place)?,
            _ => {
                let step = step.to_ascii_lowercase();
                return Err(format!(
                    "`{step}` does not exist: the value is neither a table nor a list"
                ));
            }
        };
    }
    *item = Item {
        place: place.clone(),
        value: Value::Variable(text),
    };
    Ok(())
}

fn entry<'t>(
    table: &'t mut BTreeMap<String, Item>,
    step: &str,
    next: Option<&&str>,
    place: &Place,
) -> &'t mut Item {
    let given = table.keys().find(|name| are_one(name, step)).cloned();
    let name = given.unwrap_or_else(|| step.to_ascii_lowercase());
    table.entry(name).or_insert_with(|| container(next, place))
}

fn element<'l>(
    list: &'l mut Vec<Item>,
    step: &str,
    next: Option<&&str>,
    place: &Place,
) -> Result<&'l mut Item, String> {
    let length = list.len();
    let at: usize = step
        .parse()
        .map_err(|_| format!("expected the index of a list element, found {step}"))?;
    if at == length {
        list.push(container(next, place));
    }
    list.get_mut(at).ok_or_else(|| {
        format!("index {at} is out of range for a list of length {length} (indexes start at 0)")
    })
}

/// An empty container for the next step of a path that does not exist yet.
fn container(next: Option<&&str>, place: &Place) -> Item {
    let is_list = next.is_some_and(|next| next.parse::<usize>().is_ok());
    let value = if is_list {
        Value::List(Vec::new())
    } else {
        Value::Table(BTreeMap::new())
    };
    let place = place.clone();
    Item { place, value }
}

fn are_one(name: &str, step: &str) -> bool {
    let fold = |byte: u8| match byte {
        b'-' => b'_',
        byte => byte.to_ascii_lowercase(),
    };
    name.bytes().map(fold).eq(step.bytes().map(fold))
}
