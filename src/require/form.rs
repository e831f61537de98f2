//! Rules in a configuration: `{ any = [{ role = "admin" }, { not = { client = "acme" } }] }`.

use std::collections::BTreeMap;
use std::fmt;

use http::Method;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::atom::{Atom, WORDS};
use super::predicate::{Predicate, TESTS, Test};
use super::rule::{Node, Rule};
use super::rules::{Requests, Rules};
use super::text::{MAX_DEPTH, TOO_DEEP};
use crate::claim_path::ClaimPath;

const FORMS: &str = "give one form in each table, such as { role = \"..\" }, { any = [..] } or \
    { claim = \"..\", is = .. }";

// === impl Rule ===

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.0 {
            Node::Any(rules) => map.serialize_entry("any", rules)?,
            Node::All(rules) => map.serialize_entry("all", rules)?,
            Node::Not(rule) => map.serialize_entry("not", rule)?,
            Node::Atom(Atom::MaxAge(seconds)) => map.serialize_entry("max_age", seconds)?,
            Node::Atom(Atom::Claim(claim)) => {
                match claim.0.names() {
                    [name] => map.serialize_entry("claim", name)?,
                    names => map.serialize_entry("claim", names)?,
                }
                map.serialize_entry(claim.1.test.as_str(), &claim.1.operand)?;
            }
            Node::Atom(atom) => match atom.name() {
                Some((word, name)) => map.serialize_entry(word, name)?,
                None => map.serialize_entry("anonymous", &true)?,
            },
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Nested { depth: 0 }.deserialize(deserializer)
    }
}

/// A claim's name, or the names of its path.
#[derive(Deserialize)]
#[serde(untagged)]
enum Claim {
    Name(String),
    Path(Vec<String>),
}

/// Reads a rule that is inside `depth` others.
#[derive(Clone, Copy)]
struct Nested {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Rule;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Rule, D::Error> {
        if self.depth >= MAX_DEPTH {
            return Err(D::Error::custom(TOO_DEEP));
        }
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Rule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a rule: {FORMS}")
    }

    /// The keys of a claim come in any order.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rule, A::Error> {
        let inner = Self {
            depth: self.depth + 1,
        };
        let (mut rule, mut path, mut predicate) = (None, None, None);
        while let Some(word) = map.next_key::<String>()? {
            let read = match &*word {
                "any" => Rule::any(map.next_value_seed(List(inner))?),
                "all" => Rule::all(map.next_value_seed(List(inner))?),
                "not" => Rule::not(map.next_value_seed(inner)?),
                "max_age" => Rule::atom(Atom::MaxAge(map.next_value()?)),
                "anonymous" => constant(&mut map, Rule::anonymous())?,
                "verified" => constant(&mut map, Rule::verified())?,
                "nobody" => constant(&mut map, Rule::nobody())?,
                "claim" => {
                    let read = match map.next_value()? {
                        Claim::Name(name) => ClaimPath::from(&*name),
                        Claim::Path(names) => names.iter().map(String::as_str).collect(),
                    };
                    once(&mut path, read)?;
                    continue;
                }
                word => {
                    if let Some(test) = Test::of(word) {
                        let operand = map.next_value::<Value>()?;
                        let read = Predicate::read(test, operand).map_err(A::Error::custom)?;
                        once(&mut predicate, read)?;
                        continue;
                    }
                    let unknown = || A::Error::custom(format_args!("unknown {word:?}: {WORDS}"));
                    let atom = Atom::of_word(word).ok_or_else(unknown)?;
                    Rule::atom(atom(map.next_value::<String>()?.into()))
                }
            };
            once(&mut rule, read)?;
        }
        match (rule, path, predicate) {
            (Some(rule), None, None) => Ok(rule),
            (None, Some(path), Some(predicate)) => Ok(Rule::claim(path, predicate)),
            (None, Some(_), None) => Err(A::Error::custom(TESTS)),
            (None, None, Some(_)) => Err(A::Error::custom("name the claim: claim = \"..\"")),
            _ => Err(A::Error::custom(FORMS)),
        }
    }
}

struct List(Nested);

impl<'de> DeserializeSeed<'de> for List {
    type Value = Vec<Rule>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Rule>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List {
    type Value = Vec<Rule>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rules, [..]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Rule>, A::Error> {
        let mut rules = Vec::new();
        while let Some(rule) = list.next_element_seed(self.0)? {
            rules.push(rule);
        }
        Ok(rules)
    }
}

/// Reads the `true` of `{ anonymous = true }`.
fn constant<'de, A: MapAccess<'de>>(map: &mut A, rule: Rule) -> Result<Rule, A::Error> {
    if map.next_value()? {
        return Ok(rule);
    }
    Err(A::Error::custom(format_args!(
        "`{rule}` is always true: use {{ not = .. }}"
    )))
}

/// Two forms in one table are an error: it is unclear whether both must hold.
fn once<T, E: Error>(slot: &mut Option<T>, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom(FORMS)),
    }
}

// === impl Rules ===

/// `{ reads = {..}, writes = {..}, methods = { DELETE = {..} }, paths = { "/a" = {..} } }`.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Table {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    paths: BTreeMap<String, Rule>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    methods: BTreeMap<String, Rule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<Rule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    writes: Option<Rule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    otherwise: Option<Rule>,
}

impl Serialize for Rules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = Table {
            otherwise: Some(self.0.otherwise.clone()),
            ..Table::default()
        };
        for (requests, rule) in &self.0.listed {
            let rule = rule.clone();
            match requests {
                Requests::Path(path) => drop(table.paths.insert(path.to_string(), rule)),
                Requests::Method(name) => drop(table.methods.insert(name.to_string(), rule)),
                Requests::Reads => table.reads = Some(rule),
                Requests::Writes => table.writes = Some(rule),
            }
        }
        table.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = Table::deserialize(deserializer)?;
        let mut rules = Self::from(table.otherwise.unwrap_or_else(Rule::nobody));
        for (path, rule) in table.paths {
            rules = rules.path(path, rule);
        }
        for (name, rule) in table.methods {
            let method = Method::from_bytes(name.as_bytes());
            let unknown = |_| D::Error::custom(format_args!("{name:?} is not a method"));
            rules = rules.method(method.map_err(unknown)?, rule);
        }
        let rules = match table.reads {
            Some(rule) => rules.reads(rule),
            None => rules,
        };
        Ok(match table.writes {
            Some(rule) => rules.writes(rule),
            None => rules,
        })
    }
}
