//! The shared store: failures, outages and recovery.

use std::time::Duration;

use super::emit::event;
use super::metric::Label;
use super::names;

/// A call to the shared store failed or timed out.
pub(crate) fn failed<'a>(policies: impl Iterator<Item = &'a str>, error: &'static str) {
    for policy in policies {
        let label = Label::Text(policy);
        names::RATELIMIT_STORE_ERRORS.counter([label]).add(1);
    }
    event!(DEBUG, event = names::event::RATELIMIT_STORE_ERROR, error);
    let _ = error;
}

/// The shared store is bypassed from now on.
pub(crate) fn down(error: &'static str) {
    names::RATELIMIT_STORE_UP.set([], 0.0);
    event!(WARN, event = names::event::RATELIMIT_STORE_DOWN, error);
    let _ = error;
}

/// The shared store is used again.
pub(crate) fn up() {
    names::RATELIMIT_STORE_UP.set([], 1.0);
    event!(INFO, event = names::event::RATELIMIT_STORE_UP);
}

/// The total time without the store, reported while an outage lasts.
pub(crate) fn degraded(total: Duration) {
    names::RATELIMIT_STORE_DEGRADED.set([], total.as_secs_f64());
}
