//! The events of decisions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Extensions, Method};
use tracing::Level;

use super::{Decision, Identity};
use crate::clock::Clock;
use crate::rejection::Reason;

pub(super) fn emit(
    decision: &Decision<'_>,
    method: &Method,
    extensions: &Extensions,
    elapsed: Option<Duration>,
) {
    let reason = decision.reason();
    // The level of an event is part of its callsite, hence one arm each.
    macro_rules! emit {
        ($level:ident) => {
            tracing::event!(
                target: "portcullis",
                Level::$level,
                event = decision.event(),
                code = reason.map(Reason::code),
                policy = decision.policy,
                rule = decision.rule,
                missing = decision.missing(),
                mode = decision.mode,
                cached = decision.is_cached(),
                issuer = decision.identity.map(Identity::issuer),
                kid = decision.identity.and_then(Identity::key_id),
                user.hash = decision.identity.map(Identity::pseudonym),
                method = name_of(method),
                route = crate::route::template(extensions),
                duration_us = elapsed.map(|elapsed| elapsed.as_micros() as u64),
                fix = decision.rejection.and_then(|rejection| rejection.details()?.fix),
            )
        };
    }
    match reason {
        None => emit!(DEBUG),
        Some(Reason::NotConfigured) if is_due(&MISCONFIGURED) => emit!(ERROR),
        Some(reason) if !reason.status().is_server_error() => emit!(INFO),
        Some(reason) if reason != Reason::NotConfigured && is_due(&OUTAGE) => emit!(WARN),
        Some(_) => emit!(DEBUG),
    }
}

/// A client may send any word for a method, of any length.
fn name_of(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE"
        | "PATCH" | "QUERY") => known,
        _ => "other",
    }
}

/// The second from which on the next one may be told loudly. An outage or a misconfiguration refuses every request, and
/// once a second tells the story; the others are told at DEBUG.
type Due = AtomicU64;

static MISCONFIGURED: Due = Due::new(0);
static OUTAGE: Due = Due::new(0);

fn is_due(due: &Due) -> bool {
    let now = Clock::System.monotonic().as_secs();
    let next = due.load(Ordering::Relaxed);
    now >= next
        && due
            .compare_exchange(next, now + 1, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
}
