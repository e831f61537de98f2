//! What a layer was set up with, made ready to decide.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderMap, Response, StatusCode};

use super::gcra::Left;
use super::in_flight::{InFlight, Permit};
use super::key::{Counted, Key, KeyHasher};
use super::memory::Memory;
use super::ready::{Chosen, Ready};
use super::store::{Asking, Check, Outcome, Purpose, Source, Store, StoreError, Verdicts};
use super::tell::{Refusal, Tells};
use crate::clock::Clock;
use crate::duration::nanos;
use crate::identity::Caller;
use crate::rejection::{Reason, Rejection};

/// A limit, shared by all requests in flight.
pub(super) struct Limit {
    pub(super) name: Arc<str>,
    /// `None` where the layer's own quotas limit nobody.
    pub(super) own: Option<Arc<Ready>>,
    pub(super) chosen: Option<Chosen>,
    pub(super) in_flight: Option<Arc<InFlight>>,
    pub(super) counts: Counts,
    pub(super) cost: NonZeroU32,
    pub(super) counted: Counted,
    pub(super) hasher: KeyHasher,
    pub(super) states: States,
    pub(super) clock: Clock,
    pub(super) tells: Tells,
    pub(super) jitter: Duration,
}

/// Where the callers' states are.
#[derive(Clone, Debug)]
pub(super) enum States {
    Memory(Arc<Memory>),
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    Store(Arc<dyn Store>),
}

/// What uses up a quota.
#[derive(Clone)]
pub(super) enum Counts {
    Requests,
    /// Requests that authentication refused for an invalid token.
    Failures,
    /// What the response says.
    Afterwards(Arc<CostOf>),
}

/// What a request has cost, by the head of its response.
pub(super) type CostOf = dyn Fn(StatusCode, &HeaderMap) -> u32 + Send + Sync;

/// What is kept of an admitted request, for its response.
pub(super) struct Ticket {
    pub(super) source: Source,
    kind: Kind,
    /// How many more may be in flight, where that is limited.
    room: Option<u32>,
    permit: Option<Box<Permit>>,
}

enum Kind {
    /// There is nothing to tell and nothing to learn.
    Silent,
    /// What is left of the layer's own policy, where it has but one.
    Left(Left),
    /// Anything else.
    Known(Box<Known>),
}

/// A caller, and what was decided about it.
struct Known {
    ready: Arc<Ready>,
    key: Key,
    verdicts: Verdicts,
}

/// A caller whom a store was asked about.
pub(super) struct Asked {
    ready: Arc<Ready>,
    key: Key,
    permit: Option<Box<Permit>>,
}

/// What a limit says to a request.
pub(super) enum Decided {
    Now(Result<Ticket, Rejection>),
    Later(Asking, Asked),
}

// === impl Limit ===

impl Limit {
    pub(super) fn decide(&self, headers: &HeaderMap, extensions: &Extensions) -> Decided {
        self.begin(headers, extensions)
            .unwrap_or_else(|rejection| Decided::Now(Err(rejection)))
    }

