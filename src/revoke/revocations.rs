//! The handle: what is revoked, and whether a token is.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::error::RevocationError;
use super::key::Secrets;
use super::memory::{Memory, Put, Slot};
use super::revocation::{Kind, Moment, Revocation, whole_seconds};
use crate::clock::Clock;
use crate::error::ConfigError;
use crate::observe;

/// What is revoked, in the memory of this process. Clones share the entries.
///
/// A lookup waits for nobody and allocates nothing. See the [module](super) for how it decides.
#[derive(Clone)]
pub struct Revocations {
    entries: Arc<Entries>,
    clock: Clock,
    max_entries: NonZeroUsize,
    max_token_lifetime: Duration,
}

struct Entries {
    memory: Memory,
    secrets: Secrets,
}

/// One revocation, as a listing shows it. Its names are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// What kind of thing is revoked.
    pub kind: Kind,
    /// When the revocation ends, since the Unix epoch.
    pub ends_at: Duration,
    /// Tokens issued up to this moment since the Unix epoch are revoked, for the kinds that have one.
    pub not_before: Option<Duration>,
}

/// What a verified token says of itself.
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
    /// The name of the key that verified it.
    pub(crate) kid: Option<&'a str>,
}

/// The largest leeway of an issuer: how much longer than it says a token may be accepted, and how far its issuer's clock
/// may be ahead. A larger one would hide a broken clock.
pub(crate) const MAX_LEEWAY: Duration = Duration::from_secs(LEEWAY);
const LEEWAY: u64 = 600;

const DAY: Duration = Duration::from_secs(24 * 3600);

// === impl Revocations ===

impl Revocations {
    /// 40 MB when full.
    const DEFAULT_ENTRIES: NonZeroUsize = match NonZeroUsize::new(1_000_000) {
        Some(entries) => entries,
        None => NonZeroUsize::MIN,
    };

