//! The service: glue between the limit and the gate.

use std::sync::Arc;

use http::{Request, Response};

use super::limit::{Asked, Decided, Limit, Ticket};
use super::store::{Outcome, Source, StoreError};
use crate::body::BodyGuard;
use crate::decision::Mode;
use crate::gate::{Admitted, Begin, Gate};
use crate::gated_service::gated_service;
use crate::observe::{CachedMetrics, Description, Stopwatch};
use crate::rejection::Rejection;
use crate::stage::Stage;

gated_service! {
    /// A service behind [`RateLimitLayer`](super::RateLimitLayer).
    ///
    /// `call` asks `LimitGate::begin`, and `LimitGate::finish` once a shared store has answered.
    RateLimit, LimitGate
}

#[derive(Clone, Debug)]
pub(super) struct LimitGate(pub(super) Arc<Settings>);

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) limit: Limit,
    pub(super) mode: Mode,
    /// For each source of an answer.
    pub(super) metrics: [CachedMetrics; Source::ALL],
}

/// What is kept of an admitted request.
pub(super) struct Counted {
    ticket: Ticket,
    /// `None` if the response is left alone: processors share the reference count.
    settings: Option<Arc<Settings>>,
}

// === impl LimitGate ===

impl LimitGate {
    fn admitted(&self, ticket: Ticket) -> Counted {
        let settings = (!ticket.is_silent()).then(|| Arc::clone(&self.0));
        Counted { ticket, settings }
    }
}

impl Gate for LimitGate {
    const STAGE: Stage = Stage::RateLimit;
    const TIMED: bool = false;
    type Admitted = Counted;
    /// Memory answers at once; a shared store may have to be asked.
    type Answer = (Result<Outcome, StoreError>, Asked);

    fn begin<B>(&self, request: &mut Request<B>, _: Stopwatch) -> Begin<Self> {
        let limit = &self.0.limit;
        match limit.decide(request.headers(), request.extensions()) {
            Decided::Now(Ok(ticket)) => Begin::Admit(self.admitted(ticket)),
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
    ) -> Result<Counted, Rejection> {
        let ticket = self.0.limit.finish(answer, asked)?;
        Ok(self.admitted(ticket))
    }

    fn describe<'a>(&'a self, verdict: Result<&'a Counted, &'a Rejection>) -> Description<'a> {
        let (source, told) = match verdict {
            Ok(counted) => (counted.ticket.source, None),
            Err(rejection) => (Source::Local, rejection.details().and_then(|d| d.source)),
        };
        Description {
            policy: &self.0.limit.name,
            mode: self.0.mode.as_str(),
            rule: None,
            source: told.unwrap_or(source.name()),
            has_caller: true,
            metrics: self.0.metrics.get(source as usize),
        }
    }
}

// === impl Counted ===

impl Admitted for Counted {
    fn body_guard(&mut self) -> Option<BodyGuard> {
        Some(self.ticket.take_permit()?)
    }

    fn on_response<R>(self, response: &mut Response<R>) {
        if let Some(settings) = self.settings {
            settings.limit.seal(self.ticket, response);
        }
    }
}
