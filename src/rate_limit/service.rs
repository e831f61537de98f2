//! The service: glue between the limit and the gate.

use std::sync::Arc;

use http::{Extensions, Request, Response};

use super::limit::{Admitted, Asked, Decided, Limit};
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
pub(super) struct LimitGate(pub(super) Arc<Limit>);

// === impl LimitGate ===

impl Gate for LimitGate {
    const TIMED: bool = false;
    type Ticket = Admitted;
    /// Memory answers at once; a store may have to be asked.
    type Answer = (Result<Outcome, StoreError>, Asked);

    fn begin<B>(&self, request: &mut Request<B>, _: Stopwatch) -> Begin<Self> {
        match self.0.decide(request.headers(), request.extensions()) {
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
        request: &mut Request<B>,
    ) -> Result<Admitted, Rejection> {
        let (headers, extensions) = (request.headers(), request.extensions());
        self.0.finish(answer, asked, headers, extensions)
    }

    fn hold(&self, ticket: &mut Admitted) -> Option<Hold> {
        Some(ticket.take_permit()?)
    }

    fn seal<R>(&self, ticket: Admitted, response: &mut Response<R>) {
        self.0.on_response(ticket, response);
    }

    fn seals(&self, ticket: &Admitted) -> bool {
        !ticket.is_silent()
    }

    fn tally(&self, ticket: &Admitted) -> Option<&CachedMetrics> {
        self.0.metrics.get(ticket.source as usize)
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
            source: told.unwrap_or(source.as_str()),
            policy: &self.0.name,
            mode: self.0.mode.as_str(),
            rule: None,
            identity: Caller::of(extensions).and_then(Caller::identity),
            rejection: verdict.err(),
            metrics: self.0.metrics.get(source as usize),
        }
    }
}
