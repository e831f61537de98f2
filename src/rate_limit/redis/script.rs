//! The script that decides on the server: what is sent, and what comes back.

use std::sync::Arc;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{ErrorKind, RedisResult, Script};

use crate::clock::Clock;
use crate::error::ConfigError;
use crate::observe::store as observe;
use crate::rate_limit::key::{Key, KeyHasher};
use crate::rate_limit::lease::LeaseRequest;
use crate::rate_limit::policy::{Policies, Policy};
use crate::rate_limit::quota::Quota;
use crate::rate_limit::store::StoreError;
use crate::redis::{BreakerStats, Events, RedisClient};

/// A server with the script.
#[derive(Clone)]
pub(super) struct Backend {
    client: Arc<RedisClient>,
    script: Arc<Script>,
}

/// What the script does with the requested permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Charges all quotas, or none.
    Acquire,
    /// Decides, and changes nothing.
    Peek,
    /// Charges what was used already.
    Charge,
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// Whether every quota granted its request.
    pub(super) granted: bool,
    /// One per policy.
    pub(super) answers: Box<[Answer]>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Debt before this call, in nanoseconds.
    pub(super) debt: u64,
    /// Permits that were granted, or would have been.
    pub(super) permits: u32,
}

const EVENTS: Events = Events {
    down: observe::down,
    up: observe::up,
    degraded: observe::degraded,
};

// === impl Backend ===

impl Backend {
    pub(super) fn new(url: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            client: Arc::new(RedisClient::new(url, Clock::System, EVENTS)?),
            script: Arc::new(Script::new(include_str!("charge.lua"))),
        })
    }

    pub(super) fn with_clock(&self, clock: Clock) -> Self {
        Self {
            client: Arc::new(self.client.with_clock(clock)),
            script: Arc::clone(&self.script),
        }
    }

    /// Monotonic time in nanoseconds.
    pub(super) fn now(&self) -> u64 {
        self.client.now()
    }

    /// Whether the server is to be called. While it is not, it is probed from time to time.
    pub(super) fn is_up(&self, now: u64) -> bool {
        let script = &self.script;
        self.client.is_up(now, || {
            let script = Arc::clone(script);
            |connection| probe(script, connection)
        })
    }

    /// Runs the script.
    pub(super) async fn run(
        &self,
        action: Action,
        key: Key,
        policies: &Policies,
        requests: &[LeaseRequest],
    ) -> Result<Reply, StoreError> {
        let script = &*self.script;
        let command = |mut connection| async move {
            run(script, &mut connection, action, key, policies, requests).await
        };
        self.client.call(command).await.map_err(|error| {
            let names = policies.iter().map(|policy| &*policy.name);
            observe::failed(names, error);
            StoreError
        })
    }

    /// Counts a request that waited in vain for the call of another request.
    pub(super) fn missed(&self) {
        self.client.missed();
    }

    pub(super) fn stats(&self) -> BreakerStats {
        self.client.stats()
    }
}

/// Probes with a regular call, which a server refuses while it is loading or read-only.
async fn probe(script: Arc<Script>, mut connection: MultiplexedConnection) -> RedisResult<()> {
    let Some(policies) = Policies::new([(&Arc::from("probe"), Quota::per_second(1_000))]) else {
        return Ok(());
    };
    let (key, requests) = (KeyHasher::local().key(), [LeaseRequest::exactly(1)]);
    let action = Action::Acquire;
    let reply = run(&script, &mut connection, action, key, &policies, &requests);
    reply.await.map(drop)
}

/// Sends the script's hash, and the script itself if the server does not have it yet.
async fn run(
    script: &Script,
    connection: &mut impl ConnectionLike,
    action: Action,
    key: Key,
    policies: &Policies,
    requests: &[LeaseRequest],
) -> RedisResult<Reply> {
    let mut call = script.prepare_invoke();
    call.arg(action.as_str());
    let caller = u128::from_be_bytes(key.bytes());
    for (policy, request) in policies.iter().zip(requests) {
        // The braces put all quotas of one caller into one slot of a cluster.
        call.key(format!("pc1:{{{caller:032x}}}:{:016x}", policy.fingerprint));
        call.arg(policy.gcra.interval()).arg(policy.gcra.capacity());
        call.arg(request.min)
            .arg(request.desired)
            .arg(request.floor);
    }
    let numbers: Vec<i64> = call.invoke_async(connection).await?;
    Reply::read(&numbers, policies, requests).ok_or_else(|| {
        let problem = "the script returned something else";
        (ErrorKind::UnexpectedReturnType, problem).into()
    })
}

// === impl Reply ===

impl Reply {
    /// Limits values that the script never returns, such as more permits than requested or an
    /// unlimited debt.
    fn read(numbers: &[i64], policies: &Policies, requests: &[LeaseRequest]) -> Option<Self> {
        let (granted, numbers) = numbers.split_first()?;
        if numbers.len() != 2 * requests.len() {
            return None;
        }
        let answers = numbers.as_chunks().0.iter();
        let answers = answers.zip(policies.iter().zip(requests));
        let answer =
            |([debt, permits], (policy, request)): (&[i64; 2], (&Policy, &LeaseRequest))| {
                Some(Answer {
                    debt: u64::try_from(*debt).ok()?.min(policy.gcra.max_debt()),
                    permits: u32::try_from(*permits).ok()?.min(request.desired),
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
    const fn as_str(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Peek => "peek",
            Self::Charge => "charge",
        }
    }
}
