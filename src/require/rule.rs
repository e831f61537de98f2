//! What a caller must have, as a value.

use std::fmt;
use std::ops::{BitAnd, BitOr, Not};
use std::time::Duration;

use super::atom::{Atom, names};
use super::predicate::Predicate;
use super::truth::Truth;
use crate::claim_path::ClaimPath;
use crate::clock::Clock;
use crate::identity::Identity;

/// What a caller must have: a role, a scope, a claim, or a combination of them.
///
/// Rules are values. They can be compared, printed, parsed and read from a configuration (see
/// [the module](crate::require)). Names are text or any type that is [`AsRef<str>`].
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
/// A rule has three answers: it holds, it does not hold, or the answer is unknown because the token
/// lacks a claim. Only a rule that holds admits a caller. If the token has no claim `tenant`,
/// neither `claim(tenant is "acme")` nor `not(claim(tenant is "acme"))` admits the caller. Roles,
/// scopes, permissions and the client are always known: if a token names none, the caller has none.
///
/// Anonymous callers are admitted only by a rule that contains [`anonymous`](Self::anonymous).
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct Rule(pub(super) Node);

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Node {
    Atom(Atom),
    Any(Box<[Rule]>),
    All(Box<[Rule]>),
    Not(Box<Rule>),
}

// === impl Rule ===

macro_rules! constructors {
    ($($(#[doc = $doc:literal])* $word:ident($name:ident) $Variant:ident $source:ident;)*) => {
        /// One question about the caller.
        impl Rule {
            $(
                $(#[doc = $doc])*
                pub fn $word($name: impl AsRef<str>) -> Self {
                    Self::atom(Atom::$Variant($name.as_ref().into()))
                }
            )*
        }
    };
}

names!(constructors);

impl Rule {
    /// The claim at `path` satisfies `predicate`, or equals it if it is a plain value.
    ///
    /// The claims of a token are parsed at the first such question, once per token.
    ///
    /// ```
    /// use portcullis::Rule;
    /// use portcullis::require::Predicate;
    ///
    /// let tenant = Rule::claim(["org", "tenant"], "acme");
    /// let trusted = Rule::claim("trust", Predicate::at_least(3));
    /// # let _ = (tenant, trusted);
    /// ```
    pub fn claim(path: impl Into<ClaimPath>, predicate: impl Into<Predicate>) -> Self {
        Self::atom(Atom::Claim(Box::new((path.into(), predicate.into()))))
    }

    /// The caller logged in at most this long ago (`auth_time`, RFC 9470), in whole seconds.
    ///
    /// A caller that lacks nothing else receives a step-up challenge with `max_age`.
    pub fn max_age(age: Duration) -> Self {
        Self::atom(Atom::MaxAge(age.as_secs()))
    }

    /// The caller is anonymous: the request has no token, and `JwtAuthLayer` is
    /// [`optional`](crate::JwtAuthLayer::optional).
    ///
    /// This is the only rule that admits anonymous callers. To admit verified callers too, combine
    /// it:
    ///
    /// ```
    /// use portcullis::Rule;
    ///
    /// let everyone = Rule::anonymous() | Rule::verified();
    /// assert!(everyone.holds(None)); // `None` is an anonymous caller
    /// assert!(!Rule::verified().holds(None));
    /// assert!(!Rule::not(Rule::role("admin")).holds(None));
    /// ```
    pub fn anonymous() -> Self {
        Self::atom(Atom::Anonymous)
    }

    /// Any verified caller.
    pub fn verified() -> Self {
        Self::all([])
    }

    /// No caller.
    pub fn nobody() -> Self {
        Self::any([])
    }

    /// `rule` is known not to hold. Anonymous callers are not admitted.
    #[allow(clippy::should_implement_trait)] // `!` works too; the word reads better in a list
    pub fn not(rule: Self) -> Self {
        Self(Node::Not(rule.into()))
    }

    /// At least one of `rules` holds. An empty list admits no caller.
    pub fn any(rules: impl IntoIterator<Item = Self>) -> Self {
        Self(Node::Any(rules.into_iter().collect()))
    }

    /// Every one of `rules` holds. An empty list admits every verified caller.
    pub fn all(rules: impl IntoIterator<Item = Self>) -> Self {
        Self(Node::All(rules.into_iter().collect()))
    }

    /// Whether the rule holds for a caller, by the system clock. `None` is an anonymous caller.
    ///
    /// Allocates nothing, except when the claims of a token are parsed for the first time.
    ///
    /// ```
    /// use portcullis::{Caller, Rule};
    ///
    /// fn may_export(caller: &Caller) -> bool {
    ///     (Rule::role("admin") | Rule::scope("orders:export")).holds(caller.identity())
    /// }
    /// assert!(!may_export(&Caller::Anonymous));
    /// ```
    #[must_use]
    pub fn holds<'c>(&self, caller: impl Into<Option<&'c Identity>>) -> bool {
        self.truth_for(caller.into(), &Clock::System).is_yes()
    }

    pub(super) fn atom(atom: Atom) -> Self {
        Self(Node::Atom(atom))
    }

    pub(super) fn truth_for(&self, caller: Option<&Identity>, clock: &Clock) -> Truth {
        caller.map_or_else(
            || self.truth_for_anonymous(),
            |caller| self.truth(caller, clock),
        )
    }

    /// Inlined, so that an atom costs one call instead of two.
    #[inline]
    pub(super) fn truth(&self, caller: &Identity, clock: &Clock) -> Truth {
        match &self.0 {
            Node::Atom(atom) => atom.truth(caller, clock),
            _ => self.combined(caller, clock),
        }
    }

    fn combined(&self, caller: &Identity, clock: &Clock) -> Truth {
        match &self.0 {
            Node::Atom(atom) => atom.truth(caller, clock),
            Node::Any(rules) => Truth::any(rules.iter().map(|rule| rule.truth(caller, clock))),
            Node::All(rules) => Truth::all(rules.iter().map(|rule| rule.truth(caller, clock))),
            Node::Not(rule) => rule.truth(caller, clock).not(),
        }
    }

    /// Everything but `anonymous` is unknown for an anonymous caller, empty lists included. A rule
    /// that does not contain `anonymous` is therefore unknown, and so is its opposite.
    pub(super) fn truth_for_anonymous(&self) -> Truth {
        match &self.0 {
            Node::Atom(Atom::Anonymous) => Truth::Yes,
            Node::Atom(_) => Truth::Unknown,
            Node::Any(rules) | Node::All(rules) if rules.is_empty() => Truth::Unknown,
            Node::Any(rules) => Truth::any(rules.iter().map(Self::truth_for_anonymous)),
            Node::All(rules) => Truth::all(rules.iter().map(Self::truth_for_anonymous)),
            Node::Not(rule) => rule.truth_for_anonymous().not(),
        }
    }

    /// Whether a refused caller may see the rule.
    pub(super) fn is_public(&self) -> bool {
        match &self.0 {
            Node::Atom(atom) => atom.is_public(),
            // An exception is not disclosed to the callers that it excludes.
            Node::Not(_) => false,
            Node::Any(rules) | Node::All(rules) => rules.iter().all(Self::is_public),
        }
    }
}

/// Both rules hold.
impl BitAnd for Rule {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        match self.0 {
            // An empty list is `verified`, which must stay a part of the rule.
            Node::All(rules) if !rules.is_empty() => Self::all(rules.into_iter().chain([other])),
            own => Self::all([Self(own), other]),
        }
    }
}

/// At least one of the rules holds.
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
