//! How the fetches of one issuer have gone, and what follows for the next one.

use std::time::Duration;

use super::fetch::FetchError;
use super::jwk::Skipped;

/// Read and written off the path of a known kid only.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// In a row.
    failures: u32,
    last_error: Option<&'static str>,
    /// Whether the last error says that there is no such issuer.
    is_absent: bool,
    /// The refetches that were last spent on unknown kids, older first. With two in any cooldown, no third can matter.
    asked: [Option<Asked>; 2],
}

/// A refetch for one unknown kid.
#[derive(Clone, Copy, Debug)]
struct Asked {
    kid_hash: u64,
    at: Duration,
    /// The snapshot that answers it. With an older one the fetch failed; with a newer one it may be asked again.
    answered_by: u64,
}

/// The keys of one issuer, as [`JwksCache::status`](super::JwksCache::status) sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IssuerStatus {
    /// Whose keys; for the tenants of a pattern, the pattern.
    pub issuer: String,
    /// Whether they can be used.
    pub state: IssuerState,
    /// How many there are.
    pub keys: usize,
    /// Why others of the set are not used, one reason for each.
    pub skipped: Vec<Skipped>,
    /// How long ago they were fetched; `None` while there are none.
    pub age: Option<Duration>,
    /// The [kind](super::FetchError::kind) of the last fetch's error; `None` if it succeeded, or has yet to be made.
    pub last_error: Option<&'static str>,
    /// The tenants of whom a token was verified, sorted by issuer, where every tenant has keys of its own.
    pub tenants: Vec<IssuerStatus>,
}

/// Whether the keys of an issuer can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IssuerState {
    /// There are none yet.
    Cold,
    /// They are within their time to live.
    Fresh,
    /// They are past it, and serve until `max_stale` has passed too.
    Stale,
    /// They are too old to serve.
    Expired,
    /// They were given, and are never fetched.
    Fixed,
    /// Every tenant has its own, which are fetched when its tokens come.
    OnDemand,
}

const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

// === impl Health ===

impl Health {
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    pub(super) fn is_absent(&self) -> bool {
        self.is_absent
    }

    pub(super) fn last_error(&self) -> Option<&'static str> {
        self.last_error
    }

    pub(super) fn succeed(&mut self) {
        self.failures = 0;
        self.last_error = None;
        self.is_absent = false;
    }

    /// How long to wait before the next fetch: 1 to 60 s, doubled for each failure in a row, and spread by a quarter.
    pub(super) fn fail(&mut self, error: &FetchError, random: f64) -> Duration {
        let doubled = MIN_BACKOFF.saturating_mul(1 << self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(error.kind());
        self.is_absent = error.is_absence();
        let spread = doubled.min(MAX_BACKOFF).mul_f64(0.75 + 0.5 * random);
        spread.clamp(MIN_BACKOFF, MAX_BACKOFF)
    }

    /// Whether the snapshot of this generation is the answer to a refetch for this very kid.
    pub(super) fn is_answered(
        &self,
        kid_hash: u64,
        generation: u64,
        now: Duration,
        cooldown: Duration,
    ) -> bool {
        self.asked.iter().flatten().any(|asked| {
            asked.kid_hash == kid_hash
                && asked.answered_by == generation
                && now.saturating_sub(asked.at) < cooldown
        })
    }

    /// Spends one of the two refetches that unknown kids have in any `cooldown`; none while fetches fail, when only
    /// the backoff decides.
    pub(super) fn may_ask(
        &mut self,
        kid_hash: u64,
        generation: u64,
        now: Duration,
        cooldown: Duration,
    ) -> bool {
        let [older, newer] = self.asked;
        let is_spent = older.is_some_and(|asked| now.saturating_sub(asked.at) < cooldown);
        if is_spent || self.is_failing() {
            return false;
        }
        let asked = Asked {
            kid_hash,
            at: now,
            answered_by: generation.wrapping_add(1),
        };
        self.asked = [newer, Some(asked)];
        true
    }
}

// === impl IssuerState ===

impl IssuerState {
    /// Whether tokens of this issuer can be verified now.
    #[must_use]
    pub fn is_ready(self) -> bool {
        matches!(
            self,
            Self::Fresh | Self::Stale | Self::Fixed | Self::OnDemand
        )
    }

    /// A short, fixed name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Fixed => "fixed",
            Self::OnDemand => "on_demand",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_from_one_second_to_sixty() {
        let mut health = Health::default();
        let error = FetchError::Status(500);
        let waits: Vec<_> = (0..9).map(|_| health.fail(&error, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        for random in [0.0, 1.0] {
            let wait = health.fail(&error, random);
            assert!((MIN_BACKOFF..=MAX_BACKOFF).contains(&wait));
        }
        health.succeed();
        assert_eq!(health.fail(&error, 0.0), MIN_BACKOFF);
    }

    #[test]
    fn unknown_kids_have_two_refetches_in_any_cooldown() {
        let (mut health, cooldown) = (Health::default(), Duration::from_secs(30));
        let spent =
            |health: &mut Health, at| health.may_ask(at, 0, Duration::from_secs(at), cooldown);
        let times = [0, 10, 20, 29, 30, 31, 39, 40, 41];
        let granted: Vec<_> = times
            .into_iter()
            .filter(|at| spent(&mut health, *at))
            .collect();
        assert_eq!(granted, [0, 10, 30, 40]);
        let answered = |kid, generation, at| {
            health.is_answered(kid, generation, Duration::from_secs(at), cooldown)
        };
        assert!(answered(40, 1, 69) && answered(30, 1, 50));
        assert!(!answered(40, 1, 70) && !answered(40, 0, 41) && !answered(40, 2, 41));
        assert!(!answered(7, 1, 41));
    }
}
