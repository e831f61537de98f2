//! Servers that shut down together, after the requests in progress.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::Version;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tower::{Service, ServiceExt};

use crate::stall_guard::Exchanges;

/// The servers of this process.
#[derive(Default)]
pub(crate) struct Servers {
    tasks: JoinSet<()>,
    end: watch::Sender<bool>,
}

/// The connection that a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
}

/// How long requests in progress may take during a shutdown.
const GRACE: Duration = Duration::from_secs(30);
/// The timeout for a TLS handshake and for the first bytes of a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an idle connection may wait for the head of its next request. Longer than the idle
/// timeout of common load balancers, which could otherwise send a request at the moment when the
/// connection is closed here.
const IDLE: Duration = Duration::from_secs(75);
/// The HTTP/2 connection preface (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = SECOND;
const SECOND: Duration = Duration::from_secs(1);
/// The longest time in which a client may read nothing of a response, because a stalled response
/// occupies a connection or stream of the upstream. Checked periodically, so it can take twice as
/// long. Also the minimum idle time of an HTTP/2 connection.
const STALL: Duration = Duration::from_secs(60);
/// The maximum number of admin connections.
pub(crate) const OPERATORS: usize = 32;
/// File descriptors reserved for the admin listener, issuers, stores and files.
const RESERVE: usize = OPERATORS + 96;
/// The default soft limit of Linux, used if the system does not report one.
const DESCRIPTORS: usize = 1024;
/// The maximum size of a request head, and of the buffered part of a body per HTTP/1.1 connection
/// or HTTP/2 stream.
const BUFFER: usize = 32 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// The length of the accept queue. A thousand connections may arrive at once.
const BACKLOG: u32 = 4096;

/// Signals that a connection receives.
struct Signals {
    end: watch::Receiver<bool>,
    /// The server has no free connection: idle connections should close.
    is_full: watch::Receiver<()>,
}

/// Limits a repeated warning to one per second.
#[derive(Default)]
struct Warnings {
    last: Option<Instant>,
}

// === impl Servers ===

impl Servers {
    /// Serves at most `most` connections. Each request carries the [`Connection`] that it came
    /// from. `tls` is called for each new connection, so a reload can change it.
    pub(crate) fn start<S>(
        &mut self,
        listener: TcpListener,
        tls: impl Fn() -> Option<Arc<ServerConfig>> + Send + 'static,
        service: S,
        most: usize,
    ) where
        S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let mut end = self.end.subscribe();
        self.tasks.spawn(async move {
            let permits = Arc::new(Semaphore::new(most));
            let mut warnings = Warnings::default();
            let is_full = watch::Sender::new(());
            loop {
                let accepted = tokio::select! {
                    accepted = accept(&listener, &permits, &is_full, &mut warnings) => accepted,
                    _ = end.wait_for(|end| *end) => break,
                };
                match accepted {
                    Ok((permit, stream, peer)) => {
                        let (tls, service) = (tls(), service.clone());
                        let signals = Signals {
                            end: end.clone(),
                            is_full: is_full.subscribe(),
                        };
                        tokio::spawn(async move {
                            accept_connection(stream, peer, tls, service, signals).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        if warnings.is_due() {
                            tracing::warn!(%error, "a connection could not be accepted");
                        }
                        // The process may be out of file descriptors; some are freed when
                        // connections end.
                        sleep(Duration::from_millis(50)).await;
                    }
                }
            }
            drop(listener);
            // All permits are available again once the last connection has ended.
            let _ = permits
                .acquire_many(u32::try_from(most).unwrap_or(u32::MAX))
                .await;
        });
    }

    /// Shuts all servers down. Idle connections close at once.
    pub(crate) async fn end(mut self) {
        self.end.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(GRACE, all).await.is_err() {
            tracing::warn!("requests in progress were aborted");
        }
    }
}

// === impl Warnings ===

impl Warnings {
    fn is_due(&mut self) -> bool {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= SECOND);
        if is_due {
            self.last = Some(Instant::now());
        }
        is_due
    }
}

/// The maximum number of client connections. Each may need a connection to an upstream as well.
/// Further connections wait in the accept queue; admin connections are counted separately.
pub(crate) fn most() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let most = descriptors(&limits).saturating_sub(RESERVE) / 2;
    most.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize))
}

/// The soft limit of open files.
fn descriptors(limits: &str) -> usize {
    let mut lines = limits.lines();
    let line = lines.find_map(|line| line.strip_prefix("Max open files"));
    match line.and_then(|line| line.split_whitespace().next()) {
        Some("unlimited") => usize::MAX,
        Some(soft) => soft.parse().unwrap_or(DESCRIPTORS),
        None => DESCRIPTORS,
    }
}

