//! Single-flight: one task does the work, everybody who needs its result waits for it.
//!
//! The work is spawned, so that a client who hangs up cancels nothing, and a waiter cannot hang: when the task
//! panics or its runtime goes away, the sending half is dropped and every waiter wakes with `None`.

use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::watch;

/// At most one task at a time, whose result is a `T`.
pub(crate) struct Flight<T> {
    current: Mutex<Option<watch::Receiver<Option<T>>>>,
}

/// Waits for the result of a flight; `None` if its task ended without one.
pub(crate) struct Waiter<T>(Pin<Box<dyn Future<Output = Option<T>> + Send>>);

// === impl Flight ===

impl<T> Flight<T>
where
    T: Clone + Send + Sync + 'static,
{
    pub(crate) const fn new() -> Self {
        Self {
            current: Mutex::new(None),
        }
    }

    /// Waits for the task that is under way, if there is one.
    pub(crate) fn join(&self) -> Option<Waiter<T>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().and_then(Waiter::of)
    }

    /// Waits for the task that is under way, or starts one. `None` outside of a tokio runtime, or if `start` declines.
    ///
    /// `start` runs only for the caller who starts, before anyone can join, and must not use this flight. What the
    /// task before has written is visible to it.
    pub(crate) fn board<F>(&self, start: impl FnOnce() -> Option<F>) -> Option<Waiter<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiter) = current.as_ref().and_then(Waiter::of) {
            return Some(waiter);
        }
        let runtime = Handle::try_current().ok()?;
        let work = start()?;
        let (sender, receiver) = watch::channel(None);
        let waiter = Waiter::new(receiver.clone());
        runtime.spawn(async move {
            let result = work.await;
            sender.send_replace(Some(result));
        });
        *current = Some(receiver);
        Some(waiter)
    }
}

// === impl Waiter ===

impl<T> Waiter<T>
where
    T: Clone + Send + Sync + 'static,
{
    /// `None` for a flight that has landed: its result answers those who asked before, not those who ask now.
    fn of(receiver: &watch::Receiver<Option<T>>) -> Option<Self> {
        let under_way = receiver.has_changed().is_ok() && receiver.borrow().is_none();
        under_way.then(|| Self::new(receiver.clone()))
    }

    fn new(mut receiver: watch::Receiver<Option<T>>) -> Self {
        Self(Box::pin(async move {
            let result = receiver.wait_for(Option::is_some).await.ok()?;
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

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn many_waiters_share_one_task() {
        let (flight, runs, gate) = (
            Flight::new(),
            Arc::new(AtomicU32::new(0)),
            Arc::new(Notify::new()),
        );
        let start = || {
            let (runs, gate) = (runs.clone(), gate.clone());
            Some(async move {
                gate.notified().await;
                runs.fetch_add(1, Ordering::SeqCst) + 1
            })
        };
        let first = flight.board(start).unwrap();
        let second = flight.board(start).unwrap();
        let third = flight.join().unwrap();
        gate.notify_one();
        assert_eq!(
            (first.await, second.await, third.await),
            (Some(1), Some(1), Some(1))
        );
        assert!(
            flight.join().is_none(),
            "a flight that landed cannot be joined"
        );
        gate.notify_one();
        assert_eq!(flight.board(start).unwrap().await, Some(2));
    }

    #[tokio::test]
    async fn a_waiter_who_vanishes_cancels_nothing() {
        let (flight, gate) = (Flight::new(), Arc::new(Notify::new()));
        let opened = gate.clone();
        drop(flight.board(|| Some(async move { opened.notified().await })));
        let other = flight.join().unwrap();
        gate.notify_one();
        assert_eq!(other.await, Some(()));
    }

    #[tokio::test]
    async fn a_task_that_panics_wakes_its_waiters() {
        let flight: Flight<()> = Flight::new();
        let waiter = flight
            .board(|| Some(async { panic!("on purpose") }))
            .unwrap();
        assert_eq!(waiter.await, None);
        assert_eq!(flight.board(|| Some(async {})).unwrap().await, Some(()));
    }

    #[test]
    fn a_runtime_that_goes_away_wakes_its_waiters() {
        let flight: Flight<()> = Flight::new();
        let doomed = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let entered = doomed.enter();
        let waiter = flight.board(|| Some(std::future::pending())).unwrap();
        drop(entered);
        drop(doomed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        assert_eq!(runtime.block_on(waiter), None);
    }

    #[tokio::test]
    async fn a_start_that_declines_leaves_nothing_behind() {
        let flight: Flight<()> = Flight::new();
        assert!(flight.board(|| None::<std::future::Pending<()>>).is_none());
        assert!(flight.join().is_none());
    }

    #[test]
    fn outside_of_a_runtime_nothing_starts_and_nothing_panics() {
        let flight: Flight<()> = Flight::new();
        assert!(flight.board(|| Some(async {})).is_none());
    }
}
