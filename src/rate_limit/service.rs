//! The service: glue between the limit and the gate.

use std::sync::Arc;

use http::{Extensions, Request, Response};

use super::limit::{Asked, Decided, Limit, Ticket};
use super::store::{Outcome, Source, StoreError};
use crate::answer::Hold;
use crate::decision::Mode;
use crate::gate::{Begin, Gate, gated_service};
use crate::identity::Caller;
use crate::observe::{CachedMetrics, Decision, Stopwatch};
use crate::rejection::Rejection;
use crate::stage::Stage;

gated_service! {
    /// A service behind [`RateLimitLayer`](super::RateLimitLayer).
    RateLimit, LimitGate
}

#[derive(Clone, Debug)]
pub(super) struct LimitGate(pub(super) Arc<Settings>);

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) limit: Limit,
    pub(super) mode: Mode,
    /// One for each source of an answer.
    pub(super) tallies: [CachedMetrics; Source::ALL],
}

// === impl LimitGate ===

impl Gate for LimitGate {
    const TIMED: bool = false;
    type Ticket = Ticket;
    /// Memory answers at once; a store may have to be asked.
    type Answer = (Result<Outcome, StoreError>, Asked);

    fn begin<B>(&self, request: &mut Request<B>, _: Stopwatch) -> Begin<Self> {
        let limit = &self.0.limit;
        match limit.decide(request.headers(), request.extensions()) {
            Decided::Now(Ok(ticket)) => Begin::Pass(ticket),
            Decided::Now(Err(rejection)) => Begin::Reject(rejection),
            Decided::Later(asking, asked) => {
                Begin::Wait(Box::pin(async move { (asking.await, asked) }))
            }
        }
    }

    fn finish<B>(
        &self,
        (answer, asked): Self::Answer,
        _: &mut Request<B>,
    ) -> Result<Ticket, Rejection> {
        self.0.limit.finish(answer, asked)
    }

    fn hold(&self, ticket: &mut Ticket) -> Option<Hold> {
        Some(ticket.take_permit()?)
    }

    fn seal<R>(&self, ticket: Ticket, response: &mut Response<R>) {
        self.0.limit.seal(ticket, response);
    }

    fn seals(&self, ticket: &Ticket) -> bool {
        !ticket.is_silent()
    }

    fn tally(&self, ticket: &Ticket) -> Option<&CachedMetrics> {
        self.0.tallies.get(ticket.source as usize)
    }

    fn reports_only(&self) -> bool {
        self.0.mode == Mode::Report
    }

    fn describe<'a>(
        &'a self,
        extensions: &'a Extensions,
        verdict: Result<&Self::Ticket, &'a Rejection>,
    ) -> Decision<'a> {
        let source = match verdict {
            Ok(ticket) => ticket.source,
            Err(_) => Source::Local,
        };
        // Refusals are counted without a tally.
        let told = verdict
            .err()
            .and_then(|rejection| rejection.details()?.source);
        Decision {
            stage: Stage::RateLimit,
            source: told.unwrap_or(source.name()),
            policy: &self.0.limit.name,
            mode: self.0.mode.as_str(),
            rule: None,
            identity: Caller::of(extensions).and_then(Caller::identity),
            rejection: verdict.err(),
            metrics: self.0.tallies.get(source as usize),
        }
    }
}
