//! The store of one process. It uses its own permits first, then the server, then the fallback.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::fallback::Fallback;
use super::leases::{CallerLeases, Id, LeaseTable, Opened, Purchase};
use super::script::{Action, Backend, Reply};
use crate::rate_limit::gcra::Verdict;
use crate::rate_limit::key::Key;
use crate::rate_limit::lease::LeaseRequest;
use crate::rate_limit::policy::Policies;
use crate::rate_limit::store::{Check, Outcome, OutcomeFuture, Purpose, Source, Store, StoreError};
use crate::redis::DEADLINE;
use crate::single_flight::Waiter;

/// One process's client of a shared store.
#[derive(Clone)]
pub(super) struct LeaseClient(Arc<Parts>);

struct Parts {
    backend: Backend,
    leases: LeaseTable,
    fallback: Fallback,
}

/// A [`Check`] that outlives its request.
#[derive(Clone)]
struct OwnedCheck {
    key: Key,
    policies: Arc<Policies>,
    cost: NonZeroU32,
    purpose: Purpose,
}

/// The next step of a request.
enum Step {
    Decided(Outcome),
    /// It waits for the purchase in progress.
    Wait(Waiter<Purchase>, Buyer),
    /// It asks the server for its own permits only.
    Ask,
}

/// Who started a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Buyer {
    ThisRequest,
    Another,
}

/// How many purchases a request waits for, within one deadline, before it asks for its own permits
/// only.
const MAX_PURCHASES: u32 = 4;

// === impl LeaseClient ===

impl LeaseClient {
    pub(super) fn new(
        backend: Backend,
        percent: u8,
        max_keys: NonZeroUsize,
        fallback: Fallback,
    ) -> Self {
        Self(Arc::new(Parts {
            backend,
            leases: LeaseTable::new(percent, max_keys),
            fallback,
        }))
    }
}

impl Store for LeaseClient {
    fn try_local(&self, check: &Check<'_>) -> Option<Outcome> {
        let now = self.0.backend.now();
        let id = Id::new(check.key, check.policies);
        let decide = |caller: &mut CallerLeases| self.0.decide(caller, id, check, now);
        if let Some(Some(outcome)) = self.0.leases.find(id, decide) {
            return Some(outcome);
        }
        if self.0.backend.is_up(now) {
            return None;
        }
        // A server that is known to be down is not waited for. If the fallback refuses without a
        // decision, `ask` returns the error.
        self.0.fallback.decide(&Check { now, ..*check }).ok()
    }

    fn ask(&self, check: &Check<'_>) -> OutcomeFuture {
        let (parts, question) = (Arc::clone(&self.0), OwnedCheck::of(check));
        let runtime = Handle::try_current()
            .ok()
            .filter(|_| !parts.backend.stats().is_open);
        // In a separate task, so that granted permits are kept even if the client disconnects.
        let task = runtime.map(|runtime| {
            let (parts, question) = (Arc::clone(&parts), question.clone());
            runtime.spawn(async move { parts.ask(&question).await })
        });
        Box::pin(async move {
            let answer = match task {
                Some(task) => task.await.unwrap_or(Err(StoreError)),
                None => Err(StoreError),
            };
            let now = parts.backend.now();
            answer.or_else(|StoreError| parts.fallback.decide(&question.check(now)))
        })
    }

    fn charge(&self, check: &Check<'_>) {
        let now = self.0.backend.now();
        if let Ok(runtime) = Handle::try_current()
            && self.0.backend.is_up(now)
        {
            let (parts, question) = (Arc::clone(&self.0), OwnedCheck::of(check));
            runtime.spawn(async move {
                let answer = parts.run(Action::Charge, &question);
                if answer.await.is_err() {
                    let now = parts.backend.now();
                    parts.fallback.charge(&question.check(now));
                }
            });
        } else {
            self.0.fallback.charge(&Check { now, ..*check });
        }
    }
}

impl fmt::Debug for LeaseClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseClient").finish_non_exhaustive()
    }
}

// === impl Parts ===

impl Parts {
    /// Decides without I/O, and buys permits ahead of need.
    fn decide(
        self: &Arc<Self>,
        caller: &mut CallerLeases,
        id: Id,
        check: &Check<'_>,
        now: u64,
    ) -> Option<Outcome> {
        if check.purpose == Purpose::Peek {
            return caller.refuse(check, now);
        }
        caller.record_demand(now, check.cost.get());
        let Some(outcome) = caller.spend(check, now) else {
            return caller.refuse(check, now);
        };
        if let Some(requests) = caller.requests_ahead(now)
            && self.backend.is_up(now)
        {
            let question = OwnedCheck::of(check);
            let buy = || Arc::clone(self).buy(id, question, requests);
            caller.purchase.start_or_join(buy);
        }
        Some(outcome)
    }

    async fn ask(self: Arc<Self>, question: &OwnedCheck) -> Result<Outcome, StoreError> {
        let (policies, cost) = (&question.policies, question.cost.get());
        if question.purpose == Purpose::Peek || !self.leases.leases(policies, cost) {
            return self.ask_exactly(question).await;
        }
        let id = Id::new(question.key, policies);
        // One deadline for all purchases together.
        let answer = timeout(DEADLINE, self.purchase(id, question)).await;
        answer.unwrap_or(Err(StoreError))
    }