/// Accepts the next connection when there is room for it.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    is_full: &watch::Sender<()>,
    warnings: &mut Warnings,
) -> io::Result<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let permit = loop {
        if permits.available_permits() == 0 {
            is_full.send_replace(());
            if warnings.is_due() {
                tracing::warn!("connection limit reached: raise `ulimit -n`");
            }
        }
        // A connection that was busy may be idle by then.
        if let Ok(permit) = timeout(SECOND, Arc::clone(permits).acquire_owned()).await {
            break permit.map_err(io::Error::other)?;
        }
    };
    let (stream, peer) = listener.accept().await?;
    Ok((permit, stream, peer))
}

/// Listens as [`TcpListener::bind`] does, with a longer accept queue.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // On other platforms this option would let two processes listen on one port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept_connection<S>(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    service: S,
    signals: Signals,
) where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    // Otherwise a small response waits until the client acknowledges the previous one.
    let _ = stream.set_nodelay(true);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let connection = Connection { peer, scheme };
    let Some(tls) = tls else {
        // A connection without a first byte is closed after the timeout.
        if let Ok(Ok(version)) = timeout(PATIENCE, version(&stream)).await {
            serve(stream, connection, version, service, signals).await;
        }
        return;
    };
    match timeout(PATIENCE, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => {
            let version = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Version::HTTP_2,
                _ => Version::HTTP_11,
            };
            serve(stream, connection, version, service, signals).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake timed out"),
    }
}