    fn begin(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<Decided, Rejection> {
        let chosen = self.chosen.as_ref().and_then(|chosen| {
            let caller = Caller::of(extensions).and_then(Caller::identity)?;
            chosen.ready(caller)
        });
        let ready = match &chosen {
            Some(chosen) => chosen.as_ref(),
            None => self.own.as_ref(),
        };
        if ready.is_none() && self.in_flight.is_none() {
            return Ok(Decided::Now(Ok(Ticket::new(Kind::Silent, None))));
        }
        let key = self.counted.key(&self.hasher, headers, extensions)?;
        let permit = match &self.in_flight {
            Some(in_flight) => Some(self.enter(in_flight, key)?),
            None => None,
        };
        let Some(ready) = ready else {
            return Ok(Decided::Now(Ok(Ticket::new(Kind::Silent, permit))));
        };
        let check = self.check(ready, key, self.purpose());
        let outcome = match &self.states {
            States::Memory(memory) => memory.decide(&check),
            States::Store(store) => match store.try_local(&check) {
                Some(outcome) => outcome,
                None => {
                    let ready = Arc::clone(ready);
                    let asked = Asked { ready, key, permit };
                    return Ok(Decided::Later(store.ask(&check), asked));
                }
            },
        };
        Ok(Decided::Now(self.judge(outcome, ready, key, permit)))
    }

    /// Decides by what the store has answered.
    pub(super) fn finish(
        &self,
        answer: Result<Outcome, StoreError>,
        asked: Asked,
    ) -> Result<Ticket, Rejection> {
        match answer {
            Ok(outcome) => self.judge(outcome, &asked.ready, asked.key, asked.permit),
            Err(StoreError) => {
                let rejection = Rejection::new(Reason::StoreUnavailable);
                let mut rejection = rejection.with_retry_after(StoreError::RETRY_AFTER);
                rejection.details_mut().source = Some(StoreError::SOURCE);
                Err(rejection)
            }
        }
    }

    /// Tells the client what is left, or counts what the response gives away.
    pub(super) fn seal<R>(&self, ticket: Ticket, response: &mut Response<R>) {
        match ticket.kind {
            Kind::Silent => {}
            Kind::Left(left) => {
                if let Some(own) = &self.own {
                    self.tells.one(own, left, response.headers_mut());
                }
            }
            Kind::Known(known) => self.seal_known(*known, response),
        }
        if let (Some(room), Some(in_flight)) = (ticket.room, &self.in_flight) {
            self.tells.room(in_flight, room, response.headers_mut());
        }
    }

    fn seal_known<R>(&self, known: Known, response: &mut Response<R>) {
        match &self.counts {
            Counts::Requests => {
                self.tells
                    .all(&known.ready, &known.verdicts, response.headers_mut())
            }
            Counts::Failures => {
                let rejection = response.extensions().get::<Rejection>();
                if rejection.is_some_and(|rejection| rejection.reason().is_invalid_token()) {
                    self.settle(&known, self.cost);
                }
            }
            Counts::Afterwards(cost_of) => {
                let mut verdicts = known.verdicts.clone();
                let cost = cost_of(response.status(), response.headers());
                if let Some(cost) = NonZeroU32::new(cost) {
                    self.settle(&known, cost);
                    verdicts.subtract(cost);
                }
                self.tells
                    .all(&known.ready, &verdicts, response.headers_mut());
            }
        }
    }

    fn settle(&self, known: &Known, cost: NonZeroU32) {
        let check = Check {
            cost,
            ..self.check(&known.ready, known.key, Purpose::Acquire)
        };
        match &self.states {
            States::Memory(memory) => memory.charge(&check),
            States::Store(store) => store.charge(&check),
        }
    }

    fn judge(
        &self,
        outcome: Outcome,
        ready: &Arc<Ready>,
        key: Key,
        permit: Option<Box<Permit>>,
    ) -> Result<Ticket, Rejection> {
        let Outcome { verdicts, source } = outcome;
        if !verdicts.admit() {
            let refusal = Refusal::of_quotas(ready, &verdicts, source);
            return Err(refusal.rejection(self.tells, self.jitter, key.name() ^ self.now()));
        }
        let is_own = || self.own.as_ref().is_some_and(|own| Arc::ptr_eq(own, ready));
        let kind = match (&self.counts, verdicts) {
            (Counts::Requests, _) if self.tells == Tells::Nothing => Kind::Silent,
            (Counts::Requests, Verdicts::One(verdict)) if is_own() => Kind::Left(verdict.left),
            (_, verdicts) => Kind::Known(Box::new(Known {
                ready: Arc::clone(ready),
                key,
                verdicts,
            })),
        };
        Ok(Ticket {
            source,
            ..Ticket::new(kind, permit)
        })
    }

    fn enter(&self, in_flight: &Arc<InFlight>, key: Key) -> Result<Box<Permit>, Rejection> {
        let permit = in_flight.enter(key).map(Box::new);
        permit.ok_or_else(|| {
            let refusal = Refusal::of_in_flight(in_flight);
            refusal.rejection(self.tells, self.jitter, key.name() ^ self.now())
        })
    }

    fn check<'a>(&self, ready: &'a Ready, key: Key, purpose: Purpose) -> Check<'a> {
        Check {
            key,
            policies: ready.policies(),
            cost: self.cost,
            purpose,
            now: self.now(),
        }
    }

    fn purpose(&self) -> Purpose {
        match self.counts {
            Counts::Requests => Purpose::Acquire,
            Counts::Failures | Counts::Afterwards(_) => Purpose::Peek,
        }
    }

    fn now(&self) -> u64 {
        nanos(self.clock.monotonic())
    }
}

impl fmt::Debug for Limit {
    /// The hasher would show its secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

// === impl Ticket ===

impl Ticket {
    fn new(kind: Kind, permit: Option<Box<Permit>>) -> Self {
        Self {
            source: Source::Local,
            kind,
            room: permit.as_ref().map(|permit| permit.left),
            permit,
        }
    }

    /// Whether the response has nothing to tell, nothing to teach and nothing to hold.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.kind, Kind::Silent) && self.permit.is_none()
    }

    /// What the response's body takes along.
    pub(super) fn take_permit(&mut self) -> Option<Box<Permit>> {
        self.permit.take()
    }
}
