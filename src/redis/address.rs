//! The address of a server, and the stream that is connected to it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::error::ConfigError;

/// The address of one server, and the login.
#[derive(Clone)]
pub(super) struct Address {
    info: ConnectionInfo,
    is_tls: bool,
}

/// A connected stream that counts the bytes written to it.
pub(super) struct CountedStream {
    stream: Box<dyn Stream>,
    is_tls: bool,
    written: Arc<AtomicU64>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

const EXPECTED: &str = if cfg!(feature = "redis-tls") {
    "use redis://host:port/database, rediss://host:port/database for TLS, or unix:///path"
} else {
    "use redis://host:port/database or unix:///path; rediss:// (TLS) needs the feature redis-tls"
};

// === impl Address ===

impl Address {
    /// Reads `redis://`, `rediss://` and `unix://` URLs.
    pub(super) fn parse(url: &str) -> Result<Self, ConfigError> {
        // The error of the client is not shown: it may quote the password.
        let refuse = |problem| ConfigError::Setting {
            setting: "Redis URL",
            problem,
        };
        let (plain, is_tls) = match url.split_once("://") {
            Some(("rediss", rest)) => (format!("redis://{rest}"), true),
            Some(("valkeys", rest)) => (format!("valkey://{rest}"), true),
            _ => (url.to_owned(), false),
        };
        if is_tls && !cfg!(feature = "redis-tls") {
            return Err(refuse(EXPECTED));
        }
        if is_tls && url.contains("#insecure") {
            return Err(refuse(
                "#insecure accepts any certificate, so any server can answer: remove it",
            ));
        }
        let info = plain.into_connection_info().map_err(|_| refuse(EXPECTED))?;
        Ok(Self { info, is_tls })
    }

    pub(super) fn login(&self) -> &RedisConnectionInfo {
        self.info.redis_settings()
    }

    /// Connects. The counter grows with every byte that is written to the stream.
    pub(super) async fn open(&self) -> io::Result<(CountedStream, Arc<AtomicU64>)> {
        let written = Arc::new(AtomicU64::new(0));
        let stream = CountedStream {
            stream: self.connect().await?,
            is_tls: self.is_tls,
            written: Arc::clone(&written),
        };
        Ok((stream, written))
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let stream = TcpStream::connect((&**host, *port)).await?;
                stream.set_nodelay(true)?;
                #[cfg(feature = "redis-tls")]
                if self.is_tls {
                    return Ok(Box::new(super::tls::connect(host, stream).await?));
                }
                Ok(Box::new(stream))
            }
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => {
                Ok(Box::new(tokio::net::UnixStream::connect(path).await?))
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl fmt::Debug for Address {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("is_tls", &self.is_tls)
            .finish_non_exhaustive()
    }
}

// === impl CountedStream ===

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        let count = match &written {
            Poll::Ready(Ok(count)) => *count as u64,
            // Of several TLS records, some may have been sent before the one that failed.
            Poll::Ready(Err(_)) if self.is_tls => 1,
            _ => 0,
        };
        self.written.fetch_add(count, Ordering::Release);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: Result<bool, &str>) {
        match (Address::parse(url), expected) {
            (Ok(address), Ok(is_tls)) => assert_eq!(address.is_tls, is_tls, "{url}"),
            (Err(error), Err(part)) => {
                let error = error.to_string();
                assert!(error.contains(part) && !error.contains("hush"), "{error}");
            }
            (other, _) => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn urls_are_read() {
        check("redis://127.0.0.1", Ok(false));
        check("redis://user:hush@[::1]:7000/3", Ok(false));
        check("unix:///run/redis.sock", Ok(false));
        check("http://127.0.0.1/:hush@", Err("redis://host:port"));
        check("redis://:hush@127.0.0.1/one", Err("redis://host:port"));
        if cfg!(feature = "redis-tls") {
            check("rediss://:hush@redis.example.com", Ok(true));
            check("rediss://:hush@127.0.0.1/#insecure", Err("#insecure"));
        } else {
            check("rediss://:hush@127.0.0.1", Err("redis-tls"));
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let address = Address::parse("redis://user:hush@127.0.0.1").unwrap();
        assert!(!format!("{address:?}").contains("hush"));
    }
}
