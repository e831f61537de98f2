//! A table whose keys are read one by one. Keys that were not read are unknown.

use std::collections::BTreeMap;

use super::document::{Item, Value};
use super::files::Files;
use super::model::Place;
use super::problems::Problems;

/// Shared state of all readers.
pub(super) struct Context {
    pub(super) problems: Problems,
    /// Valid but suspicious settings.
    pub(super) warnings: Problems,
    pub(super) files: Files,
}

/// A table and its unread keys.
pub(super) struct Section<'c> {
    pub(super) context: &'c Context,
    pub(super) place: Place,
    /// The path of this table, such as `routes[1].`; empty at the root.
    path: String,
    left: BTreeMap<String, Item>,
    known: Vec<&'static str>,
}

/// Why a value is invalid, and the place if it is inside the value.
pub(super) struct Fault {
    place: Option<Place>,
    text: String,
}

// === impl Section ===

impl<'c> Section<'c> {
    pub(super) fn root(context: &'c Context, item: Item) -> Option<Self> {
        Self::of(context, String::new(), item)
    }

    fn of(context: &'c Context, path: String, item: Item) -> Option<Self> {
        let place = item.place.clone();
        match item.expanded().map(|item| item.value) {
            Some(Value::Table(left)) => Some(Self {
                context,
                place,
                path,
                left,
                known: Vec::new(),
            }),
            _ => {
                let path = path.trim_end_matches('.');
                context
                    .problems
                    .add(&place, format!("`{path}`: expected a table"));
                None
            }
        }
    }

    /// Reads `key` if it is present and valid.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Item) -> Result<T, Fault>,
    ) -> Option<T> {
        let item = self.take(key)?;
        read(&item)
            .map_err(|fault| self.fault(&item.place, key, fault))
            .ok()
    }

    /// Reads `key`, or returns the default.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Item) -> Result<T, Fault>,
    ) -> T {
        self.get(key, read).unwrap_or(default)
    }

    /// Reads `key`, which must be present.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Item) -> Result<T, Fault>,
    ) -> Option<T> {
        if !self.has(key) {
            self.problem(&self.place, key, "is required");
        }
        self.get(key, read)
    }

    /// Reads the table `key`.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'c>> {
        let item = self.take(key)?;
        Section::of(self.context, format!("{}{key}.", self.path), item)
    }

    /// Reads the tables in the list `key`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'c>> {
        let items = self.get(key, |item| item.list());
        let items = items.unwrap_or_default().into_iter().enumerate();
        items
            .filter_map(|(at, item)| {
                Section::of(self.context, format!("{}{key}[{at}].", self.path), item)
            })
            .collect()
    }

    /// Returns all unread keys, in the order of the file.
    pub(super) fn rest(&mut self) -> Vec<(String, Item)> {
        let mut rest: Vec<_> = std::mem::take(&mut self.left).into_iter().collect();
        rest.sort_by_key(|(_, item)| match &item.place {
            Place::Line { line, .. } => *line,
            Place::File(_) => 0,
            Place::Variable(_) => usize::MAX,
        });
        rest
    }

    /// A table with a user-defined name inside this one.
    pub(super) fn named(&self, name: &str, item: Item) -> Option<Section<'c>> {
        Section::of(self.context, format!("{}{name}.", self.path), item)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.left.contains_key(key)
    }

    /// The place of `key`, or of this table if it is absent.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let item = self.left.get(key);
        item.map_or(&self.place, |item| &item.place).clone()
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<Item> {
        self.known.push(key);
        self.left.remove(key)
    }

    /// Rejects `key`, which is planned but not supported yet.
    pub(super) fn unsupported(&mut self, key: &'static str, change: &str) {
        if let Some(item) = self.take(key) {
            self.problem(&item.place, key, &format!("is not supported yet: {change}"));
        }
    }

    /// Reports an error about `key`: `` `routes[1].path` is required ``.
    pub(super) fn problem(&self, place: &Place, key: &str, text: &str) {
        let path = &self.path;
        let text = format!("`{path}{key}` {text}");
        self.context.problems.add(place, text);
    }

    /// Reports a warning about `key`.
    pub(super) fn warn(&self, place: &Place, key: &str, text: &str) {
        let path = &self.path;
        let text = format!("`{path}{key}` {text}");
        self.context.warnings.add(place, text);
    }

    pub(super) fn fault(&self, place: &Place, key: &str, fault: Fault) {
        let place = fault.place.as_ref().unwrap_or(place);
        let text = format!("`{}{key}`: {}", self.path, fault.text);
        self.context.problems.add(place, text);
    }

    /// Rejects all unread keys.
    pub(super) fn finish(&mut self) {
        for (key, item) in self.rest() {
            let known = self.known.join(", ");
            self.problem(
                &item.place,
                &key,
                &format!("is not a key; expected one of {known}"),
            );
        }
    }
}

// === impl Item ===

impl Item {
    pub(super) fn text(&self) -> Result<&str, Fault> {
        match &self.value {
            Value::Text(text) | Value::Variable(text) => Ok(text),
            _ => Err(Fault::from("expected a string in quotes")),
        }
    }

    pub(super) fn integer(&self) -> Result<i128, Fault> {
        let number = match &self.value {
            Value::Integer(number) => Some(*number),
            Value::Variable(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| Fault::from("expected an integer"))
    }

    pub(super) fn flag(&self) -> Result<bool, Fault> {
        let flag = match &self.value {
            Value::Boolean(flag) => Some(*flag),
            Value::Variable(text) => text.parse().ok(),
            _ => None,
        };
        flag.ok_or_else(|| Fault::from("expected true or false"))
    }

    pub(super) fn list(&self) -> Result<Vec<Item>, Fault> {
        match self.expanded().map(|item| item.value) {
            Some(Value::List(list)) => Ok(list),
            _ => Err(Fault::from("expected a list, [..]")),
        }
    }

    pub(super) fn table(&self) -> Result<BTreeMap<String, Item>, Fault> {
        match self.expanded().map(|item| item.value) {
            Some(Value::Table(table)) => Ok(table),
            _ => Err(Fault::from("expected a table, { .. }")),
        }
    }

    /// Reads every element of a list in the same way.
    pub(super) fn all<T>(&self, read: impl Fn(&Item) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
        let list = self.list()?;
        let read = list.iter().map(|item| read(item).map_err(|f| f.at(item)));
        read.collect()
    }
}

// === impl Fault ===

impl Fault {
    /// Sets the place, unless a more precise one is known.
    pub(super) fn at(mut self, item: &Item) -> Self {
        self.place.get_or_insert_with(|| item.place.clone());
        self
    }
}

impl<T: Into<String>> From<T> for Fault {
    fn from(text: T) -> Self {
        Self {
            place: None,
            text: text.into(),
        }
    }
}
