//! The service, and the gate that asks the limit.

use std::sync::Arc;

use http::{Request, Response};

use super::limit::{Admission, Asked, Decided, Limit};
use super::store::{Outcome, Source, StoreError};
use crate::body::BodyGuard;
use crate::gate::{Admitted, Begin, Gate};
use crate::gated_service::gated_service;
use crate::observe::{Description, Stopwatch};
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
    const STAGE: Stage = Stage::RateLimit;
    const TIMED: bool = false;
    type Admitted = Admission;
    /// Memory answers at once; a shared store may have to be asked.
    type Answer = (Result<Outcome, StoreError>, Asked);

    fn begin<B>(&self, request: &mut Request<B>, _: Stopwatch) -> Begin<Self> {
        match self.0.decide(request.headers(), request.extensions()) {
            Decided::Now(Ok(admission)) => Begin::Admit(admission),
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
    ) -> Result<Admission, Rejection> {
        let (headers, extensions) = (request.headers(), request.extensions());
        self.0.finish(answer, asked, headers, extensions)
    }

    #[inline]
    fn describe<'a>(&'a self, verdict: Result<&'a Admission, &'a Rejection>) -> Description<'a> {
        let (source, rejected_by) = match verdict {
            Ok(admission) => (admission.source, None),
            Err(rejection) => (Source::Local, rejection.details().and_then(|d| d.source)),
        };
        Description {
            policy: &self.0.name,
            mode: self.0.mode.as_str(),
            rule: None,
            source: rejected_by.unwrap_or(source.as_str()),
            has_caller: true,
            metrics: self.0.metrics.get(source as usize),
        }
    }
}

// === impl Admission ===

impl Admitted for Admission {
    #[inline]
    fn body_guard(&mut self) -> Option<BodyGuard> {
        Some(self.take_permit()?)
    }

    #[inline]
    fn on_response<R>(self, response: &mut Response<R>) {
        self.finish(response);
    }
}
