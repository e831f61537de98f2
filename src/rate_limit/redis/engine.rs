//! The connection: every call has a deadline, and a server that fails is left alone.
//!
//! Neither the connection nor its manager bounds how long a call takes: while the manager reconnects, calls would pile up
//! behind it. So each call has a deadline of its own, outside of all that. A connection whose probe failed is dropped, or
//! a server that moved away without a word would be waited for until TCP gives up.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, RedisError, Script};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::breaker::{Breaker, Pass, Record, Turn};
use super::script::{self, Action, Reply};
use crate::clock::Clock;
use crate::duration::nanos;
use crate::observe::store;
use crate::rate_limit::key::{Key, KeyHasher};
use crate::rate_limit::lease::Order;
use crate::rate_limit::policy::Policies;
use crate::rate_limit::quota::Quota;
use crate::rate_limit::store::StoreError;
use crate::sync::lock;

/// One server, as one process knows it.
pub(super) struct Engine {
    client: Client,
    script: Script,
    connection: Mutex<Option<ConnectionManager>>,
    breaker: Breaker,
    clock: Clock,
}

/// How long any call may take. Unit tests ask what the answer is, on machines that may be busy.
pub(super) const DEADLINE: Duration = Duration::from_millis(if cfg!(test) { 10_000 } else { 25 });

/// How long it may take a probe, for which nobody waits, to connect.
const CONNECT: Duration = Duration::from_millis(250);

/// Calls that wait to be written.
const QUEUE: usize = 1024;

// === impl Engine ===

impl Engine {
    /// Connects to nothing yet.
    pub(super) fn new(client: Client, clock: Clock) -> Self {
        Self {
            client,
            script: script::script(),
            connection: Mutex::new(None),
            breaker: Breaker::default(),
            clock,
        }
    }

    /// Time in nanoseconds, for all that this store decides.
    pub(super) fn now(&self) -> u64 {
        nanos(self.clock.monotonic())
    }

    /// Whether calls reach the server, as far as is known. Where they do not, it is tried again from time to time.
    pub(super) fn is_up(self: &Arc<Self>, now: u64) -> bool {
        match self.breaker.pass(now) {
            Pass::Go => true,
            Pass::Stop => false,
            Pass::Probe => {
                if let Ok(runtime) = Handle::try_current() {
                    let engine = Arc::clone(self);
                    runtime.spawn(async move { engine.probe().await });
                }
                false
            }
        }
    }

    /// Asks the server, once: what may have been charged is not charged again.
    pub(super) async fn ask(
        &self,
        action: Action,
        key: Key,
        policies: &Policies,
        orders: &[Order],
    ) -> Result<Reply, StoreError> {
        match self.call(action, key, policies, orders).await {
            Ok(reply) => {
                self.breaker.succeeded();
                Ok(reply)
            }
            Err(why) => {
                store::failed(policies.iter().map(|policy| &*policy.name), why);
                if self.breaker.failed(self.now(), why) == Turn::Opened {
                    store::down(why);
                }
                Err(StoreError)
            }
        }
    }

    /// A request waited in vain for another's call.
    pub(super) fn missed(&self) {
        if self.breaker.missed(self.now()) == Turn::Opened {
            store::down("timeout");
        }
    }

    pub(super) fn record(&self) -> Record {
        self.breaker.record(self.now())
    }

    async fn call(
        &self,
        action: Action,
        key: Key,
        policies: &Policies,
        orders: &[Order],
    ) -> Result<Reply, &'static str> {
        let mut connection = self.connection().map_err(|error| name_of(&error))?;
        let call = script::run(&self.script, &mut connection, action, key, policies, orders);
        match timeout(DEADLINE, call).await {
            Ok(reply) => reply.map_err(|error| name_of(&error)),
            Err(_) => Err("timeout"),
        }
    }

    /// Nobody waits for a probe, so it may take the time to connect. The call that follows may not.
    async fn probe(&self) {
        match self.connect_and_call().await {
            Ok(()) => {
                if self.breaker.recovered(self.now()) == Turn::Closed {
                    store::up();
                }
            }
            Err(why) => {
                self.breaker.failed(self.now(), why);
                *self.lock() = None;
            }
        }
        store::degraded(self.record().degraded);
    }

    /// A call like all others, which a server that may only be read, or is still loading, refuses.
    async fn connect_and_call(&self) -> Result<(), &'static str> {
        let mut connection = self.connection().map_err(|error| name_of(&error))?;
        let ping = redis::cmd("PING");
        let connected = timeout(CONNECT, ping.exec_async(&mut connection)).await;
        connected
            .map_err(|_| "timeout")?
            .map_err(|error| name_of(&error))?;

        let quota = Quota::per_second(1_000);
        let Some(policies) = Policies::new([(&Arc::from("probe"), quota)]) else {
            return Ok(());
        };
        let key = KeyHasher::local().key();
        let orders = [Order::exactly(1)];
        self.call(Action::Charge, key, &policies, &orders)
            .await
            .map(drop)
    }

    fn connection(&self) -> Result<ConnectionManager, RedisError> {
        let mut connection = self.lock();
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let config = ConnectionManagerConfig::new()
            // Whoever finds the server gone says so at once; the next call or probe tries again.
            .set_number_of_retries(0)
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let manager = ConnectionManager::new_lazy_with_config(self.client.clone(), config)?;
        Ok(connection.insert(manager).clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ConnectionManager>> {
        lock(&self.connection)
    }
}

/// Fixed words: what a server says of itself is not for metrics, and may tell who logged in.
fn name_of(error: &RedisError) -> &'static str {
    const CODES: [&str; 12] = [
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "MOVED",
        "NOAUTH",
        "NOPERM",
        "OOM",
        "READONLY",
        "TRYAGAIN",
        "WRONGPASS",
    ];
    if error.is_timeout() {
        return "timeout";
    }
    if error.is_io_error() || error.is_connection_dropped() {
        return "connection";
    }
    if error.kind() == ErrorKind::AuthenticationFailed {
        return "WRONGPASS";
    }
    let code = error.code().unwrap_or_default();
    let known = CODES.iter().find(|known| **known == code);
    known.copied().unwrap_or("server")
}
