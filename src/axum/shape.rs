//! Why claims do not fit a type, in words that contain nothing of the token.
//!
//! The messages of `serde_json` quote values (``invalid type: string "alice@example.com"``). After
//! a failure, the claims are therefore read once more with an error type that keeps what the *type*
//! states (field names, variants, expectations) and the kind of each value, but never a value or a
//! key of the token.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Value;

/// The field that does not fit, and why.
#[derive(Debug)]
pub(super) struct Misfit {
    /// The innermost field first.
    path: Vec<&'static str>,
    problem: String,
}

/// Reads `claims` as a `T`, which is expected to fail.
pub(super) fn explain<T: DeserializeOwned>(claims: &Value) -> Misfit {
    let fits = || Misfit::custom("");
    let misfit = T::deserialize(Claim(claims)).err().unwrap_or_else(fits);
    if quotes(&misfit.problem, claims) {
        let problem = Misfit::custom("").problem;
        return Misfit { problem, ..misfit };
    }
    misfit
}

/// Whether `problem` contains a value of the token. An expectation may be written by hand, and only
/// short values occur in one by chance.
fn quotes(problem: &str, claims: &Value) -> bool {
    let is_quoted = |value: &str| value.len() > 3 && problem.contains(value);
    match claims {
        Value::Null | Value::Bool(_) => false,
        Value::Number(number) => is_quoted(&number.to_string()),
        Value::String(text) => is_quoted(text),
        Value::Array(list) => list.iter().any(|value| quotes(problem, value)),
        Value::Object(members) => members.values().any(|value| quotes(problem, value)),
    }
}

// === impl Misfit ===

impl Misfit {
    /// The names of the fields from the top level, separated by dots.
    pub(super) fn field(&self) -> String {
        let names: Vec<&str> = self.path.iter().rev().copied().collect();
        names.join(".")
    }

    pub(super) fn into_problem(self) -> String {
        self.problem
    }

    fn new(problem: impl Into<String>) -> Self {
        Self {
            path: Vec::new(),
            problem: problem.into(),
        }
    }

    fn inside(mut self, field: Option<&'static str>) -> Self {
        self.path.extend(field);
        self
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Misfit {}

impl Error for Misfit {
    /// A custom message of the type may quote the value.
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::new("the value does not fit the type")
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!(
            "invalid type: {}, expected {expected}",
            kind(found)
        ))
    }

    /// `expected` is usually written by hand here, so it may quote the value.
    fn invalid_value(found: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::new(format!("invalid value: {}", kind(found)))
    }

    fn invalid_length(_: usize, _: &dyn Expected) -> Self {
        Self::new("invalid length")
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!(
            "unknown variant, expected one of {}",
            expected.join(", ")
        ))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!(
            "unknown field, expected one of {}",
            expected.join(", ")
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("missing field").inside(Some(field))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new("duplicate field").inside(Some(field))
    }
}

const fn kind(value: Unexpected<'_>) -> &'static str {
    match value {
        Unexpected::Bool(_) => "boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "integer",
        Unexpected::Float(_) => "floating point",
        Unexpected::Char(_) | Unexpected::Str(_) => "string",
        Unexpected::Seq => "sequence",
        Unexpected::Map | Unexpected::StructVariant => "map",
        Unexpected::Unit | Unexpected::Option => "null",
        _ => "other value",
    }
}

/// A claim as serde reads it, with errors that contain nothing of it.
#[derive(Clone, Copy)]
struct Claim<'c>(&'c Value);

impl<'de> Claim<'de> {
    fn members(self, fields: &'static [&'static str]) -> Option<Members<'de>> {
        let members = self.0.as_object()?.iter();
        Some(Members {
            members,
            fields,
            current: None,
        })
    }
}

