//! Paths to claims.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::error::ConfigError;

/// The path to a claim: the name of a top-level claim, or the names of the members that lead to a
/// nested one.
///
/// Dots and slashes in a name have no special meaning, because issuers use URLs as claim names.
///
/// ```
/// use portcullis::ClaimPath;
/// use serde_json::json;
///
/// let claims = json!({
///     "realm_access": { "roles": ["reader"] },
///     "https://example.com/roles": ["admin"],
/// });
/// let nested = ClaimPath::from(["realm_access", "roles"]);
/// assert_eq!(nested.find(&claims), Some(&json!(["reader"])));
/// let flat = ClaimPath::from("https://example.com/roles");
/// assert_eq!(flat.find(&claims), Some(&json!(["admin"])));
/// assert_eq!(ClaimPath::from("realm_access.roles").find(&claims), None);
/// ```
///
/// As text, and with serde, a path of one name is the name itself. A longer path is a JSON list of
/// names:
///
/// ```
/// # use portcullis::ClaimPath;
/// let nested: ClaimPath = r#"["realm_access", "roles"]"#.parse()?;
/// assert_eq!(nested, ClaimPath::from(["realm_access", "roles"]));
/// assert_eq!(nested.to_string(), r#"["realm_access","roles"]"#);
/// assert_eq!("realm_access".parse::<ClaimPath>()?, ClaimPath::from("realm_access"));
/// # Ok::<_, portcullis::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClaimPath(Box<[Box<str>]>);

impl ClaimPath {
    /// Returns the value at this path, if there is one. A path without names finds nothing.
    #[must_use]
    pub fn find<'v>(&self, claims: &'v Value) -> Option<&'v Value> {
        self.find_by(|name| claims.as_object()?.get(name))
    }

    /// Finds the value as [`find`](Self::find) does. `member` returns a top-level claim by name.
    pub(crate) fn find_by<'v>(
        &self,
        member: impl FnOnce(&str) -> Option<&'v Value>,
    ) -> Option<&'v Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(member(first)?, |value, name| {
            value.as_object()?.get(&**name)
        })
    }

    pub(crate) fn names(&self) -> &[Box<str>] {
        &self.0
    }
}

impl From<&str> for ClaimPath {
    fn from(name: &str) -> Self {
        Self(Box::new([name.into()]))
    }
}

impl From<String> for ClaimPath {
    fn from(name: String) -> Self {
        Self(Box::new([name.into()]))
    }
}

impl<S: Into<Box<str>>, const N: usize> From<[S; N]> for ClaimPath {
    fn from(names: [S; N]) -> Self {
        names.into_iter().collect()
    }
}

impl<S: Into<Box<str>>> From<Vec<S>> for ClaimPath {
    fn from(names: Vec<S>) -> Self {
        names.into_iter().collect()
    }
}

impl From<&[&str]> for ClaimPath {
    fn from(names: &[&str]) -> Self {
        names.iter().copied().collect()
    }
}

impl<S: Into<Box<str>>> FromIterator<S> for ClaimPath {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

impl FromStr for ClaimPath {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if !text.starts_with('[') {
            return Ok(text.into());
        }
        let names: Result<Vec<String>, _> = serde_json::from_str(text);
        names.map(Into::into).map_err(|_| ConfigError::Setting {
            setting: "claim path",
            problem: "use a name, or a list of names such as `[\"realm_access\", \"roles\"]`",
        })
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            [name] if !name.starts_with('[') => f.pad(name),
            names => {
                for (at, name) in names.iter().enumerate() {
                    let before = if at == 0 { '[' } else { ',' };
                    write!(f, "{before}{}", Value::from(&**name))?;
                }
                f.write_str(if names.is_empty() { "[]" } else { "]" })
            }
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for ClaimPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &*self.0 {
            [name] => serializer.serialize_str(name),
            names => serializer.collect_seq(names),
        }
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for ClaimPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged, expecting = "the name of a claim, or a list of names")]
        enum Form {
            Name(String),
            Path(Vec<String>),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Name(name) => name.into(),
            Form::Path(names) => names.into(),
        })
    }
}

impl fmt::Debug for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_serde_read_what_they_write() {
        let paths: [ClaimPath; 6] = [
            "roles".into(),
            "https://example.com/roles".to_owned().into(),
            ["realm_access", "roles"].into(),
            vec!["a \"b\"".to_owned(), "c".to_owned()].into(),
            "[roles]".into(),
            Vec::<String>::new().into(),
        ];
        for path in paths {
            assert_eq!(path.to_string().parse::<ClaimPath>().unwrap(), path);
            #[cfg(feature = "serde")]
            {
                let json = serde_json::to_string(&path).unwrap();
                assert_eq!(serde_json::from_str::<ClaimPath>(&json).unwrap(), path);
            }
        }
        assert!("[roles".parse::<ClaimPath>().is_err());
        assert!("[1]".parse::<ClaimPath>().is_err());
    }
}
