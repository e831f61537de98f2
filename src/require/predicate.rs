//! What a claim must be.

use std::cmp::Ordering;
use std::mem::discriminant;

use serde_json::{Number, Value};

use super::truth::Truth;

/// What a claim must be, for [`Rule::claim`](crate::Rule::claim).
///
/// A claim of another type gives no answer: neither the predicate nor its opposite holds.
///
/// ```
/// use portcullis::Rule;
/// use portcullis::require::Predicate;
///
/// let verified = Rule::claim("email_verified", true);
/// let partner = Rule::claim(["org", "tags"], Predicate::contains("partner"));
/// let trusted = Rule::claim("trust", Predicate::at_least(3)) & Rule::claim("trust", Predicate::at_most(9));
/// let enrolled = Rule::claim("mfa", Predicate::exists());
/// # let _ = (verified, partner, trusted, enrolled);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate {
    pub(super) test: Test,
    /// A whole number for `AtLeast` and `AtMost`, `true` for `Exists`.
    pub(super) operand: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Is,
    Contains,
    AtLeast,
    AtMost,
    Exists,
}

/// For error messages.
pub(super) const TESTS: &str =
    "add what the claim must be: is, contains, at_least, at_most or exists";

// === impl Test ===

impl Test {
    const ALL: [Self; 5] = [
        Self::Is,
        Self::Contains,
        Self::AtLeast,
        Self::AtMost,
        Self::Exists,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Is => "is",
            Self::Contains => "contains",
            Self::AtLeast => "at_least",
            Self::AtMost => "at_most",
            Self::Exists => "exists",
        }
    }

    pub(super) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|test| test.as_str() == word)
    }
}

// === impl Predicate ===

impl Predicate {
    /// The claim equals this value. A plain value means the same: `Rule::claim("tenant", "acme")`.
    #[must_use]
    pub fn is(value: impl Into<Value>) -> Self {
        Self::new(Test::Is, value)
    }

    /// The claim is a list that contains this value, or equals the value.
    #[must_use]
    pub fn contains(value: impl Into<Value>) -> Self {
        Self::new(Test::Contains, value)
    }

    /// The claim is a number and at least this one.
    #[must_use]
    pub fn at_least(least: i64) -> Self {
        Self::new(Test::AtLeast, least)
    }

    /// The claim is a number and at most this one.
    #[must_use]
    pub fn at_most(greatest: i64) -> Self {
        Self::new(Test::AtMost, greatest)
    }

    /// The claim is present and not null. The only predicate whose opposite holds for a missing
    /// claim.
    #[must_use]
    pub fn exists() -> Self {
        Self::new(Test::Exists, true)
    }

    fn new(test: Test, operand: impl Into<Value>) -> Self {
        let operand = operand.into();
        Self { test, operand }
    }

    /// Makes a predicate from a text or a configuration. The error is a text for the user.
    pub(super) fn read(test: Test, operand: Value) -> Result<Self, &'static str> {
        match test {
            Test::AtLeast | Test::AtMost if operand.as_i64().is_none() => {
                Err("`at_least` and `at_most` take a whole number")
            }
            Test::Exists if operand != Value::Bool(true) => {
                Err("`exists` is always true: put the rule into { not = .. }")
            }
            _ => Ok(Self { test, operand }),
        }
    }

    pub(super) fn truth(&self, claim: Option<&Value>) -> Truth {
        let Some(claim) = claim.filter(|claim| !claim.is_null()) else {
            return match self.test {
                Test::Exists => Truth::No,
                _ => Truth::Unknown,
            };
        };
        match (self.test, claim) {
            (Test::Exists, _) => Truth::Yes,
            (Test::Contains, Value::Array(list)) => {
                Truth::any(list.iter().map(|own| same(&self.operand, own)))
            }
            (Test::Is | Test::Contains, claim) => same(&self.operand, claim),
            (Test::AtLeast, Value::Number(number)) => {
                self.compare(number).is_some_and(Ordering::is_ge).into()
            }
            (Test::AtMost, Value::Number(number)) => {
                self.compare(number).is_some_and(Ordering::is_le).into()
            }
            (Test::AtLeast | Test::AtMost, _) => Truth::Unknown,
        }
    }

    /// A number of a claim with the bound of this predicate.
    fn compare(&self, number: &Number) -> Option<Ordering> {
        let bound = self.operand.as_i64()?;
        if let Some(whole) = number.as_i64() {
            return Some(whole.cmp(&bound));
        }
        if number.is_u64() {
            return Some(Ordering::Greater);
        }
        number.as_f64()?.partial_cmp(&(bound as f64))
    }
}

