//! What a caller must have, as a value.

use std::fmt;
use std::ops::{BitAnd, BitOr, Not};
use std::time::Duration;

use super::leaf::Leaf;
use super::predicate::Predicate;
use super::truth::Truth;
use crate::claim_path::ClaimPath;
use crate::clock::Clock;
use crate::identity::Identity;

/// What a caller must have: a role, a scope, a claim, or a combination of them.
///
/// Rules are values: they compare, print, parse, and come out of a configuration (see [the module](crate::require)).
/// Names are text or a type of your own that is [`AsRef<str>`].
///
/// ```
/// use portcullis::Rule;
///
/// enum Role {
///     Admin,
///     Clerk,
/// }
///
/// impl AsRef<str> for Role {
///     fn as_ref(&self) -> &str {
///         match self {
///             Self::Admin => "admin",
///             Self::Clerk => "clerk",
///         }
///     }
/// }
///
/// let rule = Rule::role(Role::Admin) | Rule::scope("orders:read") & Rule::role(Role::Clerk);
/// assert_eq!(rule.to_string(), "any(role:admin, all(scope:orders:read, role:clerk))");
/// assert_eq!(rule, rule.to_string().parse()?);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
///
/// A rule admits only callers for whom it is known to hold. What a token leaves out is unknown, and so is its opposite: neither
/// `claim(tenant is "acme")` nor `not(claim(tenant is "acme"))` admits a caller without the claim. Roles, scopes, permissions
/// and the client are always known: a caller whose token names none has none.
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct Rule(pub(super) Node);

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Node {
    Leaf(Leaf),
    Any(Box<[Rule]>),
    All(Box<[Rule]>),
    Not(Box<Rule>),
}

// === impl Rule ===

impl Rule {
    /// The caller has this role.
    pub fn role(name: impl AsRef<str>) -> Self {
        Self::leaf(Leaf::Role(name.as_ref().into()))
    }

    /// The token was granted this scope.
    pub fn scope(name: impl AsRef<str>) -> Self {
        Self::leaf(Leaf::Scope(name.as_ref().into()))
    }

    /// The caller has this permission, spelled exactly so. A `*` on either side is a letter like any other.
    pub fn permission(name: impl AsRef<str>) -> Self {
        Self::leaf(Leaf::Permission(name.as_ref().into()))
    }

    /// The caller has a permission that fits `pattern`: `order:*` is any permission of two segments whose first is
    /// `order`. A `*` stands for one whole segment, never for several.
    pub fn permission_pattern(pattern: impl AsRef<str>) -> Self {
        Self::leaf(Leaf::PermissionPattern(pattern.as_ref().into()))
    }

    /// The caller has this permission, or one with wildcards that covers it: `order:*` covers `order:read`, and not
    /// `order:line:read`. For issuers that grant wildcards.
    pub fn permission_or_wildcard(name: impl AsRef<str>) -> Self {
        Self::leaf(Leaf::PermissionOrWildcard(name.as_ref().into()))
    }

    /// The caller is in this group, by the claim `groups`.
    ///
    /// A token without the claim says nothing about groups: issuers leave the list out where it is too long.
    pub fn group(name: impl AsRef<str>) -> Self {
        Self::leaf(Leaf::Group(name.as_ref().into()))
    }

    /// The claim at `path` is as `predicate` says, or simply is this value.
    ///
    /// Claims are parsed at the first such question, once per token.
    pub fn claim(path: impl Into<ClaimPath>, predicate: impl Into<Predicate>) -> Self {
        Self::leaf(Leaf::Claim(Box::new((path.into(), predicate.into()))))
    }

    /// The token comes from this issuer.
    pub fn issuer(issuer: impl AsRef<str>) -> Self {
        Self::leaf(Leaf::Issuer(issuer.as_ref().into()))
    }

    /// The token was issued to this client (`azp`, else `client_id`).
    pub fn client(id: impl AsRef<str>) -> Self {
        Self::leaf(Leaf::Client(id.as_ref().into()))
    }

