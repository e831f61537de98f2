//! What clients are told: fields on what passes, and the refusal of what does not.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::fields::{self, IN_FLIGHT, LEGACY, RATE_LIMIT, RATE_LIMIT_POLICY};
use super::gcra::Left;
use super::in_flight::InFlight;
use super::ready::Ready;
use super::store::{Source, Verdicts};
use crate::duration::nanos;
use crate::rejection::{Reason, Rejection};

/// How much clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tells {
    /// In a refusal, when to come back.
    Nothing,
    /// The fields of the draft.
    Fields,
    /// And those that came before it.
    Legacy,
}

/// Why a request is refused.
pub(super) struct Refusal {
    violated: Vec<Arc<str>>,
    retry_after: Duration,
    source: Source,
    told: Vec<(HeaderName, HeaderValue)>,
    legacy: Option<[HeaderValue; 3]>,
}

/// How long a caller waits that has too many requests in flight. When one of them ends nobody knows.
const A_WHILE: Duration = Duration::from_secs(1);

// === impl Tells ===

impl Tells {
    /// What is left of the only policy.
    pub(super) fn one(self, ready: &Ready, left: Left, headers: &mut HeaderMap) {
        if self == Self::Nothing {
            return;
        }
        headers.append(&RATE_LIMIT_POLICY, ready.fields().policy());
        headers.append(&RATE_LIMIT, ready.fields().state([left]));
        if self == Self::Legacy {
            put_legacy(ready.legacy([left]), headers);
        }
    }

    /// What is left of each policy.
    pub(super) fn all(self, ready: &Ready, verdicts: &Verdicts, headers: &mut HeaderMap) {
        if self == Self::Nothing {
            return;
        }
        headers.append(&RATE_LIMIT_POLICY, ready.fields().policy());
        headers.append(&RATE_LIMIT, ready.fields().state(verdicts.left()));
        if self == Self::Legacy {
            put_legacy(ready.legacy(verdicts.left()), headers);
        }
    }

    /// How many more requests may be in flight.
    pub(super) fn room(self, in_flight: &InFlight, room: u32, headers: &mut HeaderMap) {
        if self == Self::Nothing {
            return;
        }
        let policy = fields::in_flight_policy(in_flight.most());
        headers.append(&RATE_LIMIT_POLICY, policy);
        headers.append(&RATE_LIMIT, fields::in_flight_state(room));
    }
}

/// These name one quota, so what a limit further in has said stays: it knows the caller better.
fn put_legacy(values: Option<[HeaderValue; 3]>, headers: &mut HeaderMap) {
    let [limit, ..] = &LEGACY;
    if headers.contains_key(limit) {
        return;
    }
    for (name, value) in LEGACY.iter().zip(values.into_iter().flatten()) {
        headers.insert(name, value);
    }
}

// === impl Refusal ===

impl Refusal {
    #[cold]
    pub(super) fn of_quotas(ready: &Ready, verdicts: &Verdicts, source: Source) -> Self {
        let fields = ready.fields();
        Self {
            violated: ready.violated(verdicts),
            retry_after: verdicts.retry_after().unwrap_or(A_WHILE),
            source,
            told: vec![
                (RATE_LIMIT_POLICY.clone(), fields.policy()),
                (RATE_LIMIT.clone(), fields.state(verdicts.left())),
            ],
            legacy: ready.legacy(verdicts.left()),
        }
    }

    #[cold]
    pub(super) fn of_in_flight(in_flight: &InFlight) -> Self {
        let policy = fields::in_flight_policy(in_flight.most());
        Self {
            violated: vec![Arc::from(IN_FLIGHT)],
            retry_after: A_WHILE,
            source: Source::Local,
            told: vec![
                (RATE_LIMIT_POLICY.clone(), policy),
                (RATE_LIMIT.clone(), fields::in_flight_state(0)),
            ],
            legacy: None,
        }
    }

    /// `chance` is a number that clients cannot foresee: it spreads them over the jitter.
    pub(super) fn rejection(self, tells: Tells, jitter: Duration, chance: u64) -> Rejection {
        let nanos = nanos(jitter);
        // Multiplied by the golden ratio, the low bits, which differ most, count most.
        let chance = u128::from(chance.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let extra = Duration::from_nanos(((chance * u128::from(nanos)) >> 64) as u64);
        let after = self.retry_after.saturating_add(extra);
        let mut rejection = Rejection::new(Reason::RateLimited).with_retry_after(after);
        let details = rejection.details_mut();
        details.violated = self.violated;
        details.source = Some(self.source.name());
        if tells != Tells::Nothing {
            details.fields.extend(self.told);
        }
        if tells == Tells::Legacy {
            let legacy = LEGACY
                .iter()
                .cloned()
                .zip(self.legacy.into_iter().flatten());
            details.fields.extend(legacy);
        }
        rejection
    }
}