    /// Waits for purchases, this request's own or another's, until one leaves permits for this
    /// request. If none does, the request asks for its own permits only.
    async fn purchase(
        self: &Arc<Self>,
        id: Id,
        question: &OwnedCheck,
    ) -> Result<Outcome, StoreError> {
        for _ in 0..MAX_PURCHASES {
            let (waiter, buyer) = match self.step(id, question) {
                Step::Decided(outcome) => return Ok(outcome),
                Step::Wait(waiter, buyer) => (waiter, buyer),
                Step::Ask => break,
            };
            match waiter.await {
                Some(Purchase::Full) => {}
                Some(Purchase::Partial) => match self.spend_or_reject(id, question) {
                    Some(outcome) => return Ok(outcome),
                    None => break,
                },
                Some(Purchase::Failed) | None => {
                    if buyer == Buyer::Another {
                        self.backend.missed();
                    }
                    return Err(StoreError);
                }
            }
        }
        self.ask_exactly(question).await
    }

    fn step(self: &Arc<Self>, id: Id, question: &OwnedCheck) -> Step {
        let now = self.backend.now();
        let (check, cost) = (question.check(now), question.cost.get());
        self.leases.open(id, &question.policies, |caller, opened| {
            if opened == Opened::New {
                caller.record_demand(now, cost);
            }
            let decided = caller
                .spend(&check, now)
                .or_else(|| caller.refuse(&check, now));
            if let Some(outcome) = decided {
                return Step::Decided(outcome);
            }
            let requests = caller.requests(now, cost);
            let mut buyer = Buyer::Another;
            let buy = || {
                buyer = Buyer::ThisRequest;
                Arc::clone(self).buy(id, question.clone(), requests)
            };
            let waiter = caller.purchase.start_or_join(buy);
            waiter.map_or(Step::Ask, |waiter| Step::Wait(waiter, buyer))
        })
    }

    fn spend_or_reject(&self, id: Id, question: &OwnedCheck) -> Option<Outcome> {
        let now = self.backend.now();
        let check = question.check(now);
        self.leases.find(id, |caller| {
            let spent = caller.spend(&check, now);
            spent.unwrap_or_else(|| caller.reject(&check, now))
        })
    }

    async fn buy(
        self: Arc<Self>,
        id: Id,
        question: OwnedCheck,
        requests: Box<[LeaseRequest]>,
    ) -> Purchase {
        let sent = self.backend.now();
        let OwnedCheck { key, policies, .. } = question;
        let reply = self
            .backend
            .run(Action::Acquire, key, &policies, &requests)
            .await;
        let Ok(reply) = reply else {
            return Purchase::Failed;
        };
        let now = self.backend.now();
        let jitter = self.leases.jitter(now);
        let bought = self.leases.find(id, |caller| {
            caller.apply(&requests, &reply, sent, now, jitter)
        });
        // If the caller's leases were evicted meanwhile, waiting requests ask again.
        bought.unwrap_or(Purchase::Full)
    }

    async fn ask_exactly(&self, question: &OwnedCheck) -> Result<Outcome, StoreError> {
        let action = match question.purpose {
            Purpose::Acquire => Action::Acquire,
            Purpose::Peek => Action::Peek,
        };
        let sent = self.backend.now();
        let reply = self.run(action, question).await?;
        self.remember(question, &reply, sent);
        let verdicts = verdicts(&question.policies, question.cost.get(), &reply);
        Ok(Outcome {
            verdicts: verdicts.into_iter().collect(),
            source: Source::Exact,
        })
    }

    async fn run(&self, action: Action, question: &OwnedCheck) -> Result<Reply, StoreError> {
        let OwnedCheck { key, policies, .. } = question;
        let request = LeaseRequest::exactly(question.cost.get());
        let requests: Box<[_]> = policies.iter().map(|_| request).collect();
        self.backend.run(action, *key, policies, &requests).await
    }

    /// Keeps the debt of a refused caller, so that its next requests are refused without I/O.
    fn remember(&self, question: &OwnedCheck, reply: &Reply, sent: u64) {
        let is_charged = reply.granted && question.purpose == Purpose::Acquire;
        let cost = if is_charged { question.cost.get() } else { 0 };
        let policies = question.policies.iter();
        let debts = policies
            .zip(&reply.answers)
            .map(|(policy, answer)| answer.debt.saturating_add(policy.gcra.price(cost)));
        let id = Id::new(question.key, &question.policies);
        let set = |caller: &mut CallerLeases| caller.set_debts(sent, debts);
        if reply.granted {
            self.leases.find(id, set);
        } else {
            self.leases
                .open(id, &question.policies, |caller, _| set(caller));
        }
    }
}

/// What an exact reply means for each policy.
fn verdicts(policies: &Policies, cost: u32, reply: &Reply) -> Vec<Verdict> {
    let answers = policies.iter().zip(&reply.answers);
    let mut verdicts: Vec<Verdict> = answers
        .map(|(policy, answer)| {
            let after = answer.debt.saturating_add(policy.gcra.price(cost));
            if reply.granted {
                return Verdict {
                    left: policy.gcra.left(after),
                    retry_after: None,
                };
            }
            let excess = after.saturating_sub(policy.gcra.capacity());
            Verdict {
                left: policy.gcra.left(answer.debt),
                retry_after: (excess > 0).then(|| Duration::from_nanos(excess)),
            }
        })
        .collect();
    // The script counts in doubles; where rounding makes a difference its decision holds.
    if !reply.granted
        && verdicts.iter().all(|verdict| verdict.retry_after.is_none())
        && let Some(first) = verdicts.first_mut()
    {
        first.retry_after = Some(first.left.more_in);
    }
    verdicts
}

// === impl OwnedCheck ===

impl OwnedCheck {
    fn of(check: &Check<'_>) -> Self {
        Self {
            key: check.key,
            policies: Arc::clone(check.policies),
            cost: check.cost,
            purpose: check.purpose,
        }
    }

    fn check(&self, now: u64) -> Check<'_> {
        Check {
            key: self.key,
            policies: &self.policies,
            cost: self.cost,
            purpose: self.purpose,
            now,
        }
    }
}
