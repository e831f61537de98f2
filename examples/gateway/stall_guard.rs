//! The stall guard: aborts responses that the client has stopped reading.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

/// The request/response exchanges of one connection. The owner of the connection calls
/// [`look`](Self::look) periodically.
///
/// A body that is not polled cannot notice that it has stalled. Checking all exchanges of a
/// connection from outside needs no task and no timer per exchange.
#[derive(Clone, Default)]
pub(crate) struct Exchanges(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    list: Vec<Weak<Mutex<State>>>,
    has_begun: bool,
    was_any: bool,
}

/// One request and its response, from the arrival of the request. Ends on drop.
pub(crate) struct Exchange(Arc<Mutex<State>>);

struct State {
    /// `None` before there is a response, and after it was aborted.
    body: Option<Body>,
    turn: Turn,
}

/// Which side an exchange waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The upstream, which may be silent without limit: it may have nothing to send.
    Upstream,
    /// The client has data to read.
    Client,
    /// The client had data to read at the last check, too.
    StillClient,
    /// Neither: the response was aborted.
    Over,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The number of responses that this check aborted.
    pub(crate) cut: usize,
    /// No exchange is in progress, and none began since the last check.
    pub(crate) is_idle: bool,
}

/// The client stopped reading.
#[derive(Debug)]
struct Stalled;

// === impl Exchanges ===

impl Exchanges {
    pub(crate) fn begin(&self) -> Exchange {
        let state = Arc::new(Mutex::new(State {
            body: None,
            turn: Turn::Upstream,
        }));
        let mut open = lock(&self.0);
        open.has_begun = true;
        open.was_any = true;
        // Prune before the list grows, so that it stays near the number of exchanges in progress.
        if open.list.len() == open.list.capacity() {
            open.list.retain(|state| state.strong_count() > 0);
        }
        open.list.push(Arc::downgrade(&state));
        Exchange(state)
    }

    /// Whether an exchange began since the last check.
    pub(crate) fn has_begun(&self) -> bool {
        lock(&self.0).has_begun
    }

    /// Whether there were exchanges, and all have ended.
    pub(crate) fn are_over(&self) -> bool {
        let open = lock(&self.0);
        open.was_any && open.list.iter().all(|state| state.strong_count() == 0)
    }

    /// Aborts each response of which the client has read nothing since the last check.
    pub(crate) fn look(&self) -> Seen {
        let mut open = lock(&self.0);
        let (mut cut, mut under_way) = (0, 0);
        open.list.retain(|state| {
            let Some(state) = state.upgrade() else {
                return false;
            };
            let mut state = lock(&state);
            match state.turn {
                Turn::Client => state.turn = Turn::StillClient,
                Turn::StillClient => {
                    // Dropping the body releases the upstream's connection or stream.
                    state.body = None;
                    state.turn = Turn::Over;
                    cut += 1;
                }
                Turn::Upstream | Turn::Over => {}
            }
            under_way += usize::from(state.turn != Turn::Over);
            true
        });
        let has_begun = std::mem::take(&mut open.has_begun);
        let is_idle = under_way == 0 && !has_begun;
        Seen { cut, is_idle }
    }
}

// === impl Exchange ===

impl Exchange {
    /// Wraps the response, so that the exchange ends with it.
    pub(crate) fn answer(self, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        lock(&self.0).body = Some(body);
        Response::from_parts(parts, Body::new(self))
    }
}

impl HttpBody for Exchange {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut state = lock(&self.0);
        let Some(body) = &mut state.body else {
            return Poll::Ready(Some(Err(axum::Error::new(Stalled))));
        };
        let frame = Pin::new(body).poll_frame(cx);
        state.turn = match frame {
            Poll::Ready(Some(Ok(_))) => Turn::Client,
            _ => Turn::Upstream,
        };
        frame
    }

    fn is_end_stream(&self) -> bool {
        let state = lock(&self.0);
        state.body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let state = lock(&self.0);
        let hint = state.body.as_ref().map(Body::size_hint);
        hint.unwrap_or_default()
    }
}

// === impl Stalled ===

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client did not read the response in time")
    }
}

impl Error for Stalled {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
