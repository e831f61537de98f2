//! The gate that counts, and the service behind it.

use std::convert::Infallible;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::{Extensions, HeaderMap, Request, Response};

use super::fields::{Fields, RATE_LIMIT, RATE_LIMIT_POLICY};
use super::gcra::{Gcra, Verdict};
use super::key::{Counted, KeyHasher};
use super::memory::Memory;
use crate::clock::Clock;
use crate::gate::{Begin, Gate, gated_service};
use crate::identity::Caller;
use crate::observe::{Decision, Stage, Tally};
use crate::rejection::{Reason, Rejection};

gated_service! {
    /// A service behind [`RateLimitLayer`](super::RateLimitLayer).
    RateLimit, LimitGate
}

/// A limit, shared by all requests in flight.
#[derive(Clone, Debug)]
pub(super) struct LimitGate(pub(super) Arc<Limit>);

/// What a layer was set up with, made ready to decide.
pub(super) struct Limit {
    pub(super) name: Arc<str>,
    /// Keeps this policy's keys from meeting another's in the same memory.
    pub(super) policy: KeyHasher,
    pub(super) gcra: Gcra,
    pub(super) cost: NonZeroU32,
    pub(super) counted: Counted,
    pub(super) memory: Arc<Memory>,
    pub(super) clock: Clock,
    pub(super) fields: Option<Fields>,
    pub(super) tally: Tally,
}

// === impl LimitGate ===

impl Gate for LimitGate {
    const TIMED: bool = false;
    type Ticket = Verdict;
    // Memory answers at once.
    type Answer = Infallible;

    fn begin<B>(&self, request: &mut Request<B>) -> Begin<Self> {
        match self.0.decide(request.headers(), request.extensions()) {
            Ok(verdict) => Begin::Pass(verdict),
            Err(rejection) => Begin::Reject(rejection),
        }
    }

    fn finish<B>(&self, answer: Infallible, _: &mut Request<B>) -> Result<Verdict, Rejection> {
        match answer {}
    }

    fn seal<R>(&self, verdict: Verdict, response: &mut Response<R>) {
        if let Some(fields) = &self.0.fields {
            let headers = response.headers_mut();
            headers.append(&RATE_LIMIT_POLICY, fields.policy());
            headers.append(&RATE_LIMIT, fields.state(&verdict));
        }
    }

    fn describe<'a>(
        &'a self,
        extensions: &'a Extensions,
        rejection: Option<&'a Rejection>,
    ) -> Decision<'a> {
        Decision {
            stage: Stage::RateLimit,
            policy: &self.0.name,
            mode: "enforce",
            identity: Caller::of(extensions).and_then(Caller::identity),
            rejection,
            tally: Some(&self.0.tally),
        }
    }
}

// === impl Limit ===

impl Limit {
    fn decide(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<Verdict, Rejection> {
        let policy = self.policy.clone();
        let key = self.counted.key(policy, headers, extensions)?;
        let now = u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX);
        let verdict = self.memory.charge(key, now, &self.gcra, self.cost);
        match verdict.retry_after {
            None => Ok(verdict),
            Some(after) => {
                // `Retry-After` overrides `t`, so it must never be the earlier one.
                let after = after.max(verdict.more_in);
                let rejection = Rejection::new(Reason::RateLimited).with_retry_after(after);
                Err(self.explain(rejection, &verdict))
            }
        }
    }

    #[cold]
    fn explain(&self, mut rejection: Rejection, verdict: &Verdict) -> Rejection {
        rejection.details_mut().violated = Some(Arc::clone(&self.name));
        match &self.fields {
            None => rejection,
            Some(fields) => rejection
                .with_header(RATE_LIMIT_POLICY.clone(), fields.policy())
                .with_header(RATE_LIMIT.clone(), fields.state(verdict)),
        }
    }
}

impl fmt::Debug for Limit {
    /// The hasher would show its secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