/// Returns HTTP/2 if the connection starts with its preface.
async fn version(stream: &TcpStream) -> io::Result<Version> {
    let mut first = [0; PREFACE.len()];
    let mut pause = PAUSE;
    loop {
        let read = stream.peek(&mut first).await?;
        match first.get(..read) {
            None | Some([]) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(PREFACE) => return Ok(Version::HTTP_2),
            Some(some) if !PREFACE.starts_with(some) => return Ok(Version::HTTP_11),
            // Peeked bytes stay readable, so the loop has to pause. A preface rarely arrives in two
            // parts unless a client splits it on purpose.
            Some(_) => {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn serve<I, S>(
    stream: I,
    connection: Connection,
    version: Version,
    service: S,
    signals: Signals,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let exchanges = Exchanges::default();
    let begun = exchanges.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(connection);
        let exchange = begun.begin();
        let answer = service.clone().oneshot(request);
        async move { answer.await.map(|response| exchange.answer(response)) }
    });
    let is_http2 = version == Version::HTTP_2;
    let builder = if is_http2 {
        builder().http2_only()
    } else {
        builder().http1_only()
    };
    let served = builder.serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served.into_owned());
    let Signals {
        mut end,
        mut is_full,
    } = signals;
    let mut end = pin!(async move { end.wait_for(|end| *end).await.is_ok() });
    let mut is_ending = false;
    let mut first = pin!(sleep(PATIENCE));
    // An HTTP/2 client may open its first stream late, because the connection is shared.
    let mut is_new = !is_http2;
    let mut looks = interval_at(Instant::now() + STALL, STALL);
    loop {
        tokio::select! {
            result = &mut served => {
                if let Err(error) = result {
                    tracing::debug!(error, "connection failed");
                }
                return;
            }
            _ = &mut end, if !is_ending => {
                is_ending = true;
                served.as_mut().graceful_shutdown();
            }
            Ok(()) = is_full.changed(), if !is_ending => {
                if exchanges.are_over() {
                    is_ending = true;
                    served.as_mut().graceful_shutdown();
                }
            }
            () = &mut first, if is_new => {
                is_new = false;
                if !exchanges.has_begun() {
                    tracing::debug!("timeout while waiting for the first request head");
                    return;
                }
            }
            _ = looks.tick() => {
                let seen = exchanges.look();
                if seen.cut > 0 {
                    tracing::debug!(answers = seen.cut, "aborted responses that the client did not read");
                }
                // After an aborted response, nothing can follow on an HTTP/1.1 connection. An idle
                // connection has already been asked to shut down.
                if !is_http2 && seen.cut > 0 || is_ending && seen.is_idle {
                    return;
                }
                if is_http2 && seen.is_idle {
                    is_ending = true;
                    served.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .max_send_buf_size(BUFFER)
        .max_header_list_size(BUFFER as u32);
    builder
}

/// Completes on Ctrl-C, and on SIGTERM where it exists. From this call on, neither signal kills the
/// process.
pub(crate) fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        Ok(async move {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        let mut interrupted = tokio::signal::windows::ctrl_c()?;
        Ok(async move {
            interrupted.recv().await;
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::Bytes;
    use futures_util::{Stream, stream};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;

    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";
    const CONNECTION: Connection = Connection {
        peer: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1),
        scheme: "http",
    };

    /// Counts the responses that are still held.
    struct Held(Arc<AtomicUsize>);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    type Parts = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, Infallible>> + Send>>;

    /// A connection that answers each request with these parts.
    fn connection(
        version: Version,
        parts: fn() -> Parts,
    ) -> (DuplexStream, Arc<AtomicUsize>, JoinHandle<()>) {
        let (client, server) = duplex(1024);
        let held = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&held);
        let service = tower::service_fn(move |_: Request| {
            count.fetch_add(1, Ordering::SeqCst);
            let held = Held(Arc::clone(&count));
            let parts = futures_util::StreamExt::map(parts(), move |part| {
                let _ = &held;
                part
            });
            async move { Ok(Response::new(Body::from_stream(parts))) }
        });
        let (ends, end) = watch::channel(false);
        let (is_fulls, is_full) = watch::channel(());
        let signals = Signals { end, is_full };
        let served = tokio::spawn(async move {
            serve(server, CONNECTION, version, service, signals).await;
            drop((ends, is_fulls));
        });
        (client, held, served)
    }

    fn endless() -> Parts {
        Box::pin(stream::repeat(Ok(Bytes::from_static(&[7; 16 * 1024]))))
    }

    fn silent() -> Parts {
        let one = stream::iter([Ok(Bytes::from_static(b"one"))]);
        Box::pin(futures_util::StreamExt::chain(one, stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_client_is_cut_off() {
        let (mut client, held, served) = connection(Version::HTTP_11, endless);
        let started = Instant::now();
        client.write_all(HEAD).await.unwrap();
        served.await.unwrap();
        assert!(started.elapsed() >= STALL && started.elapsed() <= STALL * 2);
        assert_eq!(held.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_client_is_not_cut_off() {
        let (mut client, held, served) = connection(Version::HTTP_11, endless);
        client.write_all(HEAD).await.unwrap();
        let mut some = vec![0; 64 * 1024];
        for _ in 0..20 {
            sleep(STALL / 2).await;
            client.read_exact(&mut some).await.unwrap();
        }
        assert!(!served.is_finished());
        assert_eq!(held.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_upstream_is_not_cut_off() {
        let (mut client, held, served) = connection(Version::HTTP_11, silent);
        client.write_all(HEAD).await.unwrap();
        sleep(STALL * 20).await;
        assert!(!served.is_finished());
        assert_eq!(held.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn first_head_has_shorter_timeout() {
        let (mut client, _, served) = connection(Version::HTTP_11, silent);
        let started = Instant::now();
        client.write_all(&HEAD[..HEAD.len() - 1]).await.unwrap();
        served.await.unwrap();
        assert_eq!(started.elapsed().as_secs(), PATIENCE.as_secs());

        let (mut client, _, served) = connection(Version::HTTP_11, || Box::pin(stream::empty()));
        client.write_all(HEAD).await.unwrap();
        sleep(IDLE - PATIENCE / 2).await;
        assert!(!served.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn unread_http2_stream_ends_alone() {
        let (client, held, served) = connection(Version::HTTP_2, endless);
        let mut client_side = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        client_side.timer(TokioTimer::new());
        let client = client_side.handshake(TokioIo::new(client)).await;
        let (mut requests, connection) = client.unwrap();
        tokio::spawn(connection);
        let request = || hyper::Request::new(Body::empty());
        let unread = requests.send_request(request()).await.unwrap();
        let mut read = requests.send_request(request()).await.unwrap().into_body();
        assert_eq!(held.load(Ordering::SeqCst), 2);
        for _ in 0..10 {
            sleep(STALL / 3).await;
            for _ in 0..30 {
                let frame = http_body_util::BodyExt::frame(&mut read).await;
                assert!(frame.unwrap().is_ok());
            }
        }
        assert_eq!(held.load(Ordering::SeqCst), 1);
        drop((read, unread));
        // An idle connection is closed.
        timeout(STALL * 3, served).await.unwrap().unwrap();
    }

    #[test]
    fn descriptors_are_reserved() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";
        assert_eq!(descriptors(limits), 1024);
        assert_eq!(
            descriptors(&limits.replace("1024", "unlimited")),
            usize::MAX
        );
        assert_eq!(descriptors(""), DESCRIPTORS);
        assert!(most() >= 1);
    }
}
