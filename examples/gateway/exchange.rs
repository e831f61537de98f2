//! The exchanges of a connection, which end where the client takes nothing any more.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

/// Those of one connection. Whoever owns the connection looks at them from time to time.
///
/// A body that is not asked for more cannot notice how long that is. Hence it is looked at from outside, and all of a
/// connection's at once: that needs no task and no timer for each.
#[derive(Clone, Default)]
pub(crate) struct Exchanges(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    list: Vec<Weak<Mutex<State>>>,
    has_begun: bool,
    was_any: bool,
}

/// One, from the request on. It is over when this goes.
pub(crate) struct Exchange(Arc<Mutex<State>>);

struct State {
    /// `None` before there is an answer, and once it is cut off.
    body: Option<Body>,
    turn: Turn,
}

/// Who has to do something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The upstream, which may be silent for as long as it likes: it may have nothing to tell.
    Upstream,
    /// The client has to take what is there.
    Client,
    /// It was the client's turn at the last look, too.
    StillClient,
    /// Nobody: the answer is cut off.
    Over,
}

/// What was seen at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Answers that were cut off now.
    pub(crate) cut: usize,
    /// Nothing is under way, and nothing began since the last look.
    pub(crate) is_idle: bool,
}

/// The client took nothing.
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
        // Before the list grows: it never has many more than are under way at once.
        if open.list.len() == open.list.capacity() {
            open.list.retain(|state| state.strong_count() > 0);
        }
        open.list.push(Arc::downgrade(&state));
        Exchange(state)
    }

    /// Whether there was one since the last look.
    pub(crate) fn has_begun(&self) -> bool {
        lock(&self.0).has_begun
    }

    /// Whether there were any, and none is under way.
    pub(crate) fn are_over(&self) -> bool {
        let open = lock(&self.0);
        open.was_any && open.list.iter().all(|state| state.strong_count() == 0)
    }

    /// Cuts off each answer of which the client took nothing since the last look.
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
                    // With it goes what it has of the upstream: a connection, or a stream of one.
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
    /// Goes on with this answer, to its end.
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
        f.write_str("the client took nothing of the answer for too long")
    }
}

impl Error for Stalled {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
