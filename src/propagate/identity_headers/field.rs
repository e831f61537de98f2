//! What of an identity a header can tell, and in which words.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use serde_json::Value;

use crate::claim_path::ClaimPath;
use crate::identity::Identity;
use crate::rejection::Reason;

/// What a header tells of the caller.
///
/// Lists are joined with commas. What is missing or empty leaves the header away.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityField {
    /// The subject. It is unique only together with the issuer.
    Subject,
    /// The issuer.
    Issuer,
    /// The client that the token was issued to.
    Client,
    /// The roles.
    Roles,
    /// The scopes.
    Scopes,
    /// The permissions.
    Permissions,
    /// A claim: a string, an integer, a boolean, or an array of strings. A string with a comma is refused like an element
    /// with one: the upstream could not tell it from a list.
    Claim(ClaimPath),
    /// What a function makes of the identity: see [`from_fn`](Self::from_fn).
    Made(Made),
}

/// A function of the identity. Two are equal if one is a clone of the other.
#[derive(Clone)]
pub struct Made(Arc<Make>);

type Make = dyn Fn(&Identity) -> Option<String> + Send + Sync;

// === impl IdentityField ===

impl IdentityField {
    /// What `make` makes of the identity, such as the name by which a partner is known; `None` leaves the header away.
    ///
    /// Commas are sent as they are: the words are the application's own, and so is the care that nothing of the token makes
    /// one value look like several.
    ///
    /// ```
    /// use portcullis::IdentityHeadersLayer;
    /// use portcullis::propagate::IdentityField;
    ///
    /// let partner = IdentityField::from_fn(|me| match me.client()? {
    ///     "acme-mobile" => Some("acme".to_owned()),
    ///     _ => None,
    /// });
    /// assert!(IdentityHeadersLayer::new().header("x-consumer", partner).is_ok());
    /// ```
    pub fn from_fn(make: impl Fn(&Identity) -> Option<String> + Send + Sync + 'static) -> Self {
        Self::Made(Made(Arc::new(make)))
    }

    /// The header's value, `None` where there is nothing to tell.
    ///
    /// What the upstream could take for something else is refused, not escaped: escapes are decoded by one service and
    /// compared raw by the next.
    pub(crate) fn value(&self, identity: &Identity) -> Result<Option<HeaderValue>, Reason> {
        match self {
            Self::Subject => scalar(identity.subject()),
            Self::Issuer => scalar(identity.issuer()),
            Self::Client => identity.client().map_or(Ok(None), scalar),
            Self::Roles => list(identity.roles().iter().map(Some)),
            Self::Scopes => list(identity.scopes().iter().map(Some)),
            Self::Permissions => list(identity.permissions().iter().map(Some)),
            Self::Claim(path) => identity.claim_at(path).map_or(Ok(None), claim),
            Self::Made(made) => made.0(identity).map_or(Ok(None), |text| scalar(&text)),
        }
    }
}

// === impl Made ===

impl PartialEq for Made {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Made {}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Made")
    }
}

fn claim(value: &Value) -> Result<Option<HeaderValue>, Reason> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(flag) => scalar(if *flag { "true" } else { "false" }),
        // Two large numbers may have become the same float.
        Value::Number(number) if number.is_f64() => Err(Reason::InvalidClaim),
        Value::Number(number) => scalar(&number.to_string()),
        // As the only element of a list: a comma would make it look like several.
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => list([Some(text.as_str())].into_iter()),
        Value::Array(elements) => list(elements.iter().map(Value::as_str)),
        Value::Object(_) => Err(Reason::InvalidClaim),
    }
}

fn scalar(text: &str) -> Result<Option<HeaderValue>, Reason> {
    if text.is_empty() {
        return Ok(None);
    }
    if !is_plain(text) {
        return Err(Reason::InvalidClaim);
    }
    header(text)
}

fn list<'e>(
    elements: impl Iterator<Item = Option<&'e str>>,
) -> Result<Option<HeaderValue>, Reason> {
    let mut joined = String::new();
    for element in elements {
        let is_element = |text: &&str| is_plain(text) && !text.contains(',');
        let element = element.filter(is_element).ok_or(Reason::InvalidClaim)?;
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(element);
    }
    if joined.is_empty() {
        return Ok(None);
    }
    header(&joined)
}

/// Visible ASCII with spaces inside. Blanks at the ends are cut on the way (RFC 9110 section 5.5), and other alphabets
/// are read as one thing here and as another there.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn header(text: &str) -> Result<Option<HeaderValue>, Reason> {
    let value = HeaderValue::from_str(text).map_err(|_| Reason::InvalidClaim)?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::fixture::caller;
    use super::*;

    #[track_caller]
    fn check_claim(value: Value, expected: Result<Option<&str>, Reason>) {
        let caller = caller("alice", &[], json!({ "c": value }));
        let field = IdentityField::Claim("c".into());
        let value = field.value(caller.identity().unwrap());
        let value = value
            .as_ref()
            .map(|value| value.as_ref().map(|v| v.to_str().unwrap()));
        assert_eq!(value.map_err(|reason| *reason), expected);
    }

    #[test]
    fn a_claim_is_a_string_an_integer_a_boolean_or_a_list_of_strings() {
        check_claim(json!("EU"), Ok(Some("EU")));
        check_claim(json!("Jo Doe"), Ok(Some("Jo Doe")));
        check_claim(json!(-7), Ok(Some("-7")));
        check_claim(json!(u64::MAX), Ok(Some("18446744073709551615")));
        check_claim(json!(false), Ok(Some("false")));
        check_claim(json!(["a", "b c"]), Ok(Some("a,b c")));
    }

    #[test]
    fn what_a_function_makes_may_hold_commas() {
        let caller = caller("alice", &[], json!({}));
        let field = IdentityField::from_fn(|_| Some("Doe, Jo".to_owned()));
        let value = field.value(caller.identity().unwrap()).unwrap();
        assert_eq!(value.unwrap(), "Doe, Jo");
    }

    #[test]
    fn what_is_missing_or_empty_leaves_the_header_away() {
        check_claim(json!(null), Ok(None));
        check_claim(json!(""), Ok(None));
        check_claim(json!([]), Ok(None));
        let caller = caller("alice", &[], json!({}));
        let identity = caller.identity().unwrap();
        assert_eq!(IdentityField::Roles.value(identity), Ok(None));
        assert_eq!(IdentityField::Claim("c".into()).value(identity), Ok(None));
    }

    #[test]
    fn what_could_be_taken_for_something_else_is_refused() {
        for value in [
            json!("reader,admin"),
            json!(","),
            json!("Jo Doe, PhD"),
            json!("a\r\nx-user-roles: admin"),
            json!("a\nb"),
            json!("a\tb"),
            json!("a\0"),
            json!("a\u{7f}"),
            json!("a\u{85}"),
            json!("josé"),
            json!(" a"),
            json!("a "),
            json!(" "),
            json!(1.5),
            json!(18446744073709551616.0),
            json!({ "a": 1 }),
        ] {
            check_claim(value, Err(Reason::InvalidClaim));
        }
    }

    #[test]
    fn an_element_that_could_be_taken_for_two_or_for_none_is_refused() {
        for element in [
            json!("reader,admin"),
            json!(","),
            json!(""),
            json!(" admin"),
            json!("admin "),
            json!("admin\n"),
            json!("ädmin"),
            json!(1),
            json!(null),
            json!(["admin"]),
        ] {
            check_claim(json!(["reader", element]), Err(Reason::InvalidClaim));
            check_claim(json!([element]), Err(Reason::InvalidClaim));
        }
    }
}
