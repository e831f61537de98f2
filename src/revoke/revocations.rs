//! The handle: revokes, lists what is revoked, and decides about tokens.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::memory::{Memory, Slot};
use super::revocation::{Kind, Revocation, RevokeError};
use crate::clock::{Clock, system_time};
use crate::duration::seconds_rounded_up;
use crate::error::ConfigError;
use crate::observe;

/// The revocations of this process. Clones share the entries.
///
/// See the [module](super) for how a token is decided. While nothing is revoked, a lookup is one
/// atomic read.
#[derive(Clone)]
pub struct Revocations {
    memory: Arc<Memory>,
    clock: Clock,
    max_entries: NonZeroUsize,
    max_token_lifetime: Duration,
}

/// One revocation in force. Its names are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Entry {
    /// What kind of thing is revoked.
    pub kind: Kind,
    /// When the revocation ends.
    #[cfg_attr(feature = "serde", serde(serialize_with = "seconds"))]
    pub ends_at: SystemTime,
    /// Tokens issued up to this time are revoked, for the kinds that have a not-before.
    #[cfg_attr(feature = "serde", serde(serialize_with = "maybe_seconds"))]
    pub not_before: Option<SystemTime>,
}

/// The properties of a verified token by which it can be revoked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) client: Option<&'a str>,
    /// `jti`
    pub(crate) token_id: Option<&'a str>,
    /// `sid`
    pub(crate) session: Option<&'a str>,
    /// `iat`, in seconds since the Unix epoch.
    pub(crate) issued_at: Option<u64>,
    /// The `kid` of the key that verified it.
    pub(crate) kid: Option<&'a str>,
}

/// The largest leeway of an issuer: for how long after `exp` a token may be accepted, and how far
/// the issuer's clock may be ahead. A larger one would hide a broken clock.
pub(crate) const MAX_LEEWAY: Duration = Duration::from_secs(LEEWAY);
const LEEWAY: u64 = 600;

const DAY: u64 = 24 * 3600;

/// The maximum distance of an explicit end: ten years. A later end is reduced to it.
const MAX_AHEAD: u64 = 3653 * DAY;

// === impl Revocations ===

impl Revocations {
    const DEFAULT_ENTRIES: NonZeroUsize = match NonZeroUsize::new(1_000_000) {
        Some(entries) => entries,
        None => NonZeroUsize::MIN,
    };

    /// Creates an empty list of revocations.
    #[must_use]
    pub fn new() -> Self {
        Self {
            memory: Arc::new(Memory::new()),
            clock: Clock::System,
            max_entries: Self::DEFAULT_ENTRIES,
            max_token_lifetime: Duration::from_secs(DAY),
        }
    }

    /// The clock of this handle and of later clones of it. The default: the system's clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// How many revocations this handle and later clones of it allow, at 50 to 90 bytes each. The
    /// default: 1,000,000.
    #[must_use]
    pub fn max_entries(mut self, max_entries: NonZeroUsize) -> Self {
        self.max_entries = max_entries;
        self
    }

    pub(crate) fn longest_lifetime(&self) -> Duration {
        self.max_token_lifetime
    }

    /// The longest life of a token, `exp` minus `iat`, for this handle and later clones of it. The
    /// default: 24 hours.
    ///
    /// A not-before stays in force for that long. An explicit end (`expires_at`, `until`) is used
    /// even if it is later.
    ///
    /// # Errors
    ///
    /// If it is zero: such tokens need no revocation.
    pub fn max_token_lifetime(mut self, lifetime: Duration) -> Result<Self, ConfigError> {
        if lifetime.is_zero() {
            return Err(ConfigError::Setting {
                setting: "max_token_lifetime",
                problem: "set the longest life of a token; a not-before stays in force that long",
            });
        }
        self.max_token_lifetime = lifetime;
        Ok(self)
    }

    /// Revokes now, in every clone. Returns what is in force and when it ends.
    ///
    /// If it was revoked before, the later end and the later not-before count: a second call never
    /// shortens a revocation.
    ///
    /// ```
    /// use std::time::{Duration, UNIX_EPOCH};
    /// use portcullis::revoke::{Revocation, RevokeError, Revocations};
    ///
    /// // Times are absolute. This one was meant as "for a week" and is in 1970.
    /// let week = UNIX_EPOCH + Duration::from_secs(7 * 24 * 3600);
    /// let key = Revocation::key("https://id.example.com/", "k-1", week);
    /// assert_eq!(Revocations::new().revoke(key), Err(RevokeError::AlreadyOver));
    /// ```
    ///
    /// # Errors
    ///
    /// If nothing was revoked:
    ///
    /// * [`RevokeError::AlreadyOver`] if it concerns only tokens that have expired, leeway
    ///   included;
    /// * [`RevokeError::Full`] if [`max_entries`](Self::max_entries) revocations are in force;
    /// * [`RevokeError::Empty`] without an issuer or a value;
    /// * [`RevokeError::TooFarAhead`] for a not-before that is further ahead than
    ///   [`max_token_lifetime`](Self::max_token_lifetime).
    pub fn revoke(&self, revocation: Revocation) -> Result<Entry, RevokeError> {
        revocation.check_names()?;
        let now = self.now();
        let slot = self.slot(&revocation, now)?;
        if !slot.lasts(now) {
            return Err(RevokeError::AlreadyOver);
        }
        let namespace = self.memory.namespace(&revocation.issuer);
        let key = namespace.key(revocation.kind, &revocation.value);
        let (slot, is_new) = self.memory.put(key, slot, now, self.max_entries.get())?;
        if is_new {
            observe::revocation_added(slot.kind.as_str());
        }
        Ok(Entry::from(&slot))
    }

