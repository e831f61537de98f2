//! Single-flight: one task does the work, everybody who needs its result waits for it.
//!
//! The work is spawned, so that a client who hangs up cancels nothing. When the task panics or its runtime goes away,
//! every waiter wakes with `None`. What cannot be seen from here is a runtime that nobody drives: a flight keeps no
//! time, so whoever does must [give it up](Flight::give_up).

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::watch;

/// At most one task at a time, whose result is a `T`.
pub(crate) struct Flight<T>(Mutex<Schedule<T>>);

struct Schedule<T> {
    /// Counts the tasks that were started.
    started: u64,
    last: Option<Started<T>>,
}

struct Started<T> {
    number: u64,
    results: watch::Receiver<Option<T>>,
    outbox: Outbox<T>,
}

/// Where the result goes. Whoever is first empties it: the task that ends, or he who gives it up.
struct Outbox<T>(Arc<Mutex<Option<watch::Sender<Option<T>>>>>);

/// Closes the outbox when the task ends, however it ends.
struct Closing<T>(Outbox<T>);

/// Waits for the result of a flight; `None` if its task ended without one, or was given up.
pub(crate) struct Waiter<T> {
    number: u64,
    result: Pin<Box<dyn Future<Output = Option<T>> + Send>>,
}

// === impl Flight ===

impl<T> Flight<T>
where
    T: Clone + Send + Sync + 'static,
{
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Schedule {
            started: 0,
            last: None,
        }))
    }

    /// Whether there is a task under way.
    #[allow(dead_code)]
    pub(crate) fn is_under_way(&self) -> bool {
        self.lock().last.as_ref().is_some_and(Started::is_under_way)
    }

    /// Waits for the task that is under way, if there is one.
    pub(crate) fn join(&self) -> Option<Waiter<T>> {
        self.lock().last.as_ref().and_then(Waiter::of)
    }

    /// Waits for the task that is under way, or starts one. `None` outside of a tokio runtime, or if `start` declines.
    ///
    /// `start` runs only for the caller who starts, before anyone can join, and must not use this flight. It is told
    /// the number of the task. What the task before has written is visible to it.
    pub(crate) fn board<F>(&self, start: impl FnOnce(u64) -> Option<F>) -> Option<Waiter<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut schedule = self.lock();
        if let Some(waiter) = schedule.last.as_ref().and_then(Waiter::of) {
            return Some(waiter);
        }
        let runtime = Handle::try_current().ok()?;
        let number = schedule.started.wrapping_add(1);
        let work = start(number)?;
        let (sender, results) = watch::channel(None);
        let outbox = Outbox(Arc::new(Mutex::new(Some(sender))));
        let started = Started {
            number,
            results,
            outbox: outbox.clone(),
        };
        let waiter = Waiter::new(&started);
        let closing = Closing(outbox);
        runtime.spawn(async move {
            let result = work.await;
            closing.0.send(result);
        });
        schedule.started = number;
        schedule.last = Some(started);
        Some(waiter)
    }

    /// Wakes the waiters of this task, if it is still under way, and lets the next one start. Its own result, should
    /// it come to one, is dropped.
    #[allow(dead_code)]
    pub(crate) fn give_up(&self, number: u64) {
        let schedule = self.lock();
        let last = schedule.last.as_ref();
        if let Some(started) = last.filter(|started| started.number == number) {
            started.outbox.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Schedule<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Started ===

impl<T> Started<T> {
    fn is_under_way(&self) -> bool {
        self.results.has_changed().is_ok() && self.results.borrow().is_none()
    }
}

// === impl Outbox ===

impl<T> Outbox<T> {
    fn send(&self, result: T) {
        if let Some(sender) = self.take() {
            sender.send_replace(Some(result));
        }
    }

    fn close(&self) {
        drop(self.take());
    }

    fn take(&self) -> Option<watch::Sender<Option<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Closing<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

// === impl Waiter ===

impl<T> Waiter<T>
where
    T: Clone + Send + Sync + 'static,
{
    /// `None` for a flight that has landed: its result answers those who asked before, not those who ask now.
    fn of(started: &Started<T>) -> Option<Self> {
        started.is_under_way().then(|| Self::new(started))
    }

    fn new(started: &Started<T>) -> Self {
        let mut results = started.results.clone();
        Self {
            number: started.number,
            result: Box::pin(async move {
                let result = results.wait_for(Option::is_some).await.ok()?;
                result.clone()
            }),
        }
    }
}

impl<T> Waiter<T> {
    /// Which task it waits for.
    #[allow(dead_code)]
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl<T> Future for Waiter<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.result.as_mut().poll(cx)
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
        let start = |_| {
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
        drop(flight.board(|_| Some(async move { opened.notified().await })));
        let other = flight.join().unwrap();
        gate.notify_one();
        assert_eq!(other.await, Some(()));
    }

    #[tokio::test]
    async fn a_task_that_panics_wakes_its_waiters() {
        let flight: Flight<()> = Flight::new();
        let waiter = flight
            .board(|_| Some(async { panic!("on purpose") }))
            .unwrap();
        assert_eq!(waiter.await, None);
        assert_eq!(flight.board(|_| Some(async {})).unwrap().await, Some(()));
    }

    #[test]
    fn a_runtime_that_goes_away_wakes_its_waiters() {
        let flight: Flight<()> = Flight::new();
        let doomed = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let entered = doomed.enter();
        let waiter = flight.board(|_| Some(std::future::pending())).unwrap();
        drop(entered);
        drop(doomed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        assert_eq!(runtime.block_on(waiter), None);
    }

    #[test]
    fn a_task_that_nobody_drives_can_be_given_up_and_is_replaced() {
        let flight = Flight::new();
        let runtime = || tokio::runtime::Builder::new_current_thread().build();
        let (stalled, driven) = (runtime().unwrap(), runtime().unwrap());
        let entered = stalled.enter();
        let waiter = flight.board(|_| Some(async { "late" })).unwrap();
        drop(entered);
        flight.give_up(waiter.number() + 1);
        let joined = flight.join().expect("another number gives up nothing");
        flight.give_up(waiter.number());
        assert!(flight.join().is_none());
        let given_up = driven.block_on(async { (waiter.await, joined.await) });
        assert_eq!(given_up, (None, None));
        let entered = driven.enter();
        let next = flight.board(|_| Some(async { "in time" })).unwrap();
        drop(entered);
        stalled.block_on(tokio::task::yield_now());
        assert_eq!(driven.block_on(next), Some("in time"));
    }

    #[tokio::test]
    async fn a_start_that_declines_leaves_nothing_behind() {
        let flight: Flight<()> = Flight::new();
        assert!(flight.board(|_| None::<std::future::Pending<()>>).is_none());
        assert!(flight.join().is_none());
    }

    #[test]
    fn outside_of_a_runtime_nothing_starts_and_nothing_panics() {
        let flight: Flight<()> = Flight::new();
        assert!(flight.board(|_| Some(async {})).is_none());
    }
}
