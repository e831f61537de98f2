//! What is revoked, and for how long.

use std::time::Duration;

use super::error::RevocationError;

/// Something to revoke. Every moment in it is a time since the Unix epoch.
///
/// As JSON it is an object with exactly these members, times in whole seconds:
///
/// | `kind` | `issuer` | `value` | and |
/// |---|---|---|---|
/// | `"jti"` | the issuer | the token's `jti` | `expires_at` |
/// | `"sid"` | the issuer | the session's `sid` | `until` |
/// | `"sub"` | the issuer | the subject | `not_before` |
/// | `"client"` | the issuer | the client | `not_before` |
/// | `"iss"` | the issuer | | `not_before` |
/// | `"kid"` | the issuer | the key's `kid` | `until` |
///
/// ```
/// use portcullis::revoke::{Kind, Revocation};
///
/// let json = r#"{"kind": "jti", "issuer": "https://id.example.com/", "value": "4f1c", "expires_at": 1800000300}"#;
/// assert_eq!(serde_json::from_str::<Revocation>(json)?.kind(), Kind::Token);
///
/// // Whatever is missing, unknown or empty is an error.
/// assert!(serde_json::from_str::<Revocation>(&json.replace("4f1c", "")).is_err());
/// assert!(serde_json::from_str::<Revocation>(&json.replace("expires_at", "expires")).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub(super) kind: Kind,
    pub(super) issuer: Box<str>,
    /// Empty for an issuer, which has no other name.
    pub(super) value: Box<str>,
    pub(super) moment: Moment,
}

/// What kind of thing is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// One token, by `jti`.
    Token,
    /// All tokens of one session, by `sid`.
    Session,
    /// A subject's tokens up to a moment.
    Subject,
    /// A client's tokens up to a moment.
    Client,
    /// An issuer's tokens up to a moment.
    Issuer,
    /// All tokens that one key of an issuer signed, by `kid`.
    Key,
}

/// In whole seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// No token that is concerned expires later.
    Until(u64),
    /// No token that is concerned was issued later.
    NotBefore(u64),
}

// === impl Revocation ===

impl Revocation {
    /// The token with this `jti`, which expires at `expires_at`.
    #[must_use]
    pub fn token(issuer: &str, jti: &str, expires_at: Duration) -> Self {
        Self::new(Kind::Token, issuer, jti, Moment::until(expires_at))
    }

    /// All tokens of the session with this `sid` (OpenID Connect Back-Channel Logout 1.0 section 2.4). `until` is when the
    /// last of them expires.
    #[must_use]
    pub fn session(issuer: &str, sid: &str, until: Duration) -> Self {
        Self::new(Kind::Session, issuer, sid, Moment::until(until))
    }

    /// All tokens of the subject that were issued at `not_before` or earlier, by the issuer's clock.
    #[must_use]
    pub fn subject(issuer: &str, subject: &str, not_before: Duration) -> Self {
        Self::new(Kind::Subject, issuer, subject, Moment::after(not_before))
    }

    /// All tokens that were issued to the client at `not_before` or earlier, by the issuer's clock.
    #[must_use]
    pub fn client(issuer: &str, client: &str, not_before: Duration) -> Self {
        Self::new(Kind::Client, issuer, client, Moment::after(not_before))
    }

    /// All tokens that the issuer issued at `not_before` or earlier, by its own clock.
    #[must_use]
    pub fn issuer(issuer: &str, not_before: Duration) -> Self {
        Self::new(Kind::Issuer, issuer, "", Moment::after(not_before))
    }

    /// All tokens that the key with this `kid` signed, whenever, whether or not they name it.
    ///
    /// A key that was given without a name, as in PEM, cannot be told by one: give the layer another in its place.
    ///
    /// Whoever has the key can sign new tokens for ever, so `until` is taken as it is given, however far ahead: name a
    /// time when the issuer has surely stopped publishing the key.
    #[must_use]
    pub fn key(issuer: &str, kid: &str, until: Duration) -> Self {
        Self::new(Kind::Key, issuer, kid, Moment::until(until))
    }

    /// What kind of thing it revokes.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn new(kind: Kind, issuer: &str, value: &str, moment: Moment) -> Self {
        Self {
            kind,
            issuer: issuer.into(),
            value: value.into(),
            moment,
        }
    }

    pub(super) fn check_names(&self) -> Result<(), RevocationError> {
        if self.issuer.is_empty() {
            return Err(RevocationError::Empty("issuer"));
        }
        if self.value.is_empty() && self.kind != Kind::Issuer {
            return Err(RevocationError::Empty("value"));
        }
        Ok(())
    }
}

// === impl Kind ===

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Token,
        Self::Session,
        Self::Subject,
        Self::Client,
        Self::Issuer,
        Self::Key,
    ];

    /// Its name in JSON and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "jti",
            Self::Session => "sid",
            Self::Subject => "sub",
            Self::Client => "client",
            Self::Issuer => "iss",
            Self::Key => "kid",
        }
    }
}

// === impl Moment ===

impl Moment {
    /// Rounded so that no revoked token slips through.
    fn until(time: Duration) -> Self {
        Self::Until(whole_seconds(time))
    }

    /// `iat` is in whole seconds and compared with `<=`, so the fraction tells nothing.
    fn after(time: Duration) -> Self {
        Self::NotBefore(time.as_secs())
    }
}

/// Rounded up.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_add(u64::from(time.subsec_nanos() > 0))
}
