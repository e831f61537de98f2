//! A configuration as a tree of values with their places.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::model::Place;
use super::problems::Problems;

/// A value and the place where it was given.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value before its key is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i128),
    Boolean(bool),
    List(Vec<Item>),
    Table(BTreeMap<String, Item>),
    /// A float, a date, or an integer out of range: no setting accepts it.
    Unusable,
    /// The text of an environment variable, converted to the type that its key requires.
    Variable(String),
}

/// The start of each line of a text.
struct Lines {
    file: Arc<str>,
    starts: Vec<usize>,
}

/// Parses TOML. Reports syntax errors and returns what could be parsed.
pub(super) fn parse(text: &str, file: &Arc<str>, problems: &Problems) -> Item {
    let lines = Lines::of(text, file);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        // Only the message: the error's `Display` quotes the line, which may contain a secret.
        let message = error.message();
        let key = error.span().and_then(|span| text.get(span));
        let key = key.filter(|_| message == "duplicate key");
        let key = key.map(|key| format!(" `{key}`")).unwrap_or_default();
        problems.add(&lines.place(at), format!("invalid TOML: {message}{key}"));
    }
    Item {
        place: lines.place(0),
        value: Value::Table(lines.table(table.into_inner())),
    }
}

// === impl Item ===

impl Item {
    /// Parses a variable's list or table as TOML or JSON. Other values stay as they are.
    pub(super) fn expanded(&self) -> Option<Self> {
        let Value::Variable(text) = &self.value else {
            return Some(self.clone());
        };
        let item = match DeValue::parse(text) {
            Ok(value) => at(&self.place, value.into_inner()),
            Err(_) => of_json(&self.place, serde_json::from_str(text).ok()?),
        };
        matches!(item.value, Value::List(_) | Value::Table(_)).then_some(item)
    }
}

/// A value from a variable: all of its parts have the same place.
fn at(place: &Place, value: DeValue<'_>) -> Item {
    let value = match value {
        DeValue::Array(list) => {
            let list = list.into_iter();
            Value::List(list.map(|item| at(place, item.into_inner())).collect())
        }
        DeValue::Table(table) => {
            let entries = table.into_iter();
            let entry = |(name, item): (Spanned<_>, Spanned<_>)| {
                let name: std::borrow::Cow<'_, str> = name.into_inner();
                (name.into_owned(), at(place, item.into_inner()))
            };
            Value::Table(entries.map(entry).collect())
        }
        scalar => of_scalar(&scalar),
    };
    let place = place.clone();
    Item { place, value }
}

fn of_json(place: &Place, value: serde_json::Value) -> Item {
    use serde_json::Value as Json;
    let value = match value {
        Json::String(text) => Value::Text(text),
        Json::Bool(flag) => Value::Boolean(flag),
        Json::Number(number) => number.as_i128().map_or(Value::Unusable, Value::Integer),
        Json::Null => Value::Unusable,
        Json::Array(list) => {
            Value::List(list.into_iter().map(|item| of_json(place, item)).collect())
        }
        Json::Object(table) => {
            let entries = table.into_iter();
            Value::Table(entries.map(|(k, v)| (k, of_json(place, v))).collect())
        }
    };
    let place = place.clone();
    Item { place, value }
}

fn of_scalar(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Integer(number) => {
            let number = i128::from_str_radix(number.as_str(), number.radix());
            number.map_or(Value::Unusable, Value::Integer)
        }
        _ => Value::Unusable,
    }
}

// === impl Lines ===

impl Lines {
    fn of(text: &str, file: &Arc<str>) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(end, _)| end + 1));
        Self {
            file: Arc::clone(file),
            starts: starts.collect(),
        }
    }

    fn place(&self, at: usize) -> Place {
        Place::Line {
            file: Arc::clone(&self.file),
            line: self.starts.partition_point(|start| *start <= at),
        }
    }

    fn table(&self, table: DeTable<'_>) -> BTreeMap<String, Item> {
        let entry = |(name, value): (Spanned<std::borrow::Cow<'_, str>>, _)| {
            let item = self.item(name.span().start, value);
            (name.into_inner().into_owned(), item)
        };
        table.into_iter().map(entry).collect()
    }

    fn list(&self, list: DeArray<'_>) -> Vec<Item> {
        let item = |item: Spanned<_>| self.item(item.span().start, item);
        list.into_iter().map(item).collect()
    }

    fn item(&self, at: usize, value: Spanned<DeValue<'_>>) -> Item {
        let value = match value.into_inner() {
            DeValue::Array(list) => Value::List(self.list(list)),
            DeValue::Table(table) => Value::Table(self.table(table)),
            scalar => of_scalar(&scalar),
        };
        let place = self.place(at);
        Item { place, value }
    }
}
