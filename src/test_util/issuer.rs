//! The issuer's handle.

use std::fmt;
use std::io;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use tokio::sync::{oneshot, watch};

use super::server::Server;
use super::token::TestToken;
use crate::algorithm::Algorithm;
use crate::clock::Clock;
use crate::issue::{IssueError, KeyRing};

/// An issuer on loopback: it mints tokens, serves their keys, and fails when it is told to.
///
/// A cheap handle: clones share the server and its faults. The server ends when the last handle, [`TestToken`]s
/// included, is dropped, or with the runtime it was started on.
#[derive(Clone)]
pub struct TestIssuer {
    inner: Arc<Inner>,
    audience: Arc<str>,
}

struct Inner {
    server: Arc<Server>,
    clock: Clock,
    minted: AtomicU64,
    /// The server stops when this drops.
    _stop: oneshot::Sender<()>,
}

// === impl TestIssuer ===

impl TestIssuer {
    /// Starts an issuer that signs with ES256 and reads the system's clock. Its audience is `test-audience`.
    ///
    /// # Errors
    ///
    /// If no port on 127.0.0.1 is to be had.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O enabled, as sockets do.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(Algorithm::ES256, Clock::System).await
    }

    /// As [`start`](Self::start), with another algorithm and the clock that `iat`, `exp` and `nbf` are read from.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start), and [`io::ErrorKind::InvalidInput`] for an HMAC algorithm.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub async fn start_with(algorithm: Algorithm, clock: Clock) -> io::Result<Self> {
        let ring = KeyRing::generate(algorithm)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let (server, stop) = Server::start(ring).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                server,
                clock,
                minted: AtomicU64::new(0),
                _stop: stop,
            }),
            audience: "test-audience".into(),
        })
    }

    /// The audience of the tokens minted through this handle and clones made of it from now on.
    #[must_use]
    pub fn with_audience(mut self, audience: &str) -> Self {
        self.audience = audience.into();
        self
    }

    /// The `iss` of its tokens and of its discovery document: `http://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.inner.server.issuer
    }

    /// Where the JWKS document is.
    #[must_use]
    pub fn jwks_uri(&self) -> &str {
        &self.inner.server.jwks_uri
    }

    /// The audience of its tokens, unless they name another.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// The JWKS document as the ring publishes it now, without a request: nothing is counted, no fault applies.
    #[must_use]
    pub fn jwks(&self) -> String {
        self.key_ring().jwks()
    }

    /// The keys. A clone of the ring outlives the server.
    #[must_use]
    pub fn key_ring(&self) -> &KeyRing {
        &self.inner.server.ring
    }

    /// A token for `subject`: issued now, for this issuer's audience, over in 5 minutes. `jti` is unique to this issuer.
    pub fn token(&self, subject: &str) -> TestToken {
        let number = self.inner.minted.fetch_add(1, Ordering::Relaxed) + 1;
        let now = self.inner.clock.unix_time().as_secs();
        TestToken::new(self.clone(), subject, now, number)
    }
}

/// # Keys
impl TestIssuer {
    /// A new key of the same algorithm signs from now on; the old one stays published. Returns the old key's id.
    ///
    /// # Panics
    ///
    /// If a key is [staged](Self::stage).
    #[track_caller]
    pub fn rotate(&self) -> String {
        done(self.key_ring().rotate(self.algorithm()))
    }

    /// Publishes the next key, of the same algorithm. Returns its id.
    ///
    /// # Panics
    ///
    /// If one is staged already.
    #[track_caller]
    pub fn stage(&self) -> String {
        done(self.key_ring().stage(self.algorithm()))
    }

    /// The staged key signs from now on. Returns the old key's id.
    ///
    /// # Panics
    ///
    /// If none is staged.
    #[track_caller]
    pub fn promote(&self) -> String {
        done(self.key_ring().promote())
    }

    /// Takes a key out of the document.
    ///
    /// # Panics
    ///
    /// If it is the one that signs, or not in the ring.
    #[track_caller]
    pub fn retire(&self, kid: &str) {
        done(self.key_ring().retire(kid));
    }

    fn algorithm(&self) -> Algorithm {
        self.key_ring().signing_key().algorithm()
    }
}

/// # Faults
///
/// They hold for every request that is answered from now on, by any handle's clone.
impl TestIssuer {
    /// Answers every request, discovery included, with this status and no body.
    pub fn fail_with(&self, status: StatusCode) {
        self.inner.server.faults().status = Some(status);
    }

    /// Serves `body` instead of the JWKS document, whatever it is.
    pub fn serve_raw(&self, body: impl Into<Bytes>) {
        self.inner.server.faults().jwks = Some(body.into());
    }

    /// Serves `body` instead of the discovery document.
    pub fn serve_raw_discovery(&self, body: impl Into<Bytes>) {
        self.inner.server.faults().discovery = Some(body.into());
    }

    /// Undoes [`fail_with`](Self::fail_with), [`serve_raw`](Self::serve_raw) and
    /// [`serve_raw_discovery`](Self::serve_raw_discovery).
    pub fn recover(&self) {
        let mut faults = self.inner.server.faults();
        faults.status = None;
        faults.jwks = None;
        faults.discovery = None;
    }

    /// Lets every request wait for [`release`](Self::release). It is counted when it arrives.
    pub fn hold(&self) {
        self.inner.server.held.send_replace(true);
    }

    /// Answers the requests that wait, and those to come.
    pub fn release(&self) {
        self.inner.server.held.send_replace(false);
    }

    /// Sends this `Cache-Control` with both documents. Without it there is none.
    ///
    /// # Panics
    ///
    /// If `value` cannot stand in a header.
    #[track_caller]
    #[allow(clippy::expect_used)] // misuse by a test, and documented
    pub fn cache_control(&self, value: &str) {
        let value = HeaderValue::from_str(value).expect("a header value");
        self.inner.server.faults().cache_control = Some(value);
    }

    /// How often the JWKS document was asked for, failures included.
    #[must_use]
    pub fn fetches(&self) -> usize {
        *self.inner.server.fetches.borrow()
    }

    /// How often the discovery document was asked for, failures included.
    #[must_use]
    pub fn discoveries(&self) -> usize {
        *self.inner.server.discoveries.borrow()
    }

    /// How many requests, of those for either document, were answered 304: their `If-None-Match` was the `ETag` still.
    #[must_use]
    pub fn not_modified(&self) -> usize {
        self.inner.server.not_modified.load(Ordering::Relaxed)
    }

    /// Waits until the JWKS document was asked for at least `count` times since the start.
    pub async fn wait_for_fetches(&self, count: usize) {
        at_least(&self.inner.server.fetches, count).await;
    }

    /// Waits until the discovery document was asked for at least `count` times since the start.
    pub async fn wait_for_discoveries(&self, count: usize) {
        at_least(&self.inner.server.discoveries, count).await;
    }
}

impl fmt::Debug for TestIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestIssuer")
            .field("issuer", &self.issuer())
            .field("audience", &self.audience)
            .field("keys", self.key_ring())
            .finish_non_exhaustive()
    }
}

// === impl Inner ===

impl Drop for Inner {
    fn drop(&mut self) {
        // A held answer would keep the server from ending.
        self.server.held.send_replace(false);
    }
}

/// An error is a test that misuses the issuer; it is told where.
#[track_caller]
#[allow(clippy::panic)]
fn done<T>(result: Result<T, IssueError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

async fn at_least(counter: &watch::Sender<usize>, count: usize) {
    // The sender is borrowed, so that the channel cannot close.
    let _ = counter.subscribe().wait_for(|seen| *seen >= count).await;
}
