//! One process's side of a shared store: what it holds first, then the store, then what stands in for it.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::engine::{DEADLINE, Engine};
use super::leases::{Account, Id, Landing, Leases, Opened};
use super::script::{Action, Reply};
use super::without::Without;
use crate::flight::Waiter;
use crate::rate_limit::gcra::Verdict;
use crate::rate_limit::key::Key;
use crate::rate_limit::lease::Order;
use crate::rate_limit::policy::Policies;
use crate::rate_limit::store::{Asking, Check, Outcome, Purpose, Source, Store, StoreError};

/// One process's side of a store.
#[derive(Clone)]
pub(super) struct Node(Arc<Parts>);

struct Parts {
    engine: Arc<Engine>,
    leases: Leases,
    without: Without,
}

/// A [`Check`] that outlives its request.
#[derive(Clone)]
struct Question {
    key: Key,
    policies: Arc<Policies>,
    cost: NonZeroU32,
    purpose: Purpose,
}

/// What comes next for a request.
enum Step {
    Decided(Outcome),
    /// Wait for the purchase that is under way.
    Wait(Waiter<Landing>, Whose),
    /// Ask the store for this request alone.
    Ask,
}

/// Who has started a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Own,
    Others,
}

/// How many purchases a request may wait for, within one deadline, before it asks for itself.
const ROUNDS: u32 = 4;

// === impl Node ===

impl Node {
    pub(super) fn new(
        engine: Arc<Engine>,
        percent: u8,
        max_keys: NonZeroUsize,
        without: Without,
    ) -> Self {
        Self(Arc::new(Parts {
            engine,
            leases: Leases::new(percent, max_keys),
            without,
        }))
    }
}

impl Store for Node {
    fn try_local(&self, check: &Check<'_>) -> Option<Outcome> {
        let now = self.0.engine.now();
        let id = Id::new(check.key, check.policies);
        let found = self
            .0
            .leases
            .find(id, |account| self.0.decide(account, id, check, now));
        if let Some(Some(outcome)) = found {
            return Some(outcome);
        }
        if self.0.engine.is_up(now) {
            return None;
        }
        // Nobody waits for a store that is known to be out of reach, nor for the refusal that follows from it.
        self.0.without.decide(&Check { now, ..*check }).ok()
    }

    fn ask(&self, check: &Check<'_>) -> Asking {
        let (parts, question) = (Arc::clone(&self.0), Question::of(check));
        let runtime = Handle::try_current()
            .ok()
            .filter(|_| !parts.engine.record().is_open);
        // In a task of its own: what was charged is taken in even if the client goes away.
        let task = runtime.map(|runtime| {
            let (parts, question) = (Arc::clone(&parts), question.clone());
            runtime.spawn(async move { parts.ask(&question).await })
        });
        Box::pin(async move {
            let answer = match task {
                Some(task) => task.await.unwrap_or(Err(StoreError)),
                None => Err(StoreError),
            };
            let now = parts.engine.now();
            answer.or_else(|StoreError| parts.without.decide(&question.check(now)))
        })
    }

    fn settle(&self, check: &Check<'_>) {
        let now = self.0.engine.now();
        if let Ok(runtime) = Handle::try_current()
            && self.0.engine.is_up(now)
        {
            let (parts, question) = (Arc::clone(&self.0), Question::of(check));
            runtime.spawn(async move {
                let exactly = question.exactly();
                let asked =
                    parts
                        .engine
                        .ask(Action::Settle, question.key, &question.policies, &exactly);
                if asked.await.is_err() {
                    parts.without.settle(&question.check(parts.engine.now()));
                }
            });
        } else {
            self.0.without.settle(&Check { now, ..*check });
        }
    }
}

impl fmt::Debug for Node {
    /// The server's address may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

// === impl Parts ===

impl Parts {
    /// Decides without I/O, and orders ahead of need.
    fn decide(
        self: &Arc<Self>,
        account: &mut Account,
        id: Id,
        check: &Check<'_>,
        now: u64,
    ) -> Option<Outcome> {
        if check.purpose == Purpose::Peek {
            return account.refuse(check, now);
        }
        account.note(now, check.cost.get());
        let Some(outcome) = account.spend(check, now) else {
            return account.refuse(check, now);
        };
        if let Some(orders) = account.orders_ahead(now)
            && self.engine.is_up(now)
        {
            let question = Question::of(check);
            account
                .flight
                .board(|_| Some(Arc::clone(self).buy(id, question, orders)));
        }
        Some(outcome)
    }

    async fn ask(self: Arc<Self>, question: &Question) -> Result<Outcome, StoreError> {
        let (policies, cost) = (&question.policies, question.cost.get());
        if question.purpose == Purpose::Peek || !self.leases.lease(policies, cost) {
            return self.ask_exactly(question).await;
        }
        let id = Id::new(question.key, policies);
        let mut boarded = 0;
        // One deadline for all that a request waits for. A purchase has its own, which nobody may drive.
        let answer = timeout(DEADLINE, self.purchases(id, question, &mut boarded)).await;
        answer.unwrap_or_else(|_| {
            self.leases
                .find(id, |account| account.flight.give_up(boarded));
            Err(StoreError)
        })
    }

