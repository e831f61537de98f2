//! The service: glue between the limit and the gate.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Extensions, Request, Response};

use super::limit::{Limit, Ticket};
use crate::gate::{Begin, Gate, gated_service};
use crate::identity::Caller;
use crate::observe::{Decision, Stage, Tally, mode};
use crate::rejection::Rejection;

gated_service! {
    /// A service behind [`RateLimitLayer`](super::RateLimitLayer).
    RateLimit, LimitGate
}

#[derive(Clone, Debug)]
pub(super) struct LimitGate(pub(super) Arc<Settings>);

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) limit: Limit,
    pub(super) report_only: bool,
    pub(super) tally: Tally,
}

// === impl LimitGate ===

impl Gate for LimitGate {
    const TIMED: bool = false;
    type Ticket = Ticket;
    // Memory answers at once.
    type Answer = Infallible;

    fn begin<B>(&self, request: &mut Request<B>) -> Begin<Self> {
        let limit = &self.0.limit;
        match limit.decide(request.headers(), request.extensions()) {
            Ok(ticket) => Begin::Pass(ticket),
            Err(rejection) => Begin::Reject(rejection),
        }
    }

    fn finish<B>(&self, answer: Infallible, _: &mut Request<B>) -> Result<Ticket, Rejection> {
        match answer {}
    }

    fn seal<R>(&self, ticket: Ticket, response: &mut Response<R>) {
        self.0.limit.seal(ticket, response);
    }

    fn reports_only(&self) -> bool {
        self.0.report_only
    }

    fn describe<'a>(
        &'a self,
        extensions: &'a Extensions,
        verdict: Result<&Self::Ticket, &'a Rejection>,
    ) -> Decision<'a> {
        Decision {
            stage: Stage::RateLimit,
            policy: &self.0.limit.name,
            mode: mode(self.0.report_only),
            identity: Caller::of(extensions).and_then(Caller::identity),
            rejection: verdict.err(),
            cached: false,
            tally: Some(&self.0.tally),
        }
    }
}
