//! Servers that end together, after the requests under way.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Servers in this process.
#[derive(Default)]
pub(crate) struct Servers {
    tasks: JoinSet<io::Result<()>>,
    end: watch::Sender<bool>,
}

/// How long requests under way may take once the process is told to end.
const GRACE: Duration = Duration::from_secs(5);

// === impl Servers ===

impl Servers {
    /// Serves each request with the address of its connection, which limits need.
    pub(crate) fn start(&mut self, listener: TcpListener, router: Router) {
        let listener = listener.tap_io(|connection| {
            // Small answers must not wait for the client's acknowledgement of the last one.
            let _ = connection.set_nodelay(true);
        });
        let mut end = self.end.subscribe();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let server = axum::serve(listener, service).with_graceful_shutdown(async move {
            let _ = end.wait_for(|end| *end).await;
        });
        self.tasks.spawn(server.into_future());
    }

    /// Ends all servers once `told` does, or as soon as one of them fails.
    pub(crate) async fn run_until(mut self, told: impl Future<Output = ()>) -> io::Result<()> {
        tokio::select! {
            Some(ended) = self.tasks.join_next() => return ended.map_err(io::Error::other)?,
            () = told => {}
        }
        self.end.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!("requests under way were cut off");
        }
        Ok(())
    }
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
