//! What a rule asks about a caller, one thing at a time.

use serde_json::Value;

use super::pattern::fits;
use super::predicate::Predicate;
use super::truth::Truth;
use crate::claim_path::ClaimPath;
use crate::clock::Clock;
use crate::identity::Identity;

/// One thing that a caller has or is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    Role(Box<str>),
    Scope(Box<str>),
    Permission(Box<str>),
    PermissionPattern(Box<str>),
    PermissionOrWildcard(Box<str>),
    Group(Box<str>),
    Claim(Box<(ClaimPath, Predicate)>),
    Issuer(Box<str>),
    Client(Box<str>),
    Subject(Box<str>),
    Acr(Box<str>),
    /// In seconds.
    MaxAge(u64),
}

/// How a caller comes by what it lacks. The order is that of preference, where several things would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Its client asks for another token.
    Token,
    /// An administrator grants it.
    Grant,
    /// It would have to be somebody else.
    Nature,
}

/// How far an issuer's clock may run ahead of ours, in seconds.
const AHEAD: u64 = 60;

// === impl Leaf ===

impl Leaf {
    pub(super) fn truth(&self, caller: &Identity, clock: &Clock) -> Truth {
        match self {
            Self::Role(name) => caller.roles().contains(name).into(),
            Self::Scope(name) => caller.scopes().contains(name).into(),
            Self::Permission(name) => caller.permissions().contains(name).into(),
            Self::PermissionPattern(pattern) => {
                let mut own = caller.permissions().iter();
                own.any(|own| fits(pattern, own)).into()
            }
            Self::PermissionOrWildcard(name) => {
                let mut own = caller.permissions().iter();
                own.any(|own| own == &**name || fits(own, name)).into()
            }
            Self::Group(name) => in_group(caller.member("groups"), name),
            Self::Claim(claim) => claim.1.truth(caller.claim_at(&claim.0)),
            Self::Issuer(issuer) => (caller.issuer() == &**issuer).into(),
            Self::Client(id) => (caller.client() == Some(id)).into(),
            Self::Subject(subject) => (caller.subject() == &**subject).into(),
            Self::Acr(value) => match caller.member("acr") {
                Some(Value::String(own)) => (*own == **value).into(),
                _ => Truth::Unknown,
            },
            Self::MaxAge(seconds) => {
                let authenticated = caller.member("auth_time").and_then(whole_seconds);
                authenticated.map_or(Truth::Unknown, |at| is_recent(at, *seconds, clock))
            }
        }
    }

    /// Whether a caller may be told of it. Which clients, subjects and tenants a service knows is nobody else's business.
    pub(super) const fn is_public(&self) -> bool {
        !matches!(self.source(), Source::Nature)
    }

    pub(super) const fn source(&self) -> Source {
        match self {
            Self::Scope(_) | Self::Acr(_) | Self::MaxAge(_) => Source::Token,
            Self::Role(_)
            | Self::Permission(_)
            | Self::PermissionPattern(_)
            | Self::PermissionOrWildcard(_)
            | Self::Group(_) => Source::Grant,
            Self::Claim(_) | Self::Issuer(_) | Self::Client(_) | Self::Subject(_) => Source::Nature,
        }
    }

    /// Whether a caller that is given this has `other` too.
    pub(super) fn brings(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Permission(name), Self::PermissionPattern(pattern)) => fits(pattern, name),
            (Self::Permission(own), Self::PermissionOrWildcard(name)) => {
                own == name || fits(own, name)
            }
            (Self::PermissionOrWildcard(name), Self::PermissionPattern(pattern)) => {
                fits(pattern, name)
            }
            (Self::MaxAge(own), Self::MaxAge(other)) => own <= other,
            _ => self == other,
        }
    }

    /// Whether no caller can have both: a token has one issuer, one subject, one client and one `acr`.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        let one = match (self, other) {
            (Self::Issuer(own), Self::Issuer(other))
            | (Self::Client(own), Self::Client(other))
            | (Self::Subject(own), Self::Subject(other))
            | (Self::Acr(own), Self::Acr(other)) => own == other,
            _ => true,
        };
        !one
    }
}

/// Issuers leave the list out where it is too long, so its absence says nothing.
fn in_group(groups: Option<&Value>, name: &str) -> Truth {
    let is = |own: &Value| {
        own.as_str()
            .map_or(Truth::Unknown, |own| (own == name).into())
    };
    match groups {
        Some(Value::Array(list)) => Truth::any(list.iter().map(is)),
        Some(own) => is(own),
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
    // Whole seconds, as the claim has them.
    let now = clock.unix_time().as_secs();
    if authenticated > now.saturating_add(AHEAD) {
        return Truth::Unknown;
    }
    (now.saturating_sub(authenticated) <= max_age).into()
}
