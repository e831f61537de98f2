//! A client of one server. Every call has a deadline, and a server that keeps failing is not
//! called.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, RedisResult};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::address::Address;
use super::breaker::{Breaker, BreakerStats, Pass, Transition};
use crate::clock::Clock;
use crate::duration::nanos;
use crate::error::ConfigError;
use crate::single_flight::SingleFlight;
use crate::sync::lock;

/// A client of one server. Connects on first use.
pub(crate) struct RedisClient {
    address: Address,
    current: Mutex<Option<Connection>>,
    connecting: SingleFlight<Result<Connection, &'static str>>,
    breaker: Breaker,
    clock: Clock,
    events: Events,
}

/// What the owner of a client reports when the server's state changes.
#[derive(Clone, Copy)]
pub(crate) struct Events {
    /// Calls stop, because of this error.
    pub(crate) down: fn(&'static str),
    /// Calls resume.
    pub(crate) up: fn(),
    /// For how long calls were stopped, in total. Reported after each probe.
    pub(crate) degraded: fn(Duration),
}

#[derive(Clone)]
struct Connection {
    handle: MultiplexedConnection,
    /// Bytes sent so far, by all calls.
    written: Arc<AtomicU64>,
    _driver: Arc<Driver>,
}

/// The task that reads and writes, which ends with the last user of its connection.
struct Driver(AbortHandle);

/// How long any call may take, connecting included. Unit tests wait longer, because they test the
/// answers, on machines that may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_millis(if cfg!(test) { 10_000 } else { 25 });

/// How long connecting may take. A request waits for [`DEADLINE`] at most; the next one finds the
/// connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// Calls that wait to be written.
const QUEUE: usize = 1024;

// === impl RedisClient ===

impl RedisClient {
    pub(crate) fn new(url: &str, clock: Clock, events: Events) -> Result<Self, ConfigError> {
        Ok(Self {
            address: Address::parse(url)?,
            current: Mutex::new(None),
            connecting: SingleFlight::new(),
            breaker: Breaker::default(),
            clock,
            events,
        })
    }

    /// The same server, with another clock and a separate connection.
    pub(crate) fn with_clock(&self, clock: Clock) -> Self {
        Self {
            address: self.address.clone(),
            current: Mutex::new(None),
            connecting: SingleFlight::new(),
            breaker: Breaker::default(),
            clock,
            events: self.events,
        }
    }

    /// Monotonic time in nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        nanos(self.clock.monotonic())
    }

    /// Whether the server may be called. While it is not, this starts a probe from time to time, in
    /// a separate task.
    pub(crate) fn is_up<P, F>(self: &Arc<Self>, now: u64, probe: impl FnOnce() -> P) -> bool
    where
        P: FnOnce(MultiplexedConnection) -> F + Send + 'static,
        F: Future<Output = RedisResult<()>> + Send,
    {
        match self.breaker.pass(now) {
            Pass::Go => true,
            Pass::Stop => false,
            Pass::Probe => {
                if let Ok(runtime) = Handle::try_current() {
                    let (client, probe) = (Arc::clone(self), probe());
                    runtime.spawn(async move { client.probe(probe).await });
                }
                false
            }
        }
    }

