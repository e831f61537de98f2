//! Single flight: one task does the work, and every caller that needs the result waits for it.
//!
//! The task is spawned, so a client that disconnects cancels nothing. If the task panics or its
//! runtime shuts down, every waiter ends with `None`. Waiters make progress only while that runtime
//! runs.

use std::fmt;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::sync::lock;

/// At most one task at a time, whose result is a `T`.
pub(crate) struct SingleFlight<T>(Mutex<Option<watch::Receiver<Option<T>>>>);

/// Waits for the result of the task; `None` if the task ended without one.
pub(crate) struct Waiter<T>(Pin<Box<dyn Future<Output = Option<T>> + Send>>);

// === impl SingleFlight ===

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn is_running(&self) -> bool {
        lock(&self.0).as_ref().is_some_and(is_running)
    }

    /// Waits for the running task, or starts one. `None` outside of a tokio runtime.
    ///
    /// `start` is called for a new task only, and must not use this single flight.
    pub(crate) fn start_or_join<F>(&self, start: impl FnOnce() -> F) -> Option<Waiter<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut last = lock(&self.0);
        if let Some(result) = last.as_ref().filter(|result| is_running(result)) {
            return Some(Waiter::new(result.clone()));
        }
        let runtime = Handle::try_current().ok()?;
        let (sender, result) = watch::channel(None);
        let work = start();
        runtime.spawn(async move {
            sender.send_replace(Some(work.await));
        });
        *last = Some(result.clone());
        Some(Waiter::new(result))
    }
}

fn is_running<T>(result: &watch::Receiver<Option<T>>) -> bool {
    result.has_changed().is_ok() && result.borrow().is_none()
}

// === impl Waiter ===

impl<T: Clone + Send + Sync + 'static> Waiter<T> {
    fn new(mut result: watch::Receiver<Option<T>>) -> Self {
        Self(Box::pin(async move {
            let result = result.wait_for(Option::is_some).await.ok()?;
            result.clone()
        }))
    }
}

impl<T> Future for Waiter<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<T> fmt::Debug for Waiter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiter")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::Notify;

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    #[tokio::test]
    async fn waiters_share_one_task() {
        let flight = SingleFlight::new();
        let (runs, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let start = || {
            let (runs, gate) = (runs.clone(), gate.clone());
            async move {
                gate.notified().await;
                runs.fetch_add(1, Ordering::SeqCst) + 1
            }
        };
        let first = flight.start_or_join(start).unwrap();
        let second = flight.start_or_join(start).unwrap();
        assert!(flight.is_running());
        gate.notify_one();
        assert_eq!((first.await, second.await), (Some(1), Some(1)));
        assert!(!flight.is_running());
        gate.notify_one();
        assert_eq!(flight.start_or_join(start).unwrap().await, Some(2));
    }

    #[tokio::test]
    async fn a_dropped_waiter_cancels_nothing() {
        let (flight, gate) = (SingleFlight::new(), Arc::new(Notify::new()));
        let opened = gate.clone();
        drop(flight.start_or_join(|| async move { opened.notified().await }));
        let other = flight.start_or_join(|| async { panic!("not started") });
        gate.notify_one();
        assert_eq!(other.unwrap().await, Some(()));
    }

    #[tokio::test]
    async fn a_panic_wakes_the_waiters() {
        let flight: SingleFlight<()> = SingleFlight::new();
        let waiter = flight.start_or_join(|| async { panic!("on purpose") });
        assert_eq!(waiter.unwrap().await, None);
        let next = flight.start_or_join(|| async {});
        assert_eq!(next.unwrap().await, Some(()));
    }

    #[test]
    fn a_runtime_that_shuts_down_wakes_the_waiters() {
        let flight: SingleFlight<()> = SingleFlight::new();
        let first = runtime();
        let entered = first.enter();
        let waiter = flight.start_or_join(std::future::pending).unwrap();
        drop(entered);
        drop(first);
        assert_eq!(runtime().block_on(waiter), None);
    }

    #[test]
    fn nothing_starts_outside_of_a_runtime() {
        let flight: SingleFlight<()> = SingleFlight::new();
        assert!(flight.start_or_join(|| async {}).is_none());
        assert!(!flight.is_running());
    }
}
