//! The handle of a test issuer.

use std::fmt;
use std::io;
use std::sync::{
    Arc, LazyLock,
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
use crate::jwks::{KeySet, KeySetError};

/// An issuer for tests: it signs tokens, serves its keys on loopback, and fails on demand.
///
/// Clones share the server and its faults. The server ends when the last handle and the last
/// [`TestToken`] is dropped, or with the runtime that it was started on.
#[derive(Clone)]
pub struct TestIssuer {
    inner: Arc<Inner>,
    audience: Arc<str>,
}

struct Inner {
    server: Arc<Server>,
    clock: Clock,
    tokens: AtomicU64,
    /// The server stops when this drops. `None` for an offline issuer.
    _stop: Option<oneshot::Sender<()>>,
}

/// A valid token for `subject`, to be turned into an identity for a unit test. It needs no runtime
/// and no socket.
///
/// The token is that of one [offline issuer](TestIssuer::offline) per process.
///
/// ```
/// use portcullis::test_util::identity;
///
/// let alice = identity("alice").role("admin").scope("orders:read").into_identity();
/// assert_eq!(alice.subject(), "alice");
/// ```
pub fn identity(subject: &str) -> TestToken {
    static ISSUER: LazyLock<TestIssuer> = LazyLock::new(TestIssuer::offline);
    ISSUER.token(subject)
}

// === impl TestIssuer ===

impl TestIssuer {
    /// Starts an issuer that signs with ES256 and reads the system clock. Its audience is
    /// `test-audience`.
    ///
    /// # Errors
    ///
    /// If no port on 127.0.0.1 is free.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O enabled.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(Algorithm::ES256, Clock::System).await
    }

    /// Starts an issuer with this algorithm, and with the clock that sets `iat`, `exp` and `nbf`.
    ///
    /// # Errors
    ///
    /// The errors of [`start`](Self::start), and [`io::ErrorKind::InvalidInput`] for an HMAC
    /// algorithm.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub async fn start_with(algorithm: Algorithm, clock: impl Into<Clock>) -> io::Result<Self> {
        let clock = clock.into();
        let ring = KeyRing::generate(algorithm)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let (server, stop) = Server::start(ring).await?;
        Ok(Self::new(server, clock, Some(stop)))
    }

    /// An issuer without a server, for tests without a runtime or a network. It signs with ES256
    /// and reads the system clock.
    ///
    /// Its issuer URL is `https://issuer.test`, which no fetch can reach: give its
    /// [keys](Self::key_set) to the layer. The methods that set faults have no effect on it.
    ///
    /// ```
    /// use portcullis::{Issuer, JwksCache, JwksSource, JwtAuthLayer, TestIssuer};
    ///
    /// let issuer = TestIssuer::offline().with_audience("orders-api");
    /// let keys = JwksSource::keys(issuer.issuer(), issuer.key_set()?);
    /// let auth = JwtAuthLayer::new([Issuer::new(issuer.issuer()).audience("orders-api")])?
    ///     .with_keys(JwksCache::new([keys])?)?;
    /// assert!(auth.verify_now(&issuer.token("alice").sign()).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the crypto backend fails.
    #[must_use]
    pub fn offline() -> Self {
        done(Self::offline_with(Algorithm::ES256, Clock::System))
    }

    /// As [`offline`](Self::offline), with this algorithm and this clock.
    ///
    /// # Errors
    ///
    /// [`IssueError::Symmetric`] for an HMAC algorithm, [`IssueError::Crypto`] if the crypto
    /// backend fails.
    pub fn offline_with(algorithm: Algorithm, clock: impl Into<Clock>) -> Result<Self, IssueError> {
        let ring = KeyRing::generate(algorithm)?;
        let server = Server::offline("https://issuer.test".to_owned(), ring);
        Ok(Self::new(server, clock.into(), None))
    }

    fn new(server: Arc<Server>, clock: Clock, stop: Option<oneshot::Sender<()>>) -> Self {
        Self {
            inner: Arc::new(Inner {
                server,
                clock,
                tokens: AtomicU64::new(0),
                _stop: stop,
            }),
            audience: "test-audience".into(),
        }
    }

    /// Sets the audience of tokens from this handle and from its later clones.
    #[must_use]
    pub fn with_audience(mut self, audience: &str) -> Self {
        self.audience = audience.into();
        self
    }

    /// The `iss` of its tokens and of its discovery document: `http://127.0.0.1:PORT` without a
    /// final slash, or `https://issuer.test` if it is [offline](Self::offline).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.inner.server.issuer
    }

    /// The URL of the JWKS document.
    #[must_use]
    pub fn jwks_uri(&self) -> &str {
        &self.inner.server.jwks_uri
    }

    /// The default audience of its tokens.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// The current JWKS document, without a request. It is not counted, and faults do not apply.
    #[must_use]
    pub fn jwks(&self) -> String {
        self.key_ring().jwks()
    }

    /// The current keys, for a verifier that does not fetch them.
    ///
    /// # Errors
    ///
    /// If no key of the document can be used. That is not the case for keys of the ring.
    pub fn key_set(&self) -> Result<KeySet, KeySetError> {
        KeySet::from_json(self.jwks().as_bytes())
    }

    /// The keys. A clone of the ring outlives the server.
    #[must_use]
    pub fn key_ring(&self) -> &KeyRing {
        &self.inner.server.ring
    }

    /// A token for `subject` and the issuer's audience, issued now and valid for 5 minutes. `jti`
    /// is unique for this issuer.
    pub fn token(&self, subject: &str) -> TestToken {
        let number = self.inner.tokens.fetch_add(1, Ordering::Relaxed) + 1;
        let (ring, clock) = (self.key_ring().clone(), self.inner.clock.clone());
        TestToken::new(ring, clock, Arc::clone(&self.inner) as _)
            .issued_by(self.issuer())
            .audience(&self.audience)
            .claim("sub", subject)
            .claim("jti", format!("token-{number}"))
    }
}

