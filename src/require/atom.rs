//! The predicates of the rule language: each asks one question about a caller.

use serde_json::Value;

use super::predicate::Predicate;
use super::truth::Truth;
use crate::claim_path::ClaimPath;
use crate::clock::Clock;
use crate::identity::Identity;

/// The table of predicates that compare one name. Constructors, `Display`, parser, serde, error
/// messages and the table in `docs/authorization.md` are made from it.
///
/// Columns: the word with the name of its argument, the variant of [`Atom`], the [`Source`].
macro_rules! names {
    ($generate:ident) => {
        $generate! {
            /// The caller has this role.
            role(name) Role Grant;

            /// The token was granted this scope.
            scope(name) Scope Token;

            /// The caller has this permission, compared exactly: `*` is not a wildcard here.
            permission(name) Permission Grant;

            /// The caller has a permission that matches the pattern: `*` is one whole segment.
            ///
            /// Segments are separated by colons. `order:*` matches `order:read`, and neither
            /// `order` nor `order:line:read`.
            permission_pattern(pattern) PermissionPattern Grant;

            /// The caller has this permission, or a wildcard permission that covers it.
            ///
            /// For issuers that grant wildcards: `order:*` covers `order:read`, and not
            /// `order:line:read`.
            permission_or_wildcard(name) PermissionOrWildcard Grant;

            /// The caller is in this group, by the claim `groups`.
            ///
            /// Without the claim the answer is unknown: issuers omit the list when it is too long.
            group(name) Group Grant;

            /// The token comes from this issuer.
            issuer(issuer) Issuer Fixed;

            /// The token was issued to this client (`azp`, otherwise `client_id`).
            client(id) Client Fixed;

            /// The caller is this subject.
            ///
            /// A subject is unique within its issuer only: with several issuers, combine the rule
            /// with [`issuer`](Self::issuer).
            subject(subject) Subject Fixed;

            /// The caller was authenticated with this `acr` (RFC 9470).
            ///
            /// A caller that lacks nothing else receives a step-up challenge that names the value.
            acr(value) Acr Token;
        }
    };
}

pub(super) use names;

macro_rules! define {
    ($($(#[doc = $doc:literal])* $word:ident($name:ident) $Variant:ident $source:ident;)*) => {
        /// One question about a caller.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(super) enum Atom {
            $($Variant(Box<str>),)*
            Claim(Box<(ClaimPath, Predicate)>),
            /// In seconds.
            MaxAge(u64),
            Anonymous,
        }

        impl Atom {
            /// The word and the name of a predicate of the table.
            pub(super) fn name(&self) -> Option<(&'static str, &str)> {
                match self {
                    $(Self::$Variant(name) => Some((stringify!($word), name)),)*
                    Self::Claim(_) | Self::MaxAge(_) | Self::Anonymous => None,
                }
            }

            /// The variant for a word of the table.
            pub(super) fn of_word(word: &str) -> Option<fn(Box<str>) -> Self> {
                $(if word == stringify!($word) {
                    return Some(Self::$Variant);
                })*
                None
            }

            pub(super) const fn source(&self) -> Source {
                match self {
                    $(Self::$Variant(_) => Source::$source,)*
                    Self::MaxAge(_) => Source::Token,
                    Self::Claim(_) | Self::Anonymous => Source::Fixed,
                }
            }
        }

        /// Every word that begins a rule, for error messages.
        pub(super) const WORDS: &str = concat!(
            "expected one of ",
            $(stringify!($word), ", ",)*
            "max_age, claim, any, all, not, anonymous, verified and nobody"
        );
    };
}

names!(define);

/// How a caller can obtain what it lacks, the preferred way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The client requests another token.
    Token,
    /// An administrator grants it.
    Grant,
    /// Never: it belongs to other callers.
    Fixed,
}

/// How far the issuer's clock may be ahead of the local clock, in seconds.
const LEEWAY: u64 = 60;

// === impl Atom ===

