//! What a layer was set up with, made ready to decide.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::{Extensions, HeaderMap, Response};

use super::gcra::Left;
use super::key::{Counted, Key, KeyHasher};
use super::memory::Memory;
use super::ready::{Chosen, Ready};
use super::store::{Asking, Check, Outcome, Purpose, Source, Store, StoreError, Verdicts};
use crate::clock::Clock;
use crate::identity::Caller;
use crate::rejection::{Reason, Rejection};

/// A limit, shared by all requests in flight.
pub(super) struct Limit {
    pub(super) name: Arc<str>,
    /// `None` where the layer's own quotas limit nobody.
    pub(super) own: Option<Arc<Ready>>,
    pub(super) chosen: Option<Chosen>,
    pub(super) counts: Counts,
    pub(super) cost: NonZeroU32,
    pub(super) counted: Counted,
    pub(super) hasher: KeyHasher,
    pub(super) states: States,
    pub(super) clock: Clock,
    pub(super) tells_clients: bool,
}

/// Where the callers' states are.
#[derive(Clone, Debug)]
pub(super) enum States {
    Memory(Arc<Memory>),
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    Store(Arc<dyn Store>),
}

/// What uses up a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    Requests,
    /// Requests that authentication refused for an invalid token.
    Failures,
}

/// What is kept of an admitted request, for its response.
pub(super) struct Ticket {
    pub(super) source: Source,
    kind: Kind,
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
    caller: Asked,
    verdicts: Verdicts,
}

/// A caller whom a store was asked about.
pub(super) struct Asked {
    ready: Arc<Ready>,
    key: Key,
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
        let caller = Caller::of(extensions).and_then(Caller::identity);
        let chosen = self.chosen.as_ref();
        let chosen = chosen.and_then(|chosen| chosen.ready(caller?));
        let ready = match &chosen {
            Some(chosen) => chosen.as_ref(),
            None => self.own.as_ref(),
        };
        let Some(ready) = ready else {
            return Ok(Decided::Now(Ok(Ticket::SILENT)));
        };
        let key = self.counted.key(self.hasher.clone(), headers, extensions)?;
        let check = self.check(ready, key, self.purpose());
        let outcome = match &self.states {
            States::Memory(memory) => memory.decide(&check),
            States::Store(store) => match store.try_local(&check) {
                Some(outcome) => outcome,
                None => {
                    let ready = Arc::clone(ready);
                    return Ok(Decided::Later(store.ask(&check), Asked { ready, key }));
                }
            },
        };
        let caller = || Asked {
            ready: Arc::clone(ready),
            key,
        };
        Ok(Decided::Now(self.judge(outcome, ready, caller)))
    }

    /// Decides by what the store has answered.
    pub(super) fn finish(
        &self,
        answer: Result<Outcome, StoreError>,
        asked: Asked,
    ) -> Result<Ticket, Rejection> {
        let outcome = answer.map_err(|StoreError| {
            Rejection::new(Reason::StoreUnavailable).with_retry_after(StoreError::RETRY_AFTER)
        })?;
        let ready = Arc::clone(&asked.ready);
        self.judge(outcome, &ready, || asked)
    }

    /// Tells the client what is left, or counts what the response gives away.
    pub(super) fn seal<R>(&self, ticket: Ticket, response: &mut Response<R>) {
        match ticket.kind {
            Kind::Silent => {}
            Kind::Left(left) => {
                if let Some(own) = &self.own {
                    own.tell_one(left, response.headers_mut());
                }
            }
            Kind::Known(known) => self.seal_known(*known, response),
        }
    }

    fn seal_known<R>(&self, known: Known, response: &mut Response<R>) {
        let Known { caller, verdicts } = known;
        match self.counts {
            Counts::Requests => caller.ready.tell(&verdicts, response.headers_mut()),
            Counts::Failures => {
                let rejection = response.extensions().get::<Rejection>();
                if rejection.is_some_and(|rejection| rejection.reason().is_invalid_token()) {
                    self.settle(&caller, self.cost);
                }
            }
        }
    }

    fn settle(&self, caller: &Asked, cost: NonZeroU32) {
        let check = Check {
            cost,
            ..self.check(&caller.ready, caller.key, Purpose::Charge)
        };
        match &self.states {
            States::Memory(memory) => memory.settle(&check),
            States::Store(store) => store.settle(&check),
        }
    }

    fn judge(
        &self,
        outcome: Outcome,
        ready: &Arc<Ready>,
        caller: impl FnOnce() -> Asked,
    ) -> Result<Ticket, Rejection> {
        let Outcome { verdicts, source } = outcome;
        if !verdicts.admit() {
            return Err(self.refusal(ready, &verdicts, source));
        }
        let is_own = || self.own.as_ref().is_some_and(|own| Arc::ptr_eq(own, ready));
        let kind = match (self.counts, verdicts) {
            (Counts::Requests, _) if !self.tells_clients => Kind::Silent,
            (Counts::Requests, Verdicts::One(verdict)) if is_own() => Kind::Left(verdict.left),
            (_, verdicts) => {
                let caller = caller();
                Kind::Known(Box::new(Known { caller, verdicts }))
            }
        };
        Ok(Ticket { source, kind })
    }

    #[cold]
    fn refusal(&self, ready: &Ready, verdicts: &Verdicts, source: Source) -> Rejection {
        let mut rejection = Rejection::new(Reason::RateLimited);
        if let Some(after) = verdicts.retry_after() {
            rejection = rejection.with_retry_after(after);
        }
        let details = rejection.details_mut();
        details.violated = ready.violated(verdicts);
        details.source = Some(source.name());
        if !self.tells_clients {
            return rejection;
        }
        ready
            .told(verdicts)
            .fold(rejection, |rejection, (name, value)| {
                rejection.with_header(name, value)
            })
    }

    fn check<'a>(&self, ready: &'a Ready, key: Key, purpose: Purpose) -> Check<'a> {
        Check {
            key,
            policies: ready.policies(),
            cost: self.cost,
            purpose,
            now: u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX),
        }
    }

    fn purpose(&self) -> Purpose {
        match self.counts {
            Counts::Requests => Purpose::Charge,
            Counts::Failures => Purpose::Peek,
        }
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
    const SILENT: Self = Self {
        source: Source::Local,
        kind: Kind::Silent,
    };
}
