//! A limit that decides about requests, and charges them.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderMap, Response, StatusCode};

use super::gcra::Left;
use super::headers::HeaderStyle;
use super::in_flight::{InFlight, Permit};
use super::key::{Key, KeyConfig, KeyHasher};
use super::memory::Memory;
use super::prepared::{PreparedPolicy, QuotaSelector};
use super::store::{Check, Outcome, OutcomeFuture, Purpose, Source, Store, StoreError, Verdicts};
use crate::clock::Clock;
use crate::decision::Mode;
use crate::duration::nanos;
use crate::identity::Caller;
use crate::observe::CachedMetrics;
use crate::rejection::{Reason, Rejection};
use crate::stage::Stage;

/// A limit, shared by all requests in flight.
pub(super) struct Limit {
    pub(super) name: Arc<str>,
    /// `None` if the layer's own quotas are unlimited.
    pub(super) own: Option<Arc<PreparedPolicy>>,
    pub(super) selector: Option<QuotaSelector>,
    pub(super) in_flight: Option<Arc<InFlight>>,
    pub(super) counting: Counting,
    pub(super) count_expired: bool,
    pub(super) cost_if_dropped: u32,
    pub(super) exempt: Option<Arc<Exempt>>,
    pub(super) cost: NonZeroU32,
    pub(super) key: KeyConfig,
    pub(super) hasher: KeyHasher,
    pub(super) states: States,
    pub(super) clock: Clock,
    pub(super) headers: HeaderStyle,
    pub(super) jitter: Duration,
    pub(super) mode: Mode,
    /// One per source of a decision.
    pub(super) metrics: [CachedMetrics; Source::COUNT],
}

/// Where the callers' states are kept.
#[derive(Clone, Debug)]
pub(super) enum States {
    Memory(Arc<Memory>),
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    Store(Arc<dyn Store>),
}

/// What uses up a quota.
#[derive(Clone)]
pub(super) enum Counting {
    Requests,
    /// Requests whose token authentication rejected as invalid.
    Failures,
    /// What the response costs.
    Responses(Arc<CostOf>),
}

/// The cost of a response, by its head.
pub(super) type CostOf = dyn Fn(StatusCode, &HeaderMap) -> u32 + Send + Sync;

/// Whether a request passes although its quota is used up.
pub(super) type Exempt = dyn Fn(&HeaderMap, &Extensions) -> bool + Send + Sync;

/// What is kept of an admitted request until its response.
pub(super) struct Admission {
    pub(super) source: Source,
    /// `None` if the response is passed on as it is: processors share the reference count.
    limit: Option<Arc<Limit>>,
    response: OnResponse,
    /// How many more may be in flight, if that is limited.
    left_in_flight: Option<u32>,
    permit: Option<Box<Permit>>,
}

/// What the response needs.
enum OnResponse {
    Nothing,
    /// What is left of the layer's own and only policy.
    Left(Left),
    /// Anything else.
    Full(Box<Counted>),
}

/// A caller, and what was decided about it.
struct Counted {
    policy: Arc<PreparedPolicy>,
    key: Key,
    verdicts: Verdicts,
}

/// A request that waits for the answer of a store.
pub(super) struct Asked {
    policy: Arc<PreparedPolicy>,
    key: Key,
    permit: Option<Box<Permit>>,
}

/// How a limit answers a request.
pub(super) enum Decided {
    Now(Result<Admission, Rejection>),
    Later(OutcomeFuture, Asked),
}

// === impl Limit ===