    /// The caller is this subject. With several issuers a subject alone names nobody: combine it with
    /// [`issuer`](Self::issuer).
    pub fn subject(subject: impl AsRef<str>) -> Self {
        Self::leaf(Leaf::Subject(subject.as_ref().into()))
    }

    /// The caller was authenticated in this way (`acr`, RFC 9470). Who was not is asked to log in again, that way.
    pub fn acr(value: impl AsRef<str>) -> Self {
        Self::leaf(Leaf::Acr(value.as_ref().into()))
    }

    /// The caller logged in at most so long ago (`auth_time`, RFC 9470), in whole seconds. Who did not is asked to log
    /// in again.
    pub fn max_age(age: Duration) -> Self {
        Self::leaf(Leaf::MaxAge(age.as_secs()))
    }

    /// Any verified caller.
    pub fn verified() -> Self {
        Self::all([])
    }

    /// Nobody.
    pub fn nobody() -> Self {
        Self::any([])
    }

    /// `rule` is known not to hold. An anonymous caller is refused all the same.
    #[allow(clippy::should_implement_trait)] // the operator is there too; words read better in a list
    pub fn not(rule: Self) -> Self {
        Self(Node::Not(rule.into()))
    }

    /// At least one of `rules` holds. Of none, none does: an empty list admits nobody.
    pub fn any(rules: impl IntoIterator<Item = Self>) -> Self {
        Self(Node::Any(rules.into_iter().collect()))
    }

    /// Every one of `rules` holds. An empty list admits every verified caller.
    pub fn all(rules: impl IntoIterator<Item = Self>) -> Self {
        Self(Node::All(rules.into_iter().collect()))
    }

    /// Whether the rule holds for a caller, by the system's clock. It allocates nothing, apart from the first question about a
    /// claim of a token.
    #[must_use]
    pub fn holds(&self, caller: &Identity) -> bool {
        self.truth(caller, &Clock::System).is_yes()
    }

    pub(super) fn leaf(leaf: Leaf) -> Self {
        Self(Node::Leaf(leaf))
    }

    /// Inlined, so that a leaf costs one call and not two.
    #[inline]
    pub(super) fn truth(&self, caller: &Identity, clock: &Clock) -> Truth {
        match &self.0 {
            Node::Leaf(leaf) => leaf.truth(caller, clock),
            _ => self.combined(caller, clock),
        }
    }

    fn combined(&self, caller: &Identity, clock: &Clock) -> Truth {
        match &self.0 {
            Node::Leaf(leaf) => leaf.truth(caller, clock),
            Node::Any(rules) => Truth::any(rules.iter().map(|rule| rule.truth(caller, clock))),
            Node::All(rules) => Truth::all(rules.iter().map(|rule| rule.truth(caller, clock))),
            Node::Not(rule) => rule.truth(caller, clock).not(),
        }
    }

    /// Whether a caller may be told the rule.
    pub(super) fn is_public(&self) -> bool {
        match &self.0 {
            Node::Leaf(leaf) => leaf.is_public(),
            // Whom a rule keeps out is not told to those whom it keeps out.
            Node::Not(_) => false,
            Node::Any(rules) | Node::All(rules) => rules.iter().all(Self::is_public),
        }
    }
}

/// Both hold.
impl BitAnd for Rule {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        match self.0 {
            Node::All(rules) => Self::all(rules.into_iter().chain([other])),
            own => Self::all([Self(own), other]),
        }
    }
}

/// At least one holds.
impl BitOr for Rule {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        match self.0 {
            Node::Any(rules) => Self::any(rules.into_iter().chain([other])),
            own => Self::any([Self(own), other]),
        }
    }
}

/// The rule is known not to hold.
impl Not for Rule {
    type Output = Self;

    fn not(self) -> Self {
        Self::not(self)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({self})")
    }
}
