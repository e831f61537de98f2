//! The keys of one issuer over time, as a state machine without I/O.
//!
//! The [driver](super::driver) calls it with the time, executes the fetches that it asks for, and
//! reports their results. How it decides:
//!
//! 1. A key of the current snapshot is the answer. [`CurrentKeys`](super::current::CurrentKeys)
//!    gives the same answer without a lock.
//! 2. A fetch is due at about 75 % of the time to live, or after the backoff if the last fetch
//!    failed. At most one fetch runs at a time.
//! 3. An unknown kid may wait for the fetch under way or start another: two per cooldown, one while
//!    fetches fail. If such a fetch did not contain the kid, the kid is in the negative cache until
//!    the cooldown or the snapshot ends.
//! 4. The backoff doubles from 1 to 60 s. Once a request waits for keys, it is at most the
//!    cooldown, or 5 s if the cooldown is shorter.
//! 5. A failed fetch removes no key. A successful fetch replaces the snapshot, without the purged
//!    keys.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::current::Snapshot;
use super::fetch::FetchError;
use super::lookup::{Lookup, LookupMode};
use super::purged::PurgedKeys;
use super::set::KeySet;
use super::settings::Settings;
use super::status::{IssuerState, IssuerStatus};
use crate::algorithm::Algorithm;
use crate::observe::KeyChange;

/// What is known of one issuer's keys.
pub(super) struct KeyState {
    settings: Settings,
    snapshot: Option<Arc<Snapshot>>,
    purged: PurgedKeys,
    is_fetching: bool,
    /// When the next fetch is due, if none is under way.
    due: Duration,
    /// The failed fetches since the last successful one.
    failures: u32,
    failed_at: Duration,
    last_error: Option<&'static str>,
    /// Whether the last error means that the issuer does not exist.
    is_absent: bool,
    /// Whether a request had to wait for keys since the last successful fetch.
    is_awaited: bool,
    /// The last two fetches for unknown kids, older first. They are also the negative cache: a
    /// third entry could not exist within a cooldown.
    refetches: [Option<Refetch>; 2],
    hasher: RandomState,
}

/// A fetch for one unknown kid.
#[derive(Clone, Copy, Debug)]
struct Refetch {
    /// A keyed hash, so that the length of a kid does not decide how much memory it takes.
    kid_hash: u64,
    at: Duration,
    /// The generation of the snapshot that this fetch creates if it succeeds.
    generation: u64,
}