impl<'de> IntoDeserializer<'de, Misfit> for Claim<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Claim<'de> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(list) => visitor.visit_seq(SeqDeserializer::new(list.iter().map(Claim))),
            Value::Object(_) => self.deserialize_struct("", &[], visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.members(fields) {
            Some(members) => visitor.visit_map(members),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match (self.0, self.members(variants)) {
            (Value::String(variant), _) => visitor.visit_enum(variant.as_str().into_deserializer()),
            (_, Some(members)) => visitor.visit_enum(MapAccessDeserializer::new(members)),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Members<'c> {
    members: serde_json::map::Iter<'c>,
    /// The keys that the type knows; any other key comes from the token alone.
    fields: &'static [&'static str],
    current: Option<(&'c String, &'c Value)>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Misfit> {
        self.current = self.members.next();
        let key = self.current.map(|(key, _)| key.as_str());
        key.map(|key| seed.deserialize(key.into_deserializer()))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let (key, value) = self.current.ok_or_else(|| Misfit::custom(""))?;
        let field = self.fields.iter().copied().find(|field| field == key);
        let read = seed.deserialize(Claim(value));
        read.map_err(|misfit| misfit.inside(field))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[allow(dead_code)]
    enum Plan {
        Free,
        Pro,
        Custom { seats: u8 },
    }

    #[derive(Debug)]
    struct Picky;

    impl<'de> Deserialize<'de> for Picky {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            match &*text {
                "secret-custom" => Err(D::Error::custom(format!("bad {text}"))),
                "secret-type" => {
                    let expected = format!("anything but {text}");
                    Err(D::Error::invalid_type(
                        Unexpected::Other(&text),
                        &&*expected,
                    ))
                }
                text => {
                    let expected = format!("anything but {text}");
                    Err(D::Error::invalid_value(Unexpected::Str(text), &&*expected))
                }
            }
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Org {
        tenant: String,
        seats: Option<u8>,
        plan: Option<Plan>,
        picky: Option<Picky>,
        by_name: Option<HashMap<String, u8>>,
        list: Option<Vec<u8>>,
        pair: Option<(u8, u8)>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Mine {
        org: Org,
    }

    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    #[allow(dead_code)]
    enum Either {
        Number(u8),
        Org(Org),
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Flat {
        #[serde(flatten)]
        org: Org,
    }

    /// Every value in these claims is `secret` or 4711.
    #[test]
    fn messages_contain_nothing_of_the_token() {
        let org = |name: &str, value: Value| {
            let mut org = json!({ "tenant": "secret" });
            org[name] = value;
            json!({ "org": org })
        };
        for (claims, field, problem) in [
            (json!({}), "org", "missing field"),
            (json!({ "org": {} }), "org.tenant", "missing field"),
            (
                json!({ "org": "secret" }),
                "org",
                "invalid type: string, expected struct Org",
            ),
            (
                org("tenant", json!(4711)),
                "org.tenant",
                "invalid type: integer, expected a string",
            ),
            (
                org("tenant", json!(null)),
                "org.tenant",
                "invalid type: null, expected a string",
            ),
            (
                org("seats", json!("secret")),
                "org.seats",
                "invalid type: string, expected u8",
            ),
            (
                org("seats", json!(4711)),
                "org.seats",
                "invalid value: integer",
            ),
            (
                org("seats", json!(-4711)),
                "org.seats",
                "invalid value: integer",
            ),
            (
                org("seats", json!(4711.5)),
                "org.seats",
                "invalid type: floating point, expected u8",
            ),
            (
                org("plan", json!("secret")),
                "org.plan",
                "unknown variant, expected one of free, pro, custom",
            ),
            (
                org("plan", json!({ "secret": {} })),
                "org.plan",
                "unknown variant, expected one of free, pro, custom",
            ),
            (
                org("plan", json!({ "custom": {} })),
                "org.plan.custom.seats",
                "missing field",
            ),
            (
                org("picky", json!("secret-custom")),
                "org.picky",
                "the value does not fit the type",
            ),
            (
                org("picky", json!("secret-type")),
                "org.picky",
                "the value does not fit the type",
            ),
            (
                org("picky", json!("secret")),
                "org.picky",
                "invalid value: string",
            ),
            (
                org("by_name", json!({ "secret": "secret" })),
                "org.by_name",
                "invalid type: string, expected u8",
            ),
            (
                org("list", json!([1, "secret"])),
                "org.list",
                "invalid type: string, expected u8",
            ),
            (org("pair", json!([1])), "org.pair", "invalid length"),
            (
                org("secret", json!(1)),
                "org",
                "unknown field, expected one of tenant, seats, plan, picky, by_name, list, pair",
            ),
        ] {
            let error = serde_json::from_value::<Mine>(claims.clone()).unwrap_err();
            let misfit = explain::<Mine>(&claims);
            assert_eq!(
                (&*misfit.field(), &*misfit.problem),
                (field, problem),
                "{error}"
            );
        }
        for claims in [
            json!({ "tenant": ["secret"] }),
            json!("secret"),
            json!({ "secret": 4711 }),
        ] {
            for misfit in [explain::<Either>(&claims), explain::<Flat>(&claims)] {
                assert!(!format!("{misfit:?}").contains("secret"), "{misfit:?}");
            }
        }
    }

    #[test]
    fn claims_that_fit_are_not_explained() {
        let claims = json!({ "org": { "tenant": "acme", "pair": [1, 2], "plan": { "custom": { "seats": 3 } } } });
        assert!(Mine::deserialize(Claim(&claims)).is_ok());
        assert_eq!(
            explain::<Mine>(&claims).problem,
            "the value does not fit the type"
        );
    }
}
