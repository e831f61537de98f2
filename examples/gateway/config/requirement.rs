//! `require`: what a caller must have, as nested tables.

use axum::http::Method;

use super::document::Item;
use super::model::Requirement;
use super::names::method;
use super::section::Fault;
use super::values::name;

const FORMS: &str = "give one of { role = \"..\" }, { scope = \"..\" }, { permission = \"..\" }, { any = [..] } and { all = [..] }";

/// One rule, with whatever is inside it.
pub(super) fn read(item: &Item) -> Result<Requirement, Fault> {
    let table = item.table().map_err(|_| Fault::from(FORMS).at(item))?;
    let mut entries = table.into_iter();
    let (Some((form, value)), None) = (entries.next(), entries.next()) else {
        return Err(Fault::from(FORMS).at(item));
    };
    let read = match form.as_str() {
        "role" => leaf(&value).map(Requirement::Role),
        "scope" => scope(&value).map(Requirement::Scope),
        "permission" => leaf(&value).map(Requirement::Permission),
        "any" => list(&value).map(Requirement::Any),
        "all" => list(&value).map(Requirement::All),
        _ => Err(Fault::from(FORMS)),
    };
    read.map_err(|fault| fault.at(&value))
}

/// A rule for each of some methods.
pub(super) fn by_method(item: &Item) -> Result<Vec<(Method, Requirement)>, Fault> {
    let rule = |(name, item): (String, Item)| {
        let method = method(&name).map_err(|text| Fault::from(text).at(&item))?;
        Ok((method, read(&item)?))
    };
    item.table()?.into_iter().map(rule).collect()
}

fn leaf(item: &Item) -> Result<String, Fault> {
    Ok(name(item.text()?)?)
}

fn scope(item: &Item) -> Result<String, Fault> {
    let scope = leaf(item)?;
    if scope.contains(' ') {
        return Err("this is more than one scope: use { all = [..] } or { any = [..] }".into());
    }
    Ok(scope)
}

fn list(item: &Item) -> Result<Vec<Requirement>, Fault> {
    let list = item.all(read)?;
    if list.is_empty() {
        return Err(
            "an empty list asks for nothing that anybody could have: name something".into(),
        );
    }
    Ok(list)
}
