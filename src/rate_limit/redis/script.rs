//! The one script: what is sent to the server, and what comes back.

use redis::aio::ConnectionLike;
use redis::{RedisResult, Script};

use crate::rate_limit::key::Key;
use crate::rate_limit::lease::Order;
use crate::rate_limit::policy::{Policies, Policy};

/// What to do with the orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Charge all, or none.
    Charge,
    /// Decide, and change nothing.
    Peek,
    /// Charge what has been spent already.
    Settle,
}

/// What the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// Whether all was granted, and so charged.
    pub(super) granted: bool,
    /// One for each policy.
    pub(super) answers: Box<[Answer]>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// What was owed before, in nanoseconds.
    pub(super) owed: u64,
    /// Permits that were granted, or would have been.
    pub(super) permits: u32,
}

pub(super) fn script() -> Script {
    Script::new(include_str!("charge.lua"))
}

/// Sends the script, once; a server that does not know it yet is told it first.
pub(super) async fn run(
    script: &Script,
    connection: &mut impl ConnectionLike,
    action: Action,
    key: Key,
    policies: &Policies,
    orders: &[Order],
) -> RedisResult<Reply> {
    let mut call = script.prepare_invoke();
    call.arg(action.name());
    for (policy, order) in policies.iter().zip(orders) {
        // The braces keep all quotas of one caller on one node of a cluster.
        let (caller, policy, gcra) = (
            u128::from_be_bytes(key.bytes()),
            policy.fingerprint,
            policy.gcra,
        );
        call.key(format!("pc1:{{{caller:032x}}}:{policy:016x}"));
        call.arg(gcra.interval()).arg(gcra.capacity());
        call.arg(order.need).arg(order.want).arg(order.least);
    }
    let numbers: Vec<i64> = call.invoke_async(connection).await?;
    Reply::read(&numbers, policies, orders).ok_or_else(|| {
        let what = "the script returned something else";
        (redis::ErrorKind::UnexpectedReturnType, what).into()
    })
}

// === impl Reply ===

impl Reply {
    /// What the script never says is not taken in, whoever says it: permits without end, or a debt for ever.
    fn read(numbers: &[i64], policies: &Policies, orders: &[Order]) -> Option<Self> {
        let (granted, numbers) = numbers.split_first()?;
        if numbers.len() != 2 * orders.len() {
            return None;
        }
        let answers = numbers.as_chunks().0.iter();
        let answers = answers.zip(policies.iter().zip(orders));
        let answer = |([owed, permits], (policy, order)): (&[i64; 2], (&Policy, &Order))| {
            Some(Answer {
                owed: u64::try_from(*owed).ok()?.min(policy.gcra.most()),
                permits: u32::try_from(*permits).ok()?.min(order.want),
            })
        };
        let answers: Option<Box<[Answer]>> = answers.map(answer).collect();
        Some(Self {
            granted: *granted == 1,
            answers: answers?,
        })
    }
}

// === impl Action ===

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Peek => "peek",
            Self::Settle => "settle",
        }
    }
}
