//! Waiting for a fetch, and never longer than a fetch can take.
//!
//! A fetch lives on the runtime of whoever started it, and ends in time as long as somebody drives that. Nobody may:
//! a runtime that is entered only to look something up stands still. So everyone who waits keeps time himself, on the
//! runtime that drives *him*.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::fetch::FetchError;
use super::issuer::IssuerKeys;
use crate::flight;

/// The end of a fetch: the keys are in force by then.
pub(super) type Flown = flight::Waiter<Result<(), FetchError>>;

/// Ends when the fetch under way ends, well or badly, or could have. Dropping it cancels nothing.
#[derive(Debug)]
pub(crate) struct Waiter {
    arrival: Arrival,
    /// A fetch that began before the token came may have been answered before the token's key was published. Then one
    /// that begins now is waited for.
    again: Option<Box<str>>,
    _seat: OwnedSemaphorePermit,
}

/// Waits for one fetch; `None` if it was abandoned.
#[derive(Debug)]
pub(super) struct Arrival {
    keys: Arc<IssuerKeys>,
    flight: Flown,
    alarm: Option<Alarm>,
}

/// Sleeps in a task of its own: `tokio::time` panics on a runtime without a time driver, and so ends that task only.
struct Alarm(Option<JoinHandle<()>>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rung {
    InTime,
    /// Nobody keeps time here, so that no time can be told.
    Broken,
}

// === impl Waiter ===

impl Waiter {
    pub(super) fn new(arrival: Arrival, again: Option<&str>, seat: OwnedSemaphorePermit) -> Self {
        Self {
            arrival,
            again: again.map(Into::into),
            _seat: seat,
        }
    }
}

impl Future for Waiter {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let landed = ready!(Pin::new(&mut self.arrival).poll(cx));
            let keys = &self.arrival.keys;
            let again = self.again.as_deref().filter(|_| landed.is_some());
            let Some(flight) = again.and_then(|kid| keys.ask_again(kid)) else {
                return Poll::Ready(());
            };
            self.arrival = Arrival::new(Arc::clone(keys), flight);
            self.again = None;
        }
    }
}

// === impl Arrival ===

impl Arrival {
    pub(super) fn new(keys: Arc<IssuerKeys>, flight: Flown) -> Self {
        Self {
            keys,
            flight,
            alarm: None,
        }
    }
}

impl Future for Arrival {
    type Output = Option<Result<(), FetchError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(landed) = Pin::new(&mut this.flight).poll(cx) {
            return Poll::Ready(landed);
        }
        let patience = this.keys.settings.patience();
        let alarm = this.alarm.get_or_insert_with(|| Alarm::set(patience));
        if ready!(Pin::new(alarm).poll(cx)) == Rung::InTime {
            this.keys.give_up(this.flight.number());
        }
        Poll::Ready(None)
    }
}

// === impl Alarm ===

impl Alarm {
    fn set(after: Duration) -> Self {
        let sleep = async move { tokio::time::sleep(after).await };
        Self(Handle::try_current().ok().map(|here| here.spawn(sleep)))
    }
}

impl Future for Alarm {
    type Output = Rung;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Rung> {
        let Some(sleep) = &mut self.0 else {
            return Poll::Ready(Rung::Broken);
        };
        let slept = ready!(Pin::new(sleep).poll(cx));
        Poll::Ready(slept.map_or(Rung::Broken, |()| Rung::InTime))
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(sleep) = &self.0 {
            sleep.abort();
        }
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alarm")
    }
}
