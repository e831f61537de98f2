//! Servers that end together, after the requests under way.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
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
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tower::{Service, ServiceExt};

use crate::client::Connection;

/// Servers in this process.
#[derive(Default)]
pub(crate) struct Servers {
    tasks: JoinSet<()>,
    end: watch::Sender<bool>,
}

/// How long requests under way may take once the process is told to end.
const GRACE: Duration = Duration::from_secs(30);
/// How long a client may take for a handshake, or for its first bytes.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may wait for the head of its next request: longer than balancers keep theirs, which would
/// otherwise send a request just when it is closed here.
const IDLE: Duration = Duration::from_secs(75);
/// How HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PAUSE: Duration = Duration::from_millis(10);
/// The largest head of a request, and what one connection may keep of a body, or one stream where it has many.
const BUFFER: usize = 32 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How many connections the system keeps until they are accepted, if it lets us say. A thousand may come at once.
const BACKLOG: u32 = 4096;

// === impl Servers ===

impl Servers {
    /// Serves each request with the [`Connection`] that it came by. `tls` is asked for each connection anew.
    pub(crate) fn start<S>(
        &mut self,
        listener: TcpListener,
        tls: impl Fn() -> Option<Arc<ServerConfig>> + Send + 'static,
        service: S,
    ) where
        S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let mut end = self.end.subscribe();
        self.tasks.spawn(async move {
            let graceful = GracefulShutdown::new();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = end.wait_for(|end| *end) => break,
                };
                match accepted {
                    Ok((stream, peer)) => {
                        let watcher = graceful.watcher();
                        tokio::spawn(greet(stream, peer, tls(), service.clone(), watcher));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        // Out of file descriptors, perhaps; some will be free again.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
            drop(listener);
            graceful.shutdown().await;
        });
    }

    /// Ends all servers, those that are idle at once.
    pub(crate) async fn end(mut self) {
        self.end.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(GRACE, all).await.is_err() {
            tracing::warn!("requests under way were cut off");
        }
    }
}

/// Listens as [`TcpListener::bind`] does, but for more who come at once.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Elsewhere it would let two processes listen on one port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn greet<S>(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    service: S,
    watcher: Watcher,
) where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    // Small answers must not wait for the client's acknowledgement of the last one.
    let _ = stream.set_nodelay(true);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let connection = Connection { peer, scheme };
    let Some(tls) = tls else {
        // A connection on which nothing comes is nobody's.
        if let Ok(Ok(version)) = timeout(PATIENCE, version(&stream)).await {
            serve(stream, connection, version, service, watcher).await;
        }
        return;
    };
    match timeout(PATIENCE, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => {
            let version = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Version::HTTP_2,
                _ => Version::HTTP_11,
            };
            serve(stream, connection, version, service, watcher).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
        Err(_) => tracing::debug!("a handshake took too long"),
    }
}

/// HTTP/2 where its preface comes first.
async fn version(stream: &TcpStream) -> io::Result<Version> {
    let mut first = [0; PREFACE.len()];
    loop {
        let read = stream.peek(&mut first).await?;
        match first.get(..read) {
            None | Some([]) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(PREFACE) => return Ok(Version::HTTP_2),
            Some(some) if !PREFACE.starts_with(some) => return Ok(Version::HTTP_11),
            // What was read is ready again at once.
            Some(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn serve<I, S>(
    stream: I,
    connection: Connection,
    version: Version,
    service: S,
    watcher: Watcher,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(connection);
        service.clone().oneshot(request)
    });
    let builder = match version {
        Version::HTTP_2 => builder().http2_only(),
        _ => builder().http1_only(),
    };
    let served = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(served.into_owned()).await {
        tracing::debug!(error, "a connection broke");
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

/// Ends at Ctrl-C, or SIGTERM where there is such a thing. From this call on neither kills the process.
pub(crate) fn told_to_end() -> io::Result<impl Future<Output = ()>> {
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