impl Atom {
    pub(super) fn truth(&self, caller: &Identity, clock: &Clock) -> Truth {
        match self {
            Self::Role(name) => caller.roles().contains(name).into(),
            Self::Scope(name) => caller.scopes().contains(name).into(),
            Self::Permission(name) => caller.permissions().contains(name).into(),
            Self::PermissionPattern(pattern) => {
                let mut permissions = caller.permissions().iter();
                permissions.any(|own| matches(pattern, own)).into()
            }
            Self::PermissionOrWildcard(name) => {
                let mut permissions = caller.permissions().iter();
                permissions
                    .any(|own| own == &**name || matches(own, name))
                    .into()
            }
            Self::Group(name) => in_group(caller.member("groups"), name),
            Self::Issuer(issuer) => (caller.issuer() == &**issuer).into(),
            Self::Client(id) => (caller.client() == Some(id)).into(),
            Self::Subject(subject) => (caller.subject() == &**subject).into(),
            Self::Acr(value) => match caller.member("acr") {
                Some(Value::String(acr)) => (**acr == **value).into(),
                _ => Truth::Unknown,
            },
            Self::Claim(claim) => claim.1.truth(caller.claim_at(&claim.0)),
            Self::MaxAge(seconds) => {
                let authenticated = caller.member("auth_time").and_then(whole_seconds);
                authenticated.map_or(Truth::Unknown, |at| is_recent(at, *seconds, clock))
            }
            Self::Anonymous => Truth::No,
        }
    }

    /// Whether a refused caller may see it. The clients, subjects and tenants that a service knows
    /// are not disclosed.
    pub(super) const fn is_public(&self) -> bool {
        !matches!(self.source(), Source::Fixed)
    }

    /// Whether every caller that satisfies `self` satisfies `other`.
    pub(super) fn implies(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Permission(name) | Self::PermissionOrWildcard(name),
                Self::PermissionPattern(pattern),
            ) => matches(pattern, name),
            (Self::Permission(own), Self::PermissionOrWildcard(name)) => {
                own == name || matches(own, name)
            }
            (Self::MaxAge(own), Self::MaxAge(other)) => own <= other,
            _ => self == other,
        }
    }

    /// Whether no caller can satisfy both: a token has one issuer, client, subject and `acr`, and
    /// an anonymous caller has no token.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Issuer(own), Self::Issuer(other))
            | (Self::Client(own), Self::Client(other))
            | (Self::Subject(own), Self::Subject(other))
            | (Self::Acr(own), Self::Acr(other)) => own != other,
            (Self::Anonymous, other) | (other, Self::Anonymous) => *other != Self::Anonymous,
            _ => false,
        }
    }
}

fn in_group(groups: Option<&Value>, name: &str) -> Truth {
    let is = |group: &Value| {
        let group = group.as_str();
        group.map_or(Truth::Unknown, |group| (group == name).into())
    };
    match groups {
        Some(Value::Array(groups)) => Truth::any(groups.iter().map(is)),
        Some(group) => is(group),
        None => Truth::Unknown,
    }
}

/// A `NumericDate` may have a fraction (RFC 7519 section 2).
fn whole_seconds(date: &Value) -> Option<u64> {
    let fraction = || date.as_f64().filter(|seconds| *seconds >= 0.0);
    date.as_u64()
        .or_else(|| fraction().map(|seconds| seconds as u64))
}

fn is_recent(authenticated: u64, max_age: u64, clock: &Clock) -> Truth {
    // Whole seconds, as in the claim.
    let now = clock.unix_time().as_secs();
    if authenticated > now.saturating_add(LEEWAY) {
        return Truth::Unknown;
    }
    (now.saturating_sub(authenticated) <= max_age).into()
}

/// Whether `name` matches `pattern`, segment by segment. A segment `*` matches any segment that is
/// not empty; inside a longer segment `*` is an ordinary character.
fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.as_bytes(), name.as_bytes());
    // One segment per turn, with its colon. Most names differ in their first bytes.
    loop {
        if let [b'*', rest @ ..] = pattern
            && matches!(rest, [] | [b':', ..])
        {
            let end = name.iter().position(|byte| *byte == b':');
            let (segment, left) = name.split_at(end.unwrap_or(name.len()));
            if segment.is_empty() {
                return false;
            }
            (pattern, name) = (rest, left);
        }
        loop {
            match (pattern, name) {
                ([], []) => return true,
                ([own, rest @ ..], [other, left @ ..]) if own == other => {
                    (pattern, name) = (rest, left);
                    if *own == b':' {
                        break;
                    }
                }
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_matches_one_whole_segment() {
        for (pattern, name, expected) in [
            ("order:*", "order:read", true),
            ("order:*", "order:*", true),
            ("order:*", "order:", false),
            ("order:*", "order", false),
            ("order:*", "order:line:read", false),
            ("order:*", "orders:read", false),
            ("order:*", "Order:read", false),
            ("order:*:read", "order:line:read", true),
            ("order:*:read", "order:line:write", false),
            ("*", "read", true),
            ("*", "", false),
            ("*", "order:read", false),
            ("*:*", "order:read", true),
            ("ord*:read", "order:read", false),
            ("ord*:read", "ord*:read", true),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