    /// Nothing is revoked.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: Arc::new(Entries {
                memory: Memory::new(),
                secrets: Secrets::new(),
            }),
            clock: Clock::System,
            max_entries: Self::DEFAULT_ENTRIES,
            max_token_lifetime: DAY,
        }
    }

    /// Where this handle, and later clones of it, read the time. The default: the system's clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// How many revocations this handle, and later clones of it, let there be: 40 bytes each. The default: 1,000,000.
    #[must_use]
    pub fn max_entries(mut self, max_entries: NonZeroUsize) -> Self {
        self.max_entries = max_entries;
        self
    }

    /// The longest life of any token, `exp` minus `iat`, for what this handle and later clones of it revoke. The default:
    /// 24 hours.
    ///
    /// A not-before lasts that long. Tokens and sessions are revoked for at most that long from now, whatever end is given.
    ///
    /// # Errors
    ///
    /// If it is zero: such tokens need no revocation.
    pub fn max_token_lifetime(mut self, lifetime: Duration) -> Result<Self, ConfigError> {
        if lifetime.is_zero() {
            return Err(ConfigError::Setting {
                setting: "max_token_lifetime",
                problem: "set the longest life that a token has; revocations last as long",
            });
        }
        self.max_token_lifetime = lifetime;
        Ok(self)
    }

    /// Revokes, from this moment on and in every clone.
    ///
    /// Revoking again lets the revocation last longer and reach further, never less. What concerns only tokens that have
    /// expired already is not kept.
    ///
    /// # Errors
    ///
    /// [`RevocationError::Full`] at the ceiling, [`RevocationError::Empty`] without an issuer or a value, and
    /// [`RevocationError::TooFarAhead`] for a not-before further ahead than a token lives. Then nothing was revoked.
    pub fn revoke(&self, revocation: Revocation) -> Result<(), RevocationError> {
        revocation.check_names()?;
        let now = self.now();
        let (ends_at, not_before) = self.span(&revocation, now)?;
        if ends_at <= now {
            return Ok(());
        }
        let namespace = self.entries.secrets.namespace(&revocation.issuer);
        let slot = Slot {
            key: namespace.seek(revocation.kind, &revocation.value).key(),
            ends_at,
            not_before,
        };
        let max_entries = self.max_entries.get();
        match self
            .entries
            .memory
            .put(revocation.kind, slot, now, max_entries)?
        {
            Put::Added => observe::revocation_added(revocation.kind.as_str()),
            Put::Extended => {}
        }
        Ok(())
    }

    /// Takes a revocation back, whatever its end or its not-before. Says whether there was one.
    ///
    /// Its tokens are accepted again.
    pub fn forget(&self, revocation: &Revocation) -> bool {
        let namespace = self.entries.secrets.namespace(&revocation.issuer);
        let key = namespace.seek(revocation.kind, &revocation.value).key();
        self.entries.memory.remove(revocation.kind, key, self.now())
    }

    /// Whether this is revoked now: its token, its session or its key, or all that was issued up to its not-before.
    #[must_use]
    pub fn contains(&self, revocation: &Revocation) -> bool {
        let found = self.find(revocation.kind, &revocation.issuer, &revocation.value);
        found.is_some_and(|slot| match revocation.moment {
            Moment::Until(_) => true,
            Moment::NotBefore(not_before) => not_before <= slot.not_before,
        })
    }

    /// Every revocation that has not ended, the first to end first. It reads all of them.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let now = self.now();
        let mut entries = Vec::new();
        for kind in Kind::ALL {
            let entry = |slot: &Slot| entries.push(Entry::new(kind, slot));
            self.entries.memory.table(kind).each(now, entry);
        }
        entries.sort_unstable_by_key(|entry| (entry.ends_at, entry.kind, entry.not_before));
        entries
    }

    /// How many revocations of a kind have not ended. It reads all of them.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        let mut count = 0;
        let table = self.entries.memory.table(kind);
        table.each(self.now(), |_| count += 1);
        count
    }

    /// How many revocations have not ended. It reads all of them.
    #[must_use]
    pub fn len(&self) -> usize {
        Kind::ALL.map(|kind| self.count(kind)).iter().sum()
    }

    /// Whether there is no revocation that has not ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.memory.is_empty() || self.len() == 0
    }

    /// Decides about one verified token.
    #[inline]
    pub(crate) fn is_revoked(&self, token: &Facts<'_>) -> bool {
        !self.entries.memory.is_empty() && self.look_up(token)
    }

    fn look_up(&self, token: &Facts<'_>) -> bool {
        let issuer = self.entries.secrets.namespace(token.issuer);
        let find = |kind, value: Option<&str>| {
            let table = self.entries.memory.table(kind);
            if table.is_empty() {
                return None;
            }
            // Only a hit needs the time, and hits are rare.
            let found = table.find(&issuer.seek(kind, value?));
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
        // The latest counts, whoever it was set for: CVE-2026-8922 and CVE-2026-18218 let one hide another.
        let latest = not_before
            .iter()
            .flatten()
            .map(|slot| slot.not_before)
            .max();
        latest.is_some_and(|latest| token.issued_at.is_none_or(|issued_at| issued_at <= latest))
    }

    fn find(&self, kind: Kind, issuer: &str, value: &str) -> Option<Slot> {
        let namespace = self.entries.secrets.namespace(issuer);
        let table = self.entries.memory.table(kind);
        let found = table.find(&namespace.seek(kind, value));
        found.filter(|slot| slot.lasts(self.now()))
    }

    /// When a revocation ends, and up to when it reaches.
    fn span(&self, revocation: &Revocation, now: u64) -> Result<(u64, u64), RevocationError> {
        let lifetime = whole_seconds(self.max_token_lifetime);
        let (expires_at, not_before) = match revocation.moment {
            Moment::NotBefore(not_before) if not_before > now.saturating_add(lifetime) => {
                return Err(RevocationError::TooFarAhead);
            }
            Moment::NotBefore(not_before) => (not_before.saturating_add(lifetime), not_before),
            // The life of a key's tokens is no bound: whoever stole the key signs new ones.
            Moment::Until(until) if revocation.kind == Kind::Key => (until, 0),
            Moment::Until(until) => {
                let last = now.saturating_add(LEEWAY).saturating_add(lifetime);
                (until.min(last), 0)
            }
        };
        Ok((expires_at.saturating_add(LEEWAY), not_before))
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

impl Entry {
    fn new(kind: Kind, slot: &Slot) -> Self {
        let has_not_before = match kind {
            Kind::Subject | Kind::Client | Kind::Issuer => true,
            Kind::Token | Kind::Session | Kind::Key => false,
        };
        Self {
            kind,
            ends_at: Duration::from_secs(slot.ends_at),
            not_before: has_not_before.then(|| Duration::from_secs(slot.not_before)),
        }
    }
}
