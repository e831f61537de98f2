//! A claim's place in a token: a name, or a path of names.

use std::fmt;

use serde_json::Value;

/// Where a claim stands: its name, or the names that lead to it.
///
/// A name is taken whole, dots and slashes included, because issuers use URLs as claim names; a path is an array.
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
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClaimPath(Box<[Box<str>]>);

impl ClaimPath {
    /// The value at this place, if every name on the way is there. A path of no names leads nowhere.
    #[must_use]
    pub fn find<'v>(&self, claims: &'v Value) -> Option<&'v Value> {
        let (first, rest) = self.0.split_first()?;
        let value = claims.as_object()?.get(&**first);
        rest.iter()
            .try_fold(value?, |value, name| value.as_object()?.get(&**name))
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

impl<const N: usize> From<[&str; N]> for ClaimPath {
    fn from(names: [&str; N]) -> Self {
        Self(names.map(Into::into).into())
    }
}

impl From<&[&str]> for ClaimPath {
    fn from(names: &[&str]) -> Self {
        Self(names.iter().map(|name| (*name).into()).collect())
    }
}

impl<'n> FromIterator<&'n str> for ClaimPath {
    fn from_iter<I: IntoIterator<Item = &'n str>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

impl fmt::Debug for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}
