//! What a layer was set up with, made ready to decide.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::{Extensions, HeaderMap, Response};

use super::fields::{Fields, RATE_LIMIT, RATE_LIMIT_POLICY};
use super::gcra::{Gcra, Left, Verdict};
use super::key::{Counted, Key, KeyHasher};
use super::memory::Memory;
use super::quota::Quota;
use crate::clock::Clock;
use crate::identity::{Caller, Identity};
use crate::rejection::{Reason, Rejection};

/// A limit, shared by all requests in flight.
pub(super) struct Limit {
    pub(super) name: Arc<str>,
    pub(super) own: Ready,
    pub(super) quota_for: Option<Arc<QuotaFor>>,
    pub(super) counts: Counts,
    pub(super) cost: NonZeroU32,
    pub(super) counted: Counted,
    pub(super) memory: Arc<Memory>,
    pub(super) clock: Clock,
    pub(super) tells_clients: bool,
}

/// Chooses a verified caller's quota; `None` is no limit.
pub(super) type QuotaFor = dyn Fn(&Identity) -> Option<Quota> + Send + Sync;

/// What uses up a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    Requests,
    /// Requests that authentication refused for an invalid token.
    Failures,
}

/// One quota of a policy.
pub(super) struct Ready {
    /// Keeps its keys from meeting another's in the same memory.
    policy: KeyHasher,
    gcra: Gcra,
    fields: Fields,
}

/// What is kept of an admitted request, for its response.
pub(super) enum Ticket {
    /// The caller has no limit.
    Unlimited,
    /// Of the limit's own quota.
    Left(Left),
    /// Of the caller's quota.
    LeftOf(Box<(Fields, Left)>),
    /// Counted if the response is a refusal of an invalid token.
    Suspect(Key),
}

// === impl Limit ===

impl Limit {
    pub(super) fn decide(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Ticket, Rejection> {
        let caller = Caller::of(extensions).and_then(Caller::identity);
        if let (Some(quota_for), Some(caller)) = (&self.quota_for, caller) {
            let Some(quota) = quota_for(caller) else {
                return Ok(Ticket::Unlimited);
            };
            let ready = Ready::new(&self.name, &quota);
            let key = self
                .counted
                .key(ready.policy.clone(), headers, extensions)?;
            let left = self.charge(&ready, key)?;
            return Ok(Ticket::LeftOf(Box::new((ready.fields, left))));
        }
        let key = self
            .counted
            .key(self.own.policy.clone(), headers, extensions)?;
        match self.counts {
            Counts::Requests => self.charge(&self.own, key).map(Ticket::Left),
            Counts::Failures => {
                let verdict = self.memory.peek(key, self.now(), &self.own.gcra, self.cost);
                self.judge(&self.own, &verdict)?;
                Ok(Ticket::Suspect(key))
            }
        }
    }

    /// Tells the client what is left, or counts what the response gives away.
    pub(super) fn seal<R>(&self, ticket: Ticket, response: &mut Response<R>) {
        match ticket {
            Ticket::Unlimited => {}
            Ticket::Left(left) => self.tell(&self.own.fields, left, response.headers_mut()),
            Ticket::LeftOf(told) => self.tell(&told.0, told.1, response.headers_mut()),
            Ticket::Suspect(key) => {
                let rejection = response.extensions().get::<Rejection>();
                if rejection.is_some_and(|rejection| rejection.reason().is_invalid_token()) {
                    self.memory
                        .charge(key, self.now(), &self.own.gcra, self.cost);
                }
            }
        }
    }

    fn tell(&self, fields: &Fields, left: Left, headers: &mut HeaderMap) {
        if self.tells_clients {
            headers.append(&RATE_LIMIT_POLICY, fields.policy());
            headers.append(&RATE_LIMIT, fields.state(left));
        }
    }

    fn charge(&self, ready: &Ready, key: Key) -> Result<Left, Rejection> {
        let verdict = self.memory.charge(key, self.now(), &ready.gcra, self.cost);
        self.judge(ready, &verdict)?;
        Ok(verdict.left)
    }

    fn judge(&self, ready: &Ready, verdict: &Verdict) -> Result<(), Rejection> {
        match verdict.retry_after {
            None => Ok(()),
            // `Retry-After` overrides `t`, so it must never be the earlier one.
            Some(after) => {
                Err(self.refusal(&ready.fields, after.max(verdict.left.more_in), verdict.left))
            }
        }
    }

    #[cold]
    fn refusal(&self, fields: &Fields, after: std::time::Duration, left: Left) -> Rejection {
        let mut rejection = Rejection::new(Reason::RateLimited).with_retry_after(after);
        rejection.details_mut().violated = Some(Arc::clone(&self.name));
        if !self.tells_clients {
            return rejection;
        }
        rejection
            .with_header(RATE_LIMIT_POLICY.clone(), fields.policy())
            .with_header(RATE_LIMIT.clone(), fields.state(left))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX)
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

// === impl Ready ===

impl Ready {
    pub(super) fn new(name: &Arc<str>, quota: &Quota) -> Self {
        Self {
            policy: KeyHasher::after(&(name, quota)),
            gcra: Gcra::new(quota),
            fields: Fields::new(name, quota),
        }
    }
}