    /// Ends a revocation, whatever its end or its not-before. Returns whether there was one.
    ///
    /// Its tokens are accepted again until they expire.
    pub fn forget(&self, revocation: &Revocation) -> bool {
        let namespace = self.memory.namespace(&revocation.issuer);
        let key = namespace.key(revocation.kind, &revocation.value);
        self.memory.remove(key, self.now())
    }

    /// Whether the token, session or key is revoked now, or everything that was issued up to the
    /// not-before.
    #[must_use]
    pub fn contains(&self, revocation: &Revocation) -> bool {
        let namespace = self.memory.namespace(&revocation.issuer);
        let found = namespace.find(revocation.kind, &revocation.value);
        found.is_some_and(|slot| {
            let reaches = !slot.kind.has_not_before() || revocation.time <= slot.not_before;
            reaches && slot.lasts(self.now())
        })
    }

    /// The revocations in force, ordered by their end. Reads all entries.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let visit = |slot: &Slot| entries.push(Entry::from(slot));
        self.memory.each(self.now(), visit);
        entries.sort_unstable_by_key(|entry| (entry.ends_at, entry.kind, entry.not_before));
        entries
    }

    /// How many revocations of a kind are in force. Reads all entries.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        let mut count = 0;
        let visit = |slot: &Slot| count += usize::from(slot.kind == kind);
        self.memory.each(self.now(), visit);
        count
    }

    /// How many revocations are in force. Reads all entries.
    #[must_use]
    pub fn len(&self) -> usize {
        let mut count = 0;
        self.memory.each(self.now(), |_| count += 1);
        count
    }

    /// Whether no revocation is in force.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty() || self.len() == 0
    }

    /// Decides about one verified token.
    #[inline]
    pub(crate) fn is_revoked(&self, token: &Facts<'_>) -> bool {
        !self.memory.is_empty() && self.look_up(token)
    }

    fn look_up(&self, token: &Facts<'_>) -> bool {
        let issuer = self.memory.namespace(token.issuer);
        let find = |kind, value: Option<&str>| {
            let found = issuer.find(kind, value?);
            // Entries are rare, so the clock is read only for one that was found.
            found.filter(|slot| slot.lasts(self.now()))
        };
        if find(Kind::Token, token.token_id).is_some()
            || find(Kind::Session, token.session).is_some()
            || find(Kind::Key, token.kid).is_some()
        {
            return true;
        }
        let not_before = [
            find(Kind::Subject, Some(token.subject)),
            find(Kind::Client, token.client),
            find(Kind::Issuer, Some("")),
        ];
        // The latest of the three counts. In CVE-2026-8922 and CVE-2026-18218, one not-before hid
        // another.
        let not_before = not_before.iter().flatten().map(|slot| slot.not_before);
        let latest = not_before.max();
        latest.is_some_and(|latest| token.issued_at.is_none_or(|issued_at| issued_at <= latest))
    }

    fn slot(&self, revocation: &Revocation, now: u64) -> Result<Slot, RevokeError> {
        let kind = revocation.kind;
        let lifetime = seconds_rounded_up(self.max_token_lifetime);
        let (last_expiry, not_before) = match revocation.time {
            not_before if kind.has_not_before() => {
                if not_before > now.saturating_add(lifetime) {
                    return Err(RevokeError::TooFarAhead);
                }
                (not_before.saturating_add(lifetime), not_before)
            }
            until => (until.min(now.saturating_add(MAX_AHEAD)), 0),
        };
        Ok(Slot {
            kind,
            ends_at: last_expiry.saturating_add(LEEWAY),
            not_before,
        })
    }

    fn now(&self) -> u64 {
        self.clock.unix_time().as_secs()
    }
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations")
            .field("clock", &self.clock)
            .field("max_entries", &self.max_entries)
            .field("max_token_lifetime", &self.max_token_lifetime)
            .finish_non_exhaustive()
    }
}

// === impl Entry ===

impl From<&Slot> for Entry {
    fn from(slot: &Slot) -> Self {
        let has_not_before = slot.kind.has_not_before();
        Self {
            kind: slot.kind,
            ends_at: system_time(slot.ends_at),
            not_before: has_not_before.then(|| system_time(slot.not_before)),
        }
    }
}

#[cfg(feature = "serde")]
fn seconds<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    maybe_seconds(&Some(*time), serializer)
}

#[cfg(feature = "serde")]
fn maybe_seconds<S: serde::Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let seconds = |time: SystemTime| {
        time.duration_since(std::time::UNIX_EPOCH)
            .map(|t| t.as_secs())
    };
    serde::Serialize::serialize(
        &time.map(|time| seconds(time).unwrap_or_default()),
        serializer,
    )
}
