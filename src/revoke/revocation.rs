//! One revocation: what it revokes, and up to when.

use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;

use crate::clock::system_time;
use crate::duration::seconds_rounded_up;
use crate::words::words;

/// What to revoke, and up to when.
///
/// Times are absolute and kept in whole seconds. An end is rounded up and a not-before down, so
/// that rounding never shortens a revocation.
///
/// With the feature `serde`, a revocation is an object with exactly these members, times in
/// seconds since the Unix epoch. Missing, unknown and empty members are errors.
///
/// | `kind` | `issuer` | `value` | time |
/// |---|---|---|---|
/// | `"jti"` | the issuer | the token's `jti` | `expires_at` |
/// | `"sid"` | the issuer | the session's `sid` | `until` |
/// | `"sub"` | the issuer | the subject | `not_before` |
/// | `"client"` | the issuer | the client | `not_before` |
/// | `"iss"` | the issuer | | `not_before` |
/// | `"kid"` | the issuer | the key's `kid` | `until` |
///
/// ```
/// # #[cfg(feature = "serde")] {
/// use portcullis::revoke::{Kind, Revocation};
///
/// let json = r#"{"kind":"jti","issuer":"https://id.example.com/","value":"4f1c","expires_at":1800000300}"#;
/// let revocation: Revocation = serde_json::from_str(json)?;
/// assert_eq!(revocation.kind(), Kind::Token);
/// assert_eq!(revocation.value(), Some("4f1c"));
///
/// // An instance that receives a revocation can forward it to the others.
/// assert_eq!(serde_json::to_string(&revocation)?, json);
///
/// assert!(serde_json::from_str::<Revocation>(&json.replace("4f1c", "")).is_err());
/// assert!(serde_json::from_str::<Revocation>(&json.replace("expires_at", "expires")).is_err());
/// # }
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revocation {
    pub(super) kind: Kind,
    pub(super) issuer: Box<str>,
    /// Empty for an issuer, which has no other name.
    pub(super) value: Box<str>,
    /// Seconds since the Unix epoch: a not-before if the kind has one, otherwise the end.
    pub(super) time: u64,
}

/// What kind of thing is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// One token, by `jti`.
    Token,
    /// All tokens of one session, by `sid`.
    Session,
    /// A subject's tokens up to a not-before.
    Subject,
    /// A client's tokens up to a not-before.
    Client,
    /// An issuer's tokens up to a not-before.
    Issuer,
    /// All tokens that one key of an issuer signed, by `kid`.
    Key,
}

/// Why nothing was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// Every token that the revocation concerns has expired. The cause may be a mistaken time.
    #[error(
        "the revocation is already over: every token that it concerns has expired; \
         times are absolute, not relative to now"
    )]
    AlreadyOver,
    /// The memory is full of revocations that are still in force. None is dropped for a new one.
    #[error(
        "no room for another revocation: raise `Revocations::max_entries`, or revoke a subject, \
         a client or the issuer instead of token by token"
    )]
    Full,
    /// An empty name, which no token has.
    #[error("the {0} of a revocation is empty: name what to revoke")]
    Empty(&'static str),
    /// A not-before so far ahead that it would refuse new tokens for longer than one lives.
    #[error(
        "the not-before of a revocation is further ahead than a token lives: \
         in JSON, give seconds since 1970, not milliseconds"
    )]
    TooFarAhead,
}

// === impl Revocation ===

impl Revocation {
    /// The token with this `jti`, which expires at `expires_at`.
    #[must_use]
    pub fn token(issuer: &str, jti: &str, expires_at: SystemTime) -> Self {
        Self::new(Kind::Token, issuer, jti, expires_at)
    }

    /// All tokens of the session with this `sid` (OpenID Connect Back-Channel Logout 1.0
    /// section 2.4). `until` is when the last of them expires.
    #[must_use]
    pub fn session(issuer: &str, sid: &str, until: SystemTime) -> Self {
        Self::new(Kind::Session, issuer, sid, until)
    }

    /// All tokens of the subject that were issued at `not_before` or earlier, by the issuer's
    /// clock.
    #[must_use]
    pub fn subject(issuer: &str, subject: &str, not_before: SystemTime) -> Self {
        Self::new(Kind::Subject, issuer, subject, not_before)
    }

    /// All tokens that were issued to the client at `not_before` or earlier, by the issuer's
    /// clock.
    #[must_use]
    pub fn client(issuer: &str, client: &str, not_before: SystemTime) -> Self {
        Self::new(Kind::Client, issuer, client, not_before)
    }

    /// All tokens that the issuer issued at `not_before` or earlier, by its own clock.
    #[must_use]
    pub fn issuer(issuer: &str, not_before: SystemTime) -> Self {
        Self::new(Kind::Issuer, issuer, "", not_before)
    }

    /// All tokens that the key with this `kid` signed, whether or not they name it.
    ///
    /// The owner of a stolen key can sign new tokens at any time, so `until` must be a time when
    /// the issuer has certainly stopped publishing the key. A key that was given without a `kid`,
    /// as in PEM, cannot be revoked: replace it in the configuration of the layer.
    #[must_use]
    pub fn key(issuer: &str, kid: &str, until: SystemTime) -> Self {
        Self::new(Kind::Key, issuer, kid, until)
    }

    /// What kind of thing it revokes.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The issuer of the tokens that it revokes.
    #[must_use]
    pub fn iss(&self) -> &str {
        &self.issuer
    }

    /// The `jti`, `sid`, subject, client or `kid`; `None` for [`Kind::Issuer`].
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        (self.kind != Kind::Issuer).then_some(&*self.value)
    }

    /// When the last token that it concerns expires; `None` for kinds with a
    /// [`not_before`](Self::not_before).
    #[must_use]
    pub fn until(&self) -> Option<SystemTime> {
        (!self.kind.has_not_before()).then(|| system_time(self.time))
    }

    /// Tokens that were issued up to this time are revoked; `None` for kinds with an
    /// [`until`](Self::until).
    #[must_use]
    pub fn not_before(&self) -> Option<SystemTime> {
        self.kind.has_not_before().then(|| system_time(self.time))
    }

    fn new(kind: Kind, issuer: &str, value: &str, time: SystemTime) -> Self {
        let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = match kind.has_not_before() {
            true => time.as_secs(),
            false => seconds_rounded_up(time),
        };
        Self {
            kind,
            issuer: issuer.into(),
            value: value.into(),
            time: seconds,
        }
    }

    pub(super) fn check_names(&self) -> Result<(), RevokeError> {
        if self.issuer.is_empty() {
            return Err(RevokeError::Empty("issuer"));
        }
        if self.value().is_some_and(str::is_empty) {
            return Err(RevokeError::Empty("value"));
        }
        Ok(())
    }
}

// === impl Kind ===

words! {
    Kind: "kind of revocation" {
        Token => "jti",
        Session => "sid",
        Subject => "sub",
        Client => "client",
        Issuer => "iss",
        Key => "kid",
    }
}

impl Kind {
    pub(super) const fn has_not_before(self) -> bool {
        matches!(self, Self::Subject | Self::Client | Self::Issuer)
    }
}