impl<T: Into<Value>> From<T> for Predicate {
    fn from(value: T) -> Self {
        Self::is(value)
    }
}

/// Whether two values are equal. If their types differ, the answer is unknown.
fn same(value: &Value, claim: &Value) -> Truth {
    match (value, claim) {
        // JSON has one type of numbers: 7 and 7.0 are equal.
        (Value::Number(own), Value::Number(number)) => {
            (own == number || own.as_f64() == number.as_f64() && !are_whole(own, number)).into()
        }
        (Value::Array(own), Value::Array(list)) if own.len() == list.len() => {
            Truth::all(own.iter().zip(list).map(|(own, value)| same(own, value)))
        }
        (Value::Object(own), Value::Object(map)) if own.len() == map.len() => {
            Truth::all(own.iter().map(|(name, own)| {
                let value = map.get(name);
                value.map_or(Truth::No, |value| same(own, value))
            }))
        }
        (value, claim) if discriminant(value) == discriminant(claim) => (value == claim).into(),
        _ => Truth::Unknown,
    }
}

/// Whole numbers are not converted to floats, because two different large numbers may become equal.
fn are_whole(own: &Number, number: &Number) -> bool {
    !own.is_f64() && !number.is_f64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use Truth::{No, Unknown, Yes};

    #[test]
    fn claims_of_another_type_are_unknown() {
        for (predicate, claim, expected) in [
            (Predicate::is("a"), json!("a"), Yes),
            (Predicate::is("a"), json!("A"), No),
            (Predicate::is("a"), json!(["a"]), Unknown),
            (Predicate::is("a"), json!(7), Unknown),
            (Predicate::is("true"), json!(true), Unknown),
            (Predicate::is(true), json!(true), Yes),
            (Predicate::is(true), json!(1), Unknown),
            (Predicate::is(7), json!(7), Yes),
            (Predicate::is(7), json!(7.0), Yes),
            (Predicate::is(7), json!(7.5), No),
            (Predicate::is(7), json!("7"), Unknown),
            (Predicate::is(i64::MAX), json!(i64::MAX - 1), No),
            (Predicate::is("a"), json!(null), Unknown),
            (Predicate::is(json!(["a", 7])), json!(["a", 7.0]), Yes),
            (Predicate::is(json!(["a", 7])), json!(["a", "7"]), Unknown),
            (Predicate::is(json!(["a", 7])), json!(["a"]), No),
            (Predicate::is(json!({"a": [7]})), json!({"a": [7.0]}), Yes),
            (Predicate::is(json!({"a": 7})), json!({"b": 7}), No),
            (Predicate::is(json!({"a": 7})), json!({"a": true}), Unknown),
            (Predicate::contains("a"), json!(["b", "a"]), Yes),
            (Predicate::contains("a"), json!("a"), Yes),
            (Predicate::contains("a"), json!("ab"), No),
            (Predicate::contains("a"), json!([]), No),
            (Predicate::contains("a"), json!(["b", 7]), Unknown),
            (Predicate::contains("a"), json!({ "a": 1 }), Unknown),
            (Predicate::at_least(3), json!(3), Yes),
            (Predicate::at_least(3), json!(2.9), No),
            (Predicate::at_least(3), json!(u64::MAX), Yes),
            (Predicate::at_least(3), json!("3"), Unknown),
            (Predicate::at_most(3), json!(3.0), Yes),
            (Predicate::at_most(3), json!(u64::MAX), No),
            (Predicate::exists(), json!(false), Yes),
            (Predicate::exists(), json!(null), No),
        ] {
            assert_eq!(
                predicate.truth(Some(&claim)),
                expected,
                "{predicate:?} {claim}"
            );
        }
        assert_eq!(Predicate::exists().truth(None), No);
        assert_eq!(Predicate::contains("a").truth(None), Unknown);
    }
}
