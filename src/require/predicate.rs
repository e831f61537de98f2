//! What a claim must be.

use std::cmp::Ordering;
use std::mem::discriminant;

use serde_json::{Number, Value};

use super::truth::Truth;

/// What a claim must be, for [`Rule::claim`](crate::Rule::claim).
///
/// A claim of another type than the one asked for is no answer: neither the predicate nor its opposite holds.
///
/// ```
/// use portcullis::Rule;
/// use portcullis::require::Predicate;
///
/// let verified = Rule::claim("email_verified", true);
/// let partner = Rule::claim(["org", "tags"], Predicate::contains("partner"));
/// let trusted = Rule::claim("trust", Predicate::at_least(3));
/// # let _ = (verified, partner, trusted);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate(pub(super) Test);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Is(Value),
    Contains(Value),
    AtLeast(i64),
    AtMost(i64),
    Exists,
}

// === impl Predicate ===

impl Predicate {
    /// The claim is this value. A plain value says the same: `Rule::claim("tenant", "acme")`.
    #[must_use]
    pub fn is(value: impl Into<Value>) -> Self {
        Self(Test::Is(value.into()))
    }

    /// The claim is a list that holds this value, or the value alone.
    #[must_use]
    pub fn contains(value: impl Into<Value>) -> Self {
        Self(Test::Contains(value.into()))
    }

    /// The claim is a number, and not less than this one.
    #[must_use]
    pub fn at_least(least: i64) -> Self {
        Self(Test::AtLeast(least))
    }

    /// The claim is a number, and not greater than this one.
    #[must_use]
    pub fn at_most(greatest: i64) -> Self {
        Self(Test::AtMost(greatest))
    }

    /// The claim is there, and not null. Alone among the predicates its opposite holds for a claim that is missing.
    #[must_use]
    pub fn exists() -> Self {
        Self(Test::Exists)
    }

    pub(super) fn truth(&self, claim: Option<&Value>) -> Truth {
        let claim = claim.filter(|claim| !claim.is_null());
        let Some(claim) = claim else {
            return match self.0 {
                Test::Exists => Truth::No,
                _ => Truth::Unknown,
            };
        };
        match (&self.0, claim) {
            (Test::Exists, _) => Truth::Yes,
            (Test::Is(value), claim) => same(value, claim),
            (Test::Contains(value), Value::Array(list)) => {
                Truth::any(list.iter().map(|own| same(value, own)))
            }
            (Test::Contains(value), claim) => same(value, claim),
            (Test::AtLeast(least), Value::Number(number)) => {
                compare(number, *least).is_some_and(Ordering::is_ge).into()
            }
            (Test::AtMost(greatest), Value::Number(number)) => compare(number, *greatest)
                .is_some_and(Ordering::is_le)
                .into(),
            (Test::AtLeast(_) | Test::AtMost(_), _) => Truth::Unknown,
        }
    }
}

impl<T: Into<Value>> From<T> for Predicate {
    fn from(value: T) -> Self {
        Self::is(value)
    }
}

/// Whether two values are one. Of two types they cannot be compared.
fn same(value: &Value, claim: &Value) -> Truth {
    match (value, claim) {
        // JSON knows one kind of numbers: 7 and 7.0 are one.
        (Value::Number(own), Value::Number(number)) => {
            (own == number || own.as_f64() == number.as_f64() && !is_whole(own, number)).into()
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

/// Whole numbers are compared as such: as floats two large ones may look alike.
fn is_whole(own: &Number, number: &Number) -> bool {
    !own.is_f64() && !number.is_f64()
}

fn compare(number: &Number, bound: i64) -> Option<Ordering> {
    if let Some(whole) = number.as_i64() {
        return Some(whole.cmp(&bound));
    }
    if number.is_u64() {
        return Some(Ordering::Greater);
    }
    number.as_f64()?.partial_cmp(&(bound as f64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use Truth::{No, Unknown, Yes};

    #[test]
    fn another_type_is_no_answer() {
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