    /// Runs `command` once within [`DEADLINE`]. An error is a fixed word.
    ///
    /// `command` runs a second time, on a new connection, only if the first connection was lost and
    /// no byte was written to it since the command began: then the server cannot have executed it.
    /// That is the first call after an idle connection was closed. A call whose bytes may have left
    /// is never repeated.
    pub(crate) async fn call<T, F>(
        self: &Arc<Self>,
        command: impl Fn(MultiplexedConnection) -> F,
    ) -> Result<T, &'static str>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let answer = timeout(DEADLINE, self.call_or_reconnect(command)).await;
        let answer = answer.unwrap_or(Err("timeout"));
        match &answer {
            Ok(_) => self.breaker.succeeded(),
            Err(error) => {
                if self.breaker.failed(self.now(), error) == Transition::Opened {
                    (self.events.down)(error);
                }
            }
        }
        answer
    }

    /// Counts a request that waited in vain for the call of another request.
    pub(crate) fn missed(&self) {
        if self.breaker.missed(self.now()) == Transition::Opened {
            (self.events.down)("timeout");
        }
    }

    pub(crate) fn stats(&self) -> BreakerStats {
        self.breaker.stats(self.now())
    }

    async fn call_or_reconnect<T, F>(
        self: &Arc<Self>,
        command: impl Fn(MultiplexedConnection) -> F,
    ) -> Result<T, &'static str>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let connection = self.connection().await?;
        let before = connection.written.load(Ordering::Acquire);
        let error = match command(connection.handle.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if !is_lost(&error) {
            return Err(word_for(&error));
        }
        self.forget(&connection);
        if connection.written.load(Ordering::Acquire) != before {
            return Err(word_for(&error));
        }
        let connection = self.connection().await?;
        let answer = command(connection.handle.clone()).await;
        answer.map_err(|error| word_for(&error))
    }

    async fn probe<F>(self: Arc<Self>, probe: impl FnOnce(MultiplexedConnection) -> F)
    where
        F: Future<Output = RedisResult<()>>,
    {
        let answer = async {
            let connection = self.connection().await?;
            match timeout(DEADLINE, probe(connection.handle.clone())).await {
                Ok(answer) => answer.map_err(|error| word_for(&error)),
                Err(_) => Err("timeout"),
            }
        };
        match answer.await {
            Ok(()) => {
                if self.breaker.recovered(self.now()) == Transition::Closed {
                    (self.events.up)();
                }
            }
            Err(error) => {
                self.breaker.failed(self.now(), error);
                // If the server moved without closing the connection, calls on it would wait for
                // the timeout of TCP.
                *lock(&self.current) = None;
            }
        }
        (self.events.degraded)(self.stats().degraded);
    }

    /// The open connection, or a new one. Concurrent callers share one attempt, which continues if
    /// they give up.
    async fn connection(self: &Arc<Self>) -> Result<Connection, &'static str> {
        if let Some(connection) = &*lock(&self.current) {
            return Ok(connection.clone());
        }
        let client = Arc::clone(self);
        let connect = || async move { client.connect().await };
        match self.connecting.start_or_join(connect) {
            Some(attempt) => attempt.await.unwrap_or(Err("connection")),
            None => Err("connection"),
        }
    }

    async fn connect(&self) -> Result<Connection, &'static str> {
        let connecting = async {
            let (stream, written) = self.address.open().await?;
            let config = AsyncConnectionConfig::new()
                .set_response_timeout(None)
                .set_pipeline_buffer_size(QUEUE);
            let (handle, driver) =
                MultiplexedConnection::new_with_config(self.address.login(), stream, config)
                    .await?;
            let driver = Arc::new(Driver(tokio::spawn(driver).abort_handle()));
            Ok(Connection {
                handle,
                written,
                _driver: driver,
            })
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let connection = connected
            .map_err(|_| "timeout")?
            .map_err(|error: RedisError| word_for(&error))?;
        *lock(&self.current) = Some(connection.clone());
        Ok(connection)
    }

    /// Makes the next call connect, unless another one has done so.
    fn forget(&self, lost: &Connection) {
        let mut current = lock(&self.current);
        if matches!(&*current, Some(other) if Arc::ptr_eq(&other.written, &lost.written)) {
            *current = None;
        }
    }
}

impl fmt::Debug for RedisClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisClient")
            .field("address", &self.address)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

// === impl Driver ===

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn is_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped()
}

/// One of a few fixed words: the text of a server is not for metrics, and may name a user.
fn word_for(error: &RedisError) -> &'static str {
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
    if is_lost(error) {
        return "connection";
    }
    if error.kind() == ErrorKind::AuthenticationFailed {
        return "WRONGPASS";
    }
    let code = error.code().unwrap_or_default();
    let known = CODES.iter().find(|known| **known == code);
    known.copied().unwrap_or("server")
}
