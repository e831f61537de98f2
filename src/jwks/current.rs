//! The key set that verifies tokens: read for every token, replaced by every successful fetch.

use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::atomics::{ArcSwapOption, AtomicU64, Ordering};
use super::key::Key;
use super::set::KeySet;
use crate::duration::nanos;

/// One key set, and until when it may be used. Times are monotonic.
#[derive(Clone)]
pub(super) struct Snapshot {
    pub(super) keys: KeySet,
    /// The number of successful fetches up to this one.
    pub(super) generation: u64,
    pub(super) fetched_at: Duration,
    /// The age at `fetched_at`; not zero for restored keys.
    pub(super) age_then: Duration,
    pub(super) fresh_until: Duration,
    pub(super) valid_until: Duration,
}

/// The current snapshot, readable without a lock.
pub(super) struct CurrentKeys {
    snapshot: ArcSwapOption<Snapshot>,
    /// Identifies the snapshot. Unique in the process, across issuers.
    revision: AtomicU64,
    /// A copy of the snapshot's `valid_until` in nanoseconds.
    valid_until: AtomicU64,
}

/// A revision that no snapshot has.
pub(crate) const NO_REVISION: u64 = 0;

fn next_revision() -> u64 {
    static LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(NO_REVISION);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

// === impl Snapshot ===

impl Snapshot {
    /// The time since the issuer sent these keys.
    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.fetched_at)
            .saturating_add(self.age_then)
    }
}

// === impl CurrentKeys ===

impl CurrentKeys {
    /// No keys yet.
    pub(super) fn empty() -> Self {
        Self {
            snapshot: ArcSwapOption::empty(),
            revision: AtomicU64::new(next_revision()),
            valid_until: AtomicU64::new(0),
        }
    }

    pub(super) fn load(&self) -> impl Deref<Target = Option<Arc<Snapshot>>> {
        self.snapshot.load()
    }

    /// Replaces the snapshot. The caller holds the lock of the state that the snapshot comes from,
    /// so that an older snapshot is never stored last.
    pub(super) fn put(&self, snapshot: Arc<Snapshot>) {
        let valid_until = nanos(snapshot.valid_until);
        self.snapshot.store(Some(snapshot));
        self.revision.store(next_revision(), Ordering::Release);
        self.valid_until.store(valid_until, Ordering::Release);
    }

    /// Whether exactly this key is in the current snapshot.
    ///
    /// `seen` caches the revision in which the key was last found. If the revision is still the
    /// current one, the key is still valid. A new `seen` starts with [`NO_REVISION`].
    #[inline]
    pub(super) fn is_still_valid(&self, key: &Weak<Key>, now: Duration, seen: &AtomicU64) -> bool {
        // Loaded in the opposite order of the stores in `put`: the time limit of a new snapshot is
        // never applied to the one before it. If another snapshot is stored between the loads,
        // `seen` keeps a revision that is no longer current.
        let valid_until = self.valid_until.load(Ordering::Acquire);
        let revision = self.revision.load(Ordering::Acquire);
        if nanos(now) >= valid_until {
            return false;
        }
        seen.load(Ordering::Relaxed) == revision || self.holds(key, revision, seen)
    }

    /// Searches the current snapshot, and notes the revision if it holds the key.
    #[cold]
    fn holds(&self, key: &Weak<Key>, revision: u64, seen: &AtomicU64) -> bool {
        let snapshot = self.load();
        let held = snapshot.as_ref().zip(key.upgrade());
        let is_valid = held.is_some_and(|(snapshot, key)| snapshot.keys.holds(&key));
        if is_valid {
            seen.store(revision, Ordering::Relaxed);
        }
        is_valid
    }
}
