//! What an identity header contains, and which values are safe to send.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::HeaderValue;
use serde_json::Value;

use crate::claim_path::ClaimPath;
use crate::error::ConfigError;
use crate::identity::Identity;
use crate::rejection::Reason;

/// The part of an identity that a header contains.
///
/// Lists are joined with commas. If the part is missing or empty, the header is not sent.
///
/// As text, and with the feature `serde`, it is one of the words below or else a [`ClaimPath`]. A
/// top-level claim that is named like one of the words is a list of one: `["roles"]`.
///
/// ```
/// use portcullis::propagate::IdentityField;
///
/// assert_eq!("sub".parse(), Ok(IdentityField::Subject));
/// assert_eq!("tenant".parse(), Ok(IdentityField::Claim("tenant".into())));
/// let nested = IdentityField::Claim(["address", "country"].into());
/// assert_eq!(nested.to_string(), r#"["address","country"]"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdentityField {
    /// `sub`: the subject. It is unique only together with the issuer.
    Subject,
    /// `iss`: the issuer.
    Issuer,
    /// `client`: the client that the token was issued to.
    Client,
    /// `roles`: the roles.
    Roles,
    /// `scope`: the scopes.
    Scopes,
    /// `permissions`: the permissions.
    Permissions,
    /// A claim: a string, an integer, a boolean, or an array of strings. A string with a comma is
    /// rejected like an element with one, because the upstream could take it for a list.
    Claim(ClaimPath),
}

/// How the value of a header is made.
#[derive(Clone)]
pub(super) enum HeaderSource {
    Field(IdentityField),
    Function(Arc<Function>),
}

type Function = dyn Fn(&Identity) -> Option<String> + Send + Sync;

// === impl IdentityField ===

impl IdentityField {
    const WORDS: [(&str, Self); 6] = [
        ("sub", Self::Subject),
        ("iss", Self::Issuer),
        ("client", Self::Client),
        ("roles", Self::Roles),
        ("scope", Self::Scopes),
        ("permissions", Self::Permissions),
    ];

    fn word(&self) -> Option<&'static str> {
        let mut words = Self::WORDS.into_iter();
        words.find_map(|(word, field)| (field == *self).then_some(word))
    }

    /// The path, if its text would be read as one of the words.
    fn shadowed(&self) -> Option<&str> {
        match self {
            Self::Claim(path) => match path.names() {
                [name] if Self::WORDS.iter().any(|(word, _)| **word == **name) => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value of the header, or `None` if there is nothing to send.
    ///
    /// A value that the upstream could misread is rejected and not escaped: one service decodes an
    /// escape and the next compares it as it is.
    fn value(&self, identity: &Identity) -> Result<Option<HeaderValue>, Reason> {
        match self {
            Self::Subject => scalar(identity.subject()),
            Self::Issuer => scalar(identity.issuer()),
            Self::Client => identity.client().map_or(Ok(None), scalar),
            Self::Roles => list(identity.roles().iter().map(Some)),
            Self::Scopes => list(identity.scopes().iter().map(Some)),
            Self::Permissions => list(identity.permissions().iter().map(Some)),
            Self::Claim(path) => identity.claim_at(path).map_or(Ok(None), claim),
        }
    }
}

impl FromStr for IdentityField {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let word = Self::WORDS.into_iter().find(|(word, _)| *word == text);
        word.map_or_else(|| text.parse().map(Self::Claim), |(_, field)| Ok(field))
    }
}

impl fmt::Display for IdentityField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.word(), self.shadowed()) {
            (_, Some(word), _) => f.pad(word),
            (_, _, Some(name)) => write!(f, "[\"{name}\"]"),
            (Self::Claim(path), ..) => path.fmt(f),
            _ => Ok(()),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for IdentityField {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self, self.shadowed()) {
            (_, Some(name)) => serializer.collect_seq([name]),
            (Self::Claim(path), None) => path.serialize(serializer),
            (_, None) => serializer.collect_str(self),
        }
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for IdentityField {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(
            untagged,
            expecting = "a field of the identity, the name of a claim, or a list of names"
        )]
        enum Form {
            Text(String),
            Path(Vec<String>),
        }
        match Form::deserialize(deserializer)? {
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
            Form::Path(names) => Ok(Self::Claim(names.into())),
        }
    }
}

// === impl HeaderSource ===

impl HeaderSource {
    /// The value of the header, or `None` if there is nothing to send.
    pub(super) fn value(&self, identity: &Identity) -> Result<Option<HeaderValue>, Reason> {
        match self {
            Self::Field(field) => field.value(identity),
            Self::Function(value) => value(identity).map_or(Ok(None), |text| scalar(&text)),
        }
    }
}

impl fmt::Debug for HeaderSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => field.fmt(f),
            Self::Function(_) => f.write_str("Function"),
        }
    }
}

fn claim(value: &Value) -> Result<Option<HeaderValue>, Reason> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(flag) => scalar(if *flag { "true" } else { "false" }),
        // Two large integers can become the same float.
        Value::Number(number) if number.is_f64() => Err(Reason::InvalidClaim),
        Value::Number(number) => scalar(&number.to_string()),
        // As the only element of a list, which must not contain a comma.
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

/// Whether it is visible ASCII with spaces only inside. Recipients remove outer spaces (RFC 9110
/// section 5.5), and decode other bytes in different ways.
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
    fn claims_of_four_types_are_sent() {
        check_claim(json!("EU"), Ok(Some("EU")));
        check_claim(json!("Jo Doe"), Ok(Some("Jo Doe")));
        check_claim(json!(-7), Ok(Some("-7")));
        check_claim(json!(u64::MAX), Ok(Some("18446744073709551615")));
        check_claim(json!(false), Ok(Some("false")));
        check_claim(json!(["a", "b c"]), Ok(Some("a,b c")));
    }

    #[test]
    fn a_function_may_return_commas() {
        let caller = caller("alice", &[], json!({}));
        let source = HeaderSource::Function(Arc::new(|_| Some("Doe, Jo".to_owned())));
        let value = source.value(caller.identity().unwrap()).unwrap();
        assert_eq!(value.unwrap(), "Doe, Jo");
    }

    #[test]
    fn missing_and_empty_values_send_no_header() {
        check_claim(json!(null), Ok(None));
        check_claim(json!(""), Ok(None));
        check_claim(json!([]), Ok(None));
        let caller = caller("alice", &[], json!({}));
        let identity = caller.identity().unwrap();
        assert_eq!(IdentityField::Roles.value(identity), Ok(None));
        assert_eq!(IdentityField::Claim("c".into()).value(identity), Ok(None));
    }

    #[test]
    fn ambiguous_values_are_rejected() {
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
    fn ambiguous_elements_are_rejected() {
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

    #[test]
    fn every_field_is_read_as_it_is_written() {
        #[track_caller]
        fn check(field: IdentityField, text: &str) {
            assert_eq!(field.to_string(), text);
            assert_eq!(text.parse(), Ok(field.clone()));
            #[cfg(feature = "serde")]
            {
                let json = serde_json::to_value(&field).unwrap();
                assert_eq!(
                    serde_json::from_value::<IdentityField>(json).unwrap(),
                    field
                );
            }
        }
        for (word, field) in IdentityField::WORDS {
            check(field, word);
            let claim = IdentityField::Claim(word.into());
            check(claim, &format!("[\"{word}\"]"));
        }
        check(IdentityField::Claim("tenant".into()), "tenant");
        check(IdentityField::Claim(["a", "b"].into()), r#"["a","b"]"#);
        assert!("[1]".parse::<IdentityField>().is_err());
    }
}