/// Which fetch a lookup waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The fetch under way.
    Join,
    /// The fetch under way. It began before the token arrived and may have been answered before the
    /// key was published, so the lookup may start one more.
    JoinThenRefetch,
    /// A fetch that the driver starts now.
    Start(FetchKind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FetchKind {
    /// Accepts the answer that the key set has not changed.
    IfChanged,
    /// Fetches the set itself: a 304 is no answer for a new kid.
    Whole,
}

const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
const AWAITED_BACKOFF: Duration = Duration::from_secs(5);

// === impl KeyState ===

impl KeyState {
    /// No keys yet. The first fetch is due.
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            snapshot: None,
            purged: PurgedKeys::default(),
            is_fetching: false,
            due: Duration::ZERO,
            failures: 0,
            failed_at: Duration::ZERO,
            last_error: None,
            is_absent: false,
            is_awaited: false,
            refetches: [None; 2],
            hasher: RandomState::new(),
        }
    }

    /// Keys that are valid forever and never fetched.
    pub(super) fn fixed(settings: Settings, keys: KeySet, now: Duration) -> Self {
        let snapshot = Snapshot {
            keys,
            generation: 0,
            fetched_at: now,
            age_then: Duration::ZERO,
            fresh_until: Duration::MAX,
            valid_until: Duration::MAX,
        };
        Self {
            snapshot: Some(Arc::new(snapshot)),
            due: Duration::MAX,
            ..Self::new(settings)
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// When [`tick`](Self::tick) will start a fetch.
    pub(super) fn due(&self) -> Duration {
        if self.is_fetching {
            Duration::MAX
        } else {
            self.due
        }
    }

    /// The estimated memory of the keys.
    pub(super) fn bytes(&self) -> usize {
        self.snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.keys.bytes())
    }

    pub(super) fn has_purged_keys(&self) -> bool {
        !self.purged.is_empty()
    }

    /// The key for a token with this `kid` and `alg`.
    pub(super) fn lookup(
        &mut self,
        kid: Option<&str>,
        algorithm: Algorithm,
        mode: LookupMode,
        now: Duration,
    ) -> Lookup<Wait> {
        let Some(snapshot) = self.snapshot.as_ref().filter(|s| now < s.valid_until) else {
            return self.lookup_without_keys(mode, now);
        };
        if let Some(key) = snapshot.keys.find(kid, algorithm) {
            return Lookup::Key(Arc::clone(key));
        }
        // A fetch helps only if the token names a kid that the set lacks. It never brings back a
        // purged key.
        let is_missing = |kid: &&str| !snapshot.keys.knows(kid) && !self.purged.names(kid);
        let Some(kid) = kid.filter(is_missing) else {
            return Lookup::UnknownKey;
        };
        let generation = snapshot.generation;
        if mode == LookupMode::MayWait
            && let Some(wait) = self.wait_for(kid, generation, now)
        {
            return Lookup::Wait(wait);
        }
        match self.failures {
            0 => Lookup::UnknownKey,
            _ => self.unavailable(now),
        }
    }

    /// Starts the fetch that is due, if there is one.
    pub(super) fn tick(&mut self, now: Duration) -> Option<FetchKind> {
        (!self.is_fetching && now >= self.due).then(|| self.start(FetchKind::IfChanged))
    }

    /// Starts a fetch whether or not one is due, unless one is under way.
    pub(super) fn warm(&mut self) -> Option<FetchKind> {
        (!self.is_fetching).then(|| self.start(FetchKind::IfChanged))
    }

    /// Applies the keys of the fetch under way. `random` is between 0 and 1.
    pub(super) fn fetched(&mut self, fetched: &KeySet, now: Duration, random: f64) -> KeyChange {
        let ttl = self.settings.ttl(fetched.fresh_for());
        let (keys, change, generation) = {
            let before = self.snapshot.as_ref();
            let keys = self
                .purged
                .remove_from(fetched, before.map(|before| &before.keys));
            let change = match before {
                Some(before) if keys.is_same(&before.keys) => KeyChange::Same,
                _ => KeyChange::Changed,
            };
            let generation = before.map_or(0, |before| before.generation);
            (keys, change, generation.wrapping_add(1))
        };
        let fresh_until = now.saturating_add(ttl);
        self.snapshot = Some(Arc::new(Snapshot {
            keys,
            generation,
            fetched_at: now,
            age_then: Duration::ZERO,
            fresh_until,
            valid_until: fresh_until.saturating_add(self.settings.max_stale),
        }));
        self.is_fetching = false;
        self.failures = 0;
        self.last_error = None;
        self.is_absent = false;
        self.is_awaited = false;
        // Spread out, or processes that started together would fetch together forever.
        self.due = now.saturating_add(ttl.mul_f64(0.75 * (0.9 + 0.2 * random)));
        change
    }

    /// Applies the failure of the fetch under way. `random` is between 0 and 1.
    pub(super) fn failed(&mut self, error: &FetchError, now: Duration, random: f64) {
        let doubled = MIN_BACKOFF.saturating_mul(1 << self.failures.min(6));
        let spread = doubled.min(MAX_BACKOFF).mul_f64(0.75 + 0.5 * random);
        self.is_fetching = false;
        self.failures = self.failures.saturating_add(1);
        self.failed_at = now;
        self.last_error = Some(error.as_str());
        self.is_absent = error.is_absence();
        self.due = now.saturating_add(spread.clamp(MIN_BACKOFF, MAX_BACKOFF));
        self.limit_backoff();
    }

    /// Removes a key for good. Returns whether it was known.
    pub(super) fn purge(&mut self, kid: &str) -> bool {
        self.purged.add(kid);
        let Some(snapshot) = self.snapshot.as_ref().filter(|s| s.keys.names(kid)) else {
            return false;
        };
        let mut snapshot = Snapshot::clone(snapshot);
        let before = snapshot.keys;
        snapshot.keys = self.purged.remove_from(&before, Some(&before));
        self.snapshot = Some(Arc::new(snapshot));
        true
    }

    /// Uses saved keys of this age as stale keys, for `left` at most. Returns their number; `None`
    /// if there are keys already.
    pub(super) fn restore(
        &mut self,
        saved: &KeySet,
        age: Duration,
        left: Duration,
        now: Duration,
    ) -> Option<usize> {
        if self.snapshot.is_some() {
            return None;
        }
        let keys = self.purged.remove_from(saved, None);
        let count = keys.len();
        self.snapshot = Some(Arc::new(Snapshot {
            keys,
            generation: 0,
            fetched_at: now,
            age_then: age,
            fresh_until: now,
            valid_until: now.saturating_add(left),
        }));
        Some(count)
    }

    /// Why there are no keys: `None` if there are, or if no fetch has failed.
    pub(super) fn first_failure<W>(&self, retry_after: Duration) -> Option<Lookup<W>> {
        match (&self.snapshot, self.failures) {
            (Some(_), _) | (None, 0) => None,
            _ if self.is_absent => Some(Lookup::UnknownTenant),
            _ => Some(Lookup::Unavailable { retry_after }),
        }
    }

    pub(super) fn status(&self, issuer: &str, now: Duration) -> IssuerStatus {
        let snapshot = self.snapshot.as_deref();
        IssuerStatus {
            issuer: issuer.into(),
            state: match snapshot {
                None => IssuerState::Cold,
                Some(snapshot) if snapshot.fresh_until == Duration::MAX => IssuerState::Fixed,
                Some(snapshot) if now < snapshot.fresh_until => IssuerState::Fresh,
                Some(snapshot) if now < snapshot.valid_until => IssuerState::Stale,
                Some(_) => IssuerState::Expired,
            },
            keys: snapshot.map_or(0, |snapshot| snapshot.keys.len()),
            skipped: snapshot.map_or_else(Vec::new, |snapshot| snapshot.keys.skipped().to_vec()),
            age: snapshot.map(|snapshot| snapshot.age(now)),
            last_error: self.last_error,
            tenants: Vec::new(),
        }
    }

    fn lookup_without_keys(&mut self, mode: LookupMode, now: Duration) -> Lookup<Wait> {
        if mode == LookupMode::Final {
            return self.unavailable(now);
        }
        if self.is_fetching {
            return Lookup::Wait(Wait::Join);
        }
        match self.tick(now) {
            Some(kind) => Lookup::Wait(Wait::Start(kind)),
            None => self.unavailable(now),
        }
    }

    /// Joins the fetch under way, or spends a refetch on this kid.
    fn wait_for(&mut self, kid: &str, generation: u64, now: Duration) -> Option<Wait> {
        let kid_hash = self.hasher.hash_one(kid);
        let cooldown = self.settings.cooldown;
        let is_recent = |refetch: &Refetch| now.saturating_sub(refetch.at) < cooldown;
        let [older, newer] = self.refetches;
        let is_answered =
            |refetch: &Refetch| refetch.kid_hash == kid_hash && refetch.generation == generation;
        let mut recent = self.refetches.iter().flatten().filter(|r| is_recent(r));
        if recent.any(is_answered) {
            return None;
        }
        if self.is_fetching {
            return Some(Wait::JoinThenRefetch);
        }
        let is_spent = match self.failures {
            0 => older.as_ref().is_some_and(is_recent),
            _ => {
                let paused_until = self.failed_at.saturating_add(MIN_BACKOFF);
                newer.as_ref().is_some_and(is_recent) || now < paused_until
            }
        };
        if is_spent {
            return None;
        }
        let refetch = Refetch {
            kid_hash,
            at: now,
            generation: generation.wrapping_add(1),
        };
        self.refetches = [newer, Some(refetch)];
        Some(Wait::Start(self.start(FetchKind::Whole)))
    }

    fn start(&mut self, kind: FetchKind) -> FetchKind {
        self.is_fetching = true;
        kind
    }

    fn unavailable<W>(&mut self, now: Duration) -> Lookup<W> {
        const A_MOMENT: Duration = Duration::from_secs(1);
        self.is_awaited = true;
        self.limit_backoff();
        let retry_after = match self.is_fetching {
            true => A_MOMENT,
            false => self.due.saturating_sub(now).max(A_MOMENT),
        };
        Lookup::Unavailable { retry_after }
    }

    /// Shortens the backoff if a request waits for keys.
    fn limit_backoff(&mut self) {
        if self.is_awaited {
            let longest = self.settings.cooldown.max(AWAITED_BACKOFF);
            self.due = self.due.min(self.failed_at.saturating_add(longest));
        }
    }
}

#[cfg(test)]
mod tests;