impl Limit {
    pub(super) fn decide(
        self: &Arc<Self>,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Decided {
        self.begin(headers, extensions)
            .unwrap_or_else(|rejection| Decided::Now(Err(rejection)))
    }

    fn begin(
        self: &Arc<Self>,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Decided, Rejection> {
        let selected = self.selector.as_ref().and_then(|selector| {
            let caller = Caller::of(extensions).and_then(Caller::identity)?;
            selector.select(caller)
        });
        let policy = match &selected {
            Some(selected) => selected.as_ref(),
            None => self.own.as_ref(),
        };
        if policy.is_none() && self.in_flight.is_none() {
            return Ok(Decided::Now(Ok(self.admit(
                Source::Local,
                OnResponse::Nothing,
                None,
            ))));
        }
        let key = self.key.key(&self.hasher, headers, extensions)?;
        let permit = match &self.in_flight {
            Some(in_flight) => Some(self.enter(in_flight, key)?),
            None => None,
        };
        let Some(policy) = policy else {
            let admission = self.admit(Source::Local, OnResponse::Nothing, permit);
            return Ok(Decided::Now(Ok(admission)));
        };
        let check = self.check(policy, key, self.purpose());
        let outcome = match &self.states {
            States::Memory(memory) => memory.decide(&check),
            States::Store(store) => match store.try_local(&check) {
                Some(outcome) => outcome,
                None => {
                    let policy = Arc::clone(policy);
                    let asked = Asked {
                        policy,
                        key,
                        permit,
                    };
                    return Ok(Decided::Later(store.ask(&check), asked));
                }
            },
        };
        let is_exempt = || self.is_exempt(headers, extensions);
        Ok(Decided::Now(
            self.judge(outcome, policy, key, permit, is_exempt),
        ))
    }

    /// Decides by the answer of the store.
    pub(super) fn finish(
        self: &Arc<Self>,
        answer: Result<Outcome, StoreError>,
        asked: Asked,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Admission, Rejection> {
        let is_exempt = || self.is_exempt(headers, extensions);
        match answer {
            Ok(outcome) => self.judge(outcome, &asked.policy, asked.key, asked.permit, is_exempt),
            Err(StoreError) => {
                let rejection = Rejection::new(Reason::StoreUnavailable);
                let mut rejection = rejection.with_retry_after(StoreError::RETRY_AFTER);
                rejection.details_mut().source = Some(StoreError::SOURCE);
                Err(rejection)
            }
        }
    }

    fn charge_response<R>(&self, mut counted: Counted, response: &mut Response<R>) {
        match &self.counting {
            Counting::Requests => {}
            Counting::Failures => {
                let rejection = response.extensions().get::<Rejection>();
                if rejection.is_some_and(|rejection| self.is_failure(rejection)) {
                    self.charge(&counted, self.cost);
                }
                return;
            }
            Counting::Responses(cost_of) => {
                let cost = cost_of(response.status(), response.headers());
                if let Some(cost) = NonZeroU32::new(cost) {
                    self.charge(&counted, cost);
                    counted.verdicts.subtract(cost);
                }
            }
        }
        let left = counted.verdicts.left();
        self.headers
            .add(counted.policy.fields(), left, response.headers_mut());
    }

    /// Charges a request that was admitted already.
    fn charge(&self, counted: &Counted, cost: NonZeroU32) {
        let check = Check {
            cost,
            ..self.check(&counted.policy, counted.key, Purpose::Acquire)
        };
        match &self.states {
            States::Memory(memory) => memory.charge(&check),
            States::Store(store) => store.charge(&check),
        }
    }

    fn judge(
        self: &Arc<Self>,
        outcome: Outcome,
        policy: &Arc<PreparedPolicy>,
        key: Key,
        permit: Option<Box<Permit>>,
        is_exempt: impl FnOnce() -> bool,
    ) -> Result<Admission, Rejection> {
        let Outcome { verdicts, source } = outcome;
        if !verdicts.admit() {
            if is_exempt() {
                return Ok(self.admit(source, OnResponse::Nothing, permit));
            }
            let refusal =
                self.headers
                    .refusal(policy.policies(), policy.fields(), &verdicts, source);
            return Err(refusal.rejection(self.jitter, key.name() ^ self.now()));
        }
        let is_own = || {
            self.own
                .as_ref()
                .is_some_and(|own| Arc::ptr_eq(own, policy))
        };
        let response = match (&self.counting, verdicts) {
            (Counting::Requests, _) if self.headers == HeaderStyle::None => OnResponse::Nothing,
            (Counting::Requests, Verdicts::One(verdict)) if is_own() => {
                OnResponse::Left(verdict.left)
            }
            (_, verdicts) => OnResponse::Full(Box::new(Counted {
                policy: Arc::clone(policy),
                key,
                verdicts,
            })),
        };
        Ok(self.admit(source, response, permit))
    }

    fn admit(
        self: &Arc<Self>,
        source: Source,
        response: OnResponse,
        permit: Option<Box<Permit>>,
    ) -> Admission {
        let is_silent = matches!(response, OnResponse::Nothing) && permit.is_none();
        Admission {
            source,
            limit: (!is_silent).then(|| Arc::clone(self)),
            response,
            left_in_flight: permit.as_ref().map(|permit| permit.left),
            permit,
        }
    }

    fn enter(&self, in_flight: &Arc<InFlight>, key: Key) -> Result<Box<Permit>, Rejection> {
        let permit = in_flight.enter(key).map(Box::new);
        permit.ok_or_else(|| {
            let refusal = self.headers.refusal_in_flight(in_flight);
            refusal.rejection(self.jitter, key.name() ^ self.now())
        })
    }

    fn is_exempt(&self, headers: &HeaderMap, extensions: &Extensions) -> bool {
        let exempt = self.exempt.as_ref();
        exempt.is_some_and(|exempt| exempt(headers, extensions))
    }

    /// Whether authentication rejected the token as invalid.
    fn is_failure(&self, rejection: &Rejection) -> bool {
        let reason = rejection.reason();
        rejection.stage() == Stage::Authentication
            && reason.is_invalid_token()
            && (self.count_expired || reason != Reason::Expired)
    }

    fn check<'a>(&self, policy: &'a PreparedPolicy, key: Key, purpose: Purpose) -> Check<'a> {
        Check {
            key,
            policies: policy.policies(),
            cost: self.cost,
            purpose,
            now: self.now(),
        }
    }

    fn purpose(&self) -> Purpose {
        match self.counting {
            Counting::Requests => Purpose::Acquire,
            Counting::Failures | Counting::Responses(_) => Purpose::Peek,
        }
    }

    fn now(&self) -> u64 {
        nanos(self.clock.monotonic())
    }
}

impl fmt::Debug for Limit {
    /// Without the hasher, which holds the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

// === impl Admission ===

impl Admission {
    /// What the response's body holds until it ends.
    pub(super) fn take_permit(&mut self) -> Option<Box<Permit>> {
        self.permit.take()
    }

    /// Adds what is left to the response, or charges what the response costs.
    pub(super) fn finish<R>(mut self, response: &mut Response<R>) {
        let Some(limit) = self.limit.take() else {
            return;
        };
        match std::mem::replace(&mut self.response, OnResponse::Nothing) {
            OnResponse::Nothing => {}
            OnResponse::Left(left) => {
                if let Some(own) = &limit.own {
                    limit
                        .headers
                        .add(own.fields(), [left], response.headers_mut());
                }
            }
            OnResponse::Full(counted) => limit.charge_response(*counted, response),
        }
        if let (Some(left), Some(in_flight)) = (self.left_in_flight, &limit.in_flight) {
            limit
                .headers
                .add_in_flight(in_flight, left, response.headers_mut());
        }
    }
}

impl Drop for Admission {
    /// Charges a request without a response: the client disconnected, an outer timeout elapsed, or
    /// the inner service failed.
    fn drop(&mut self) {
        if let (Some(limit), OnResponse::Full(counted)) = (&self.limit, &self.response)
            && let Counting::Responses(_) = limit.counting
            && let Some(cost) = NonZeroU32::new(limit.cost_if_dropped)
        {
            limit.charge(counted, cost);
        }
    }
}
