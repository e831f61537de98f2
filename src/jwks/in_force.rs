//! The key set in force: read for every token, replaced now and then.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::atomics::{ArcSwapOption, AtomicU64, Ordering};
use super::key::Key;
use super::set::KeySet;

/// What the issuer published last.
pub(super) struct Snapshot {
    pub(super) keys: KeySet,
    /// Counts the successful refreshes.
    pub(super) generation: u64,
    pub(super) fetched_at: Duration,
    /// How old it was by then, if it was saved.
    pub(super) age_then: Duration,
    pub(super) fresh_until: Duration,
    pub(super) serves_until: Duration,
}

/// The place of the snapshot that answers.
pub(super) struct InForce {
    current: ArcSwapOption<Snapshot>,
    /// A number that no other snapshot of the process has, whoever's it is.
    revision: AtomicU64,
    /// Monotonic nanoseconds up to which the snapshot serves.
    serves_until: AtomicU64,
}

const NEVER: u64 = u64::MAX;

/// No snapshot has this revision.
pub(crate) const NO_GENERATION: u64 = 0;

fn next_revision() -> u64 {
    static LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(NO_GENERATION);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER)
}

// === impl Snapshot ===

impl Snapshot {
    /// How long ago it was fetched.
    pub(super) fn age(&self, now: Duration) -> Duration {
        let since = now.saturating_sub(self.fetched_at);
        since.saturating_add(self.age_then)
    }
}

// === impl InForce ===

impl InForce {
    /// No set yet.
    pub(super) fn nothing() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            revision: AtomicU64::new(next_revision()),
            serves_until: AtomicU64::new(0),
        }
    }

    pub(super) fn new(snapshot: Snapshot) -> Self {
        let in_force = Self::nothing();
        in_force.put(snapshot);
        in_force
    }

    pub(super) fn load(&self) -> impl Deref<Target = Option<Arc<Snapshot>>> {
        self.current.load()
    }

    pub(super) fn load_full(&self) -> Option<Arc<Snapshot>> {
        self.current.load_full()
    }

    /// The caller holds the ledger, or an older snapshot could come last.
    pub(super) fn put(&self, snapshot: Snapshot) {
        let serves_until = nanos(snapshot.serves_until);
        self.current.store(Some(Arc::new(snapshot)));
        self.revision.store(next_revision(), Ordering::Release);
        self.serves_until.store(serves_until, Ordering::Release);
    }

    /// Whether this very key is in force.
    ///
    /// `seen` keeps the revision in which it was found to be, for the next time: while that is in force, so is the key. A
    /// new one starts with [`NO_GENERATION`].
    pub(super) fn holds(&self, key: &Arc<Key>, now: Duration, seen: &AtomicU64) -> bool {
        // The other way round than they are stored: a snapshot's time is never taken for that of the one before it, and if
        // another comes into force meanwhile, `seen` keeps a number that is over.
        let serves_until = self.serves_until.load(Ordering::Acquire);
        let revision = self.revision.load(Ordering::Acquire);
        if nanos(now) >= serves_until {
            return false;
        }
        if seen.load(Ordering::Relaxed) == revision {
            return true;
        }
        let current = self.load();
        let holds = current.as_ref().is_some_and(|s| s.keys.holds(key));
        if holds {
            seen.store(revision, Ordering::Relaxed);
        }
        holds
    }
}