    /// Waits for a purchase, this request's own or another's, until one leaves permits for it. Asks for this request
    /// alone where none does.
    async fn purchases(
        self: &Arc<Self>,
        id: Id,
        question: &Question,
        boarded: &mut u64,
    ) -> Result<Outcome, StoreError> {
        for _ in 0..ROUNDS {
            let (waiter, whose) = match self.step(id, question) {
                Step::Decided(outcome) => return Ok(outcome),
                Step::Wait(waiter, whose) => (waiter, whose),
                Step::Ask => break,
            };
            *boarded = waiter.number();
            match waiter.await {
                Some(Landing::Full) => {}
                Some(Landing::Short) => match self.take_or_leave(id, question) {
                    Some(outcome) => return Ok(outcome),
                    None => break,
                },
                Some(Landing::Failed) | None => {
                    if whose == Whose::Others {
                        self.engine.missed();
                    }
                    return Err(StoreError);
                }
            }
        }
        self.ask_exactly(question).await
    }

    fn step(self: &Arc<Self>, id: Id, question: &Question) -> Step {
        let now = self.engine.now();
        let (check, cost) = (question.check(now), question.cost.get());
        let step = self.leases.open(id, &question.policies, |account, opened| {
            if opened == Opened::Now {
                account.note(now, cost);
            }
            let decided = account
                .spend(&check, now)
                .or_else(|| account.refuse(&check, now));
            if let Some(outcome) = decided {
                return Step::Decided(outcome);
            }
            let orders = account.orders(now, cost);
            let mut whose = Whose::Others;
            let buy = |_| {
                whose = Whose::Own;
                Some(Arc::clone(self).buy(id, question.clone(), orders))
            };
            let waiter = account.flight.board(buy);
            waiter.map_or(Step::Ask, |waiter| Step::Wait(waiter, whose))
        });
        step.unwrap_or(Step::Ask)
    }

    fn take_or_leave(&self, id: Id, question: &Question) -> Option<Outcome> {
        let now = self.engine.now();
        let check = question.check(now);
        self.leases.find(id, |account| {
            let taken = account.spend(&check, now);
            taken.unwrap_or_else(|| account.turn_away(&check, now))
        })
    }

    async fn buy(self: Arc<Self>, id: Id, question: Question, orders: Box<[Order]>) -> Landing {
        let sent = self.engine.now();
        let Question { key, policies, .. } = question;
        let Ok(reply) = self
            .engine
            .ask(Action::Charge, key, &policies, &orders)
            .await
        else {
            return Landing::Failed;
        };
        let now = self.engine.now();
        let spread = self.leases.spread(now);
        let landed = self.leases.find(id, |account| {
            account.land(&orders, &reply, sent, now, spread)
        });
        // Who waited for an account that has been forgotten since asks for himself.
        landed.unwrap_or(Landing::Full)
    }

    async fn ask_exactly(&self, question: &Question) -> Result<Outcome, StoreError> {
        let action = match question.purpose {
            Purpose::Charge => Action::Charge,
            Purpose::Peek => Action::Peek,
        };
        let Question { key, policies, .. } = question;
        let sent = self.engine.now();
        let reply = self
            .engine
            .ask(action, *key, policies, &question.exactly())
            .await?;
        self.remember(question, &reply, sent);
        let verdicts = verdicts(policies, question.cost.get(), &reply);
        Ok(Outcome {
            verdicts: verdicts.into_iter().collect(),
            source: Source::Exact,
        })
    }

    /// A refusal holds for all who come until there are permits again.
    fn remember(&self, question: &Question, reply: &Reply, sent: u64) {
        let is_charged = reply.granted && question.purpose == Purpose::Charge;
        let cost = if is_charged { question.cost.get() } else { 0 };
        let policies = question.policies.iter();
        let owed = policies
            .zip(&reply.answers)
            .map(|(policy, answer)| answer.owed.saturating_add(policy.gcra.price(cost)));
        let id = Id::new(question.key, &question.policies);
        let take_in = |account: &mut Account| account.owes(sent, owed);
        if reply.granted {
            self.leases.find(id, take_in);
        } else {
            self.leases
                .open(id, &question.policies, |account, _| take_in(account));
        }
    }
}

/// What an exact answer means for each policy.
fn verdicts(policies: &Policies, cost: u32, reply: &Reply) -> Vec<Verdict> {
    let answers = policies.iter().zip(&reply.answers);
    let mut verdicts: Vec<Verdict> = answers
        .map(|(policy, answer)| {
            let price = policy.gcra.price(cost);
            if reply.granted {
                let left = policy.gcra.left(answer.owed.saturating_add(price));
                return Verdict {
                    left,
                    retry_after: None,
                };
            }
            let after = answer.owed.saturating_add(price);
            let short = after.saturating_sub(policy.gcra.capacity());
            Verdict {
                left: policy.gcra.left(answer.owed),
                retry_after: (short > 0).then(|| Duration::from_nanos(short)),
            }
        })
        .collect();
    // The script counts in doubles, and has the last word where that makes a difference.
    if !reply.granted
        && verdicts.iter().all(|verdict| verdict.retry_after.is_none())
        && let Some(first) = verdicts.first_mut()
    {
        first.retry_after = Some(first.left.more_in);
    }
    verdicts
}

// === impl Question ===

impl Question {
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

    fn exactly(&self) -> Box<[Order]> {
        let order = Order::exactly(self.cost.get());
        self.policies.iter().map(|_| order).collect()
    }
}