/// # Keys
impl TestIssuer {
    /// Signs with a new key of the same algorithm from now on. The old key stays published. Returns
    /// the ID of the old key.
    ///
    /// # Panics
    ///
    /// If a key is [staged](Self::stage).
    #[track_caller]
    pub fn rotate(&self) -> String {
        done(self.key_ring().rotate(self.algorithm()))
    }

    /// Publishes the next key, which has the same algorithm. Returns its ID.
    ///
    /// # Panics
    ///
    /// If a key is staged already.
    #[track_caller]
    pub fn stage(&self) -> String {
        done(self.key_ring().stage(self.algorithm()))
    }

    /// Signs with the staged key from now on. Returns the ID of the old key.
    ///
    /// # Panics
    ///
    /// If no key is staged.
    #[track_caller]
    pub fn promote(&self) -> String {
        done(self.key_ring().promote())
    }

    /// Removes a key from the document.
    ///
    /// # Panics
    ///
    /// If it is the signing key, or not in the ring.
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
/// Faults apply to every later answer, and to all clones of the handle.
impl TestIssuer {
    /// Answers every request, discovery included, with this status and no body.
    pub fn fail_with(&self, status: StatusCode) {
        self.inner.server.faults().status = Some(status);
    }

    /// Serves `body` instead of the JWKS document, unchecked.
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

    /// Delays every answer until [`release`](Self::release). Requests are counted when they arrive.
    pub fn hold(&self) {
        self.inner.server.held.send_replace(true);
    }

    /// Answers the delayed requests, and later ones at once.
    pub fn release(&self) {
        self.inner.server.held.send_replace(false);
    }

    /// Sends this `Cache-Control` with both documents. By default there is none.
    ///
    /// # Panics
    ///
    /// If `value` is not a valid header value.
    #[track_caller]
    #[allow(clippy::expect_used)] // documented: misuse by a test
    pub fn cache_control(&self, value: &str) {
        let value = HeaderValue::from_str(value).expect("a header value");
        self.inner.server.faults().cache_control = Some(value);
    }

    /// The number of requests for the JWKS document, failures included.
    #[must_use]
    pub fn fetches(&self) -> usize {
        *self.inner.server.fetches.borrow()
    }

    /// The number of requests for the discovery document, failures included.
    #[must_use]
    pub fn discoveries(&self) -> usize {
        *self.inner.server.discoveries.borrow()
    }

    /// The number of requests for either document that were answered with 304, because their
    /// `If-None-Match` was the current `ETag`.
    #[must_use]
    pub fn not_modified(&self) -> usize {
        self.inner.server.not_modified.load(Ordering::Relaxed)
    }

    /// Waits for at least `count` requests for the JWKS document since the start.
    pub async fn wait_for_fetches(&self, count: usize) {
        at_least(&self.inner.server.fetches, count).await;
    }

    /// Waits for at least `count` requests for the discovery document since the start.
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
        // A delayed answer would keep the server running.
        self.server.held.send_replace(false);
    }
}

/// Panics at the caller's line: the test uses the issuer wrongly.
#[track_caller]
#[allow(clippy::panic)]
fn done<T>(result: Result<T, IssueError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

async fn at_least(counter: &watch::Sender<usize>, count: usize) {
    // The sender is borrowed, so the channel cannot close.
    let _ = counter.subscribe().wait_for(|seen| *seen >= count).await;
}
