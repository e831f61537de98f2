//! Rules in a configuration: `{ any = [{ role = "admin" }, { all = [{ scope = "orders:read" }, ..] }] }`.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::leaf::Leaf;
use super::predicate::{Predicate, Test};
use super::rule::{Node, Rule};
use super::text::MAX_DEPTH;
use crate::claim_path::ClaimPath;

/// The keys of the tables.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Role,
    Scope,
    Permission,
    PermissionPattern,
    PermissionOrWildcard,
    Group,
    Claim,
    Issuer,
    Client,
    Subject,
    Acr,
    MaxAge,
    Any,
    All,
    Not,
    // What a claim must be.
    Is,
    Contains,
    AtLeast,
    AtMost,
    Exists,
}

/// A claim's place: a name, or a list of names.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Place {
    Name(String),
    Path(Vec<String>),
}

const FORMS: &str = "give one form in each table, such as { role = \"..\" }, { any = [..] } or { claim = \"..\", is = .. }";

const WORDS: &str = "use role, scope, permission, permission_pattern, permission_or_wildcard, group, issuer, client, subject, acr, max_age, any, all or not; or claim, and with it is, contains, at_least, at_most or exists";

// === impl Rule ===

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.0 {
            Node::Any(rules) => map.serialize_entry(&Word::Any, rules)?,
            Node::All(rules) => map.serialize_entry(&Word::All, rules)?,
            Node::Not(rule) => map.serialize_entry(&Word::Not, rule)?,
            Node::Leaf(leaf) => match leaf {
                Leaf::Role(name) => map.serialize_entry(&Word::Role, name)?,
                Leaf::Scope(name) => map.serialize_entry(&Word::Scope, name)?,
                Leaf::Permission(name) => map.serialize_entry(&Word::Permission, name)?,
                Leaf::PermissionPattern(name) => {
                    map.serialize_entry(&Word::PermissionPattern, name)?;
                }
                Leaf::PermissionOrWildcard(name) => {
                    map.serialize_entry(&Word::PermissionOrWildcard, name)?;
                }
                Leaf::Group(name) => map.serialize_entry(&Word::Group, name)?,
                Leaf::Issuer(name) => map.serialize_entry(&Word::Issuer, name)?,
                Leaf::Client(name) => map.serialize_entry(&Word::Client, name)?,
                Leaf::Subject(name) => map.serialize_entry(&Word::Subject, name)?,
                Leaf::Acr(value) => map.serialize_entry(&Word::Acr, value)?,
                Leaf::MaxAge(seconds) => map.serialize_entry(&Word::MaxAge, seconds)?,
                Leaf::Claim(claim) => {
                    map.serialize_entry(&Word::Claim, &Place::of(&claim.0))?;
                    match &claim.1.0 {
                        Test::Is(value) => map.serialize_entry(&Word::Is, value)?,
                        Test::Contains(value) => map.serialize_entry(&Word::Contains, value)?,
                        Test::AtLeast(least) => map.serialize_entry(&Word::AtLeast, least)?,
                        Test::AtMost(greatest) => map.serialize_entry(&Word::AtMost, greatest)?,
                        Test::Exists => map.serialize_entry(&Word::Exists, &true)?,
                    }
                }
            },
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Form { depth: 0 }.deserialize(deserializer)
    }
}

// === impl Word ===

impl Word {
    fn named<E: Error>(key: &str) -> Result<Self, E> {
        let word = Self::deserialize(StrDeserializer::<E>::new(key));
        word.map_err(|_| E::custom(format_args!("there is no {key:?}: {WORDS}")))
    }
}

// === impl Place ===

impl Place {
    fn of(path: &ClaimPath) -> Self {
        match path.names() {
            [name] => Self::Name(name.to_string()),
            names => Self::Path(names.iter().map(ToString::to_string).collect()),
        }
    }

    fn path(&self) -> ClaimPath {
        match self {
            Self::Name(name) => name.as_str().into(),
            Self::Path(names) => names.iter().map(String::as_str).collect(),
        }
    }
}

/// A rule inside so many others.
#[derive(Clone, Copy)]
struct Form {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Form {
    type Value = Rule;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Rule, D::Error> {
        if self.depth >= MAX_DEPTH {
            let problem = "nest rules less deeply: 32 inside each other are too many";
            return Err(D::Error::custom(problem));
        }
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Form {
    type Value = Rule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rule: ")?;
        f.write_str(FORMS)
    }

    /// The keys of a claim come in any order.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rule, A::Error> {
        let inner = Self {
            depth: self.depth + 1,
        };
        let (mut rule, mut place, mut predicate) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            let word = Word::named(&key)?;
            let mut name = || map.next_value::<String>().map(String::into_boxed_str);
            let read = match word {
                Word::Role => Rule::leaf(Leaf::Role(name()?)),
                Word::Scope => Rule::leaf(Leaf::Scope(name()?)),
                Word::Permission => Rule::leaf(Leaf::Permission(name()?)),
                Word::PermissionPattern => Rule::leaf(Leaf::PermissionPattern(name()?)),
                Word::PermissionOrWildcard => Rule::leaf(Leaf::PermissionOrWildcard(name()?)),
                Word::Group => Rule::leaf(Leaf::Group(name()?)),
                Word::Issuer => Rule::leaf(Leaf::Issuer(name()?)),
                Word::Client => Rule::leaf(Leaf::Client(name()?)),
                Word::Subject => Rule::leaf(Leaf::Subject(name()?)),
                Word::Acr => Rule::leaf(Leaf::Acr(name()?)),
                Word::MaxAge => Rule::leaf(Leaf::MaxAge(map.next_value()?)),
                Word::Any => Rule::any(map.next_value_seed(List(inner))?),
                Word::All => Rule::all(map.next_value_seed(List(inner))?),
                Word::Not => Rule::not(map.next_value_seed(inner)?),
                Word::Claim => {
                    once(&mut place, map.next_value::<Place>()?)?;
                    continue;
                }
                asked => {
                    let asked = match asked {
                        Word::Contains => Predicate::contains(map.next_value::<Value>()?),
                        Word::AtLeast => Predicate::at_least(map.next_value()?),
                        Word::AtMost => Predicate::at_most(map.next_value()?),
                        Word::Exists if map.next_value()? => Predicate::exists(),
                        Word::Exists => {
                            let problem = "`exists` is always true: put the rule into { not = .. }";
                            return Err(A::Error::custom(problem));
                        }
                        _ => Predicate::is(map.next_value::<Value>()?),
                    };
                    once(&mut predicate, asked)?;
                    continue;
                }
            };
            once(&mut rule, read)?;
        }
        match (rule, place, predicate) {
            (Some(rule), None, None) => Ok(rule),
            (None, Some(place), Some(predicate)) => Ok(Rule::claim(place.path(), predicate)),
            (None, Some(_), None) => Err(A::Error::custom(
                "say what the claim must be: is, contains, at_least, at_most or exists",
            )),
            (None, None, Some(_)) => Err(A::Error::custom("name the claim: claim = \"..\"")),
            _ => Err(A::Error::custom(FORMS)),
        }
    }
}

struct List(Form);

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

/// A second form in one table would have to be combined with the first, and how is the user's to say.
fn once<T, E: Error>(slot: &mut Option<T>, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom(FORMS)),
    }
}
