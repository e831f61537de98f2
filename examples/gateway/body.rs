//! Request bodies: enforces the size limit and records whether the client aborted.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// A body that fails once it exceeds the limit.
///
/// The failure aborts the request to the upstream, so the upstream never takes a part for the
/// whole. If the body is dropped before its end, a bounded part of the rest is read and discarded:
/// a client that is still sending would otherwise see a broken connection instead of the response.
pub(crate) struct Limited {
    body: Body,
    left: u64,
    outcome: BodyOutcome,
    /// Whether the client waits for `100 Continue`, which the first read sends (RFC 9110 section
    /// 10.1.1).
    is_held: bool,
}

/// The outcome of a body, for the code that forwards it.
#[derive(Clone, Default)]
pub(crate) struct BodyOutcome(Arc<AtomicU8>);

/// The body exceeds the limit.
#[derive(Debug)]
struct TooLarge;

/// How long the rest of a rejected body is read.
const LINGER: Duration = Duration::from_secs(2);

#[cfg(test)]
const GOOD: u8 = 0;
const TOO_LARGE: u8 = 1;
const BROKEN: u8 = 2;

// === impl Limited ===

impl Limited {
    pub(crate) fn new(body: Body, max: u64, headers: &HeaderMap) -> (Self, BodyOutcome) {
        let outcome = BodyOutcome::default();
        let limited = Self {
            body,
            left: max,
            outcome: outcome.clone(),
            is_held: headers.contains_key(EXPECT),
        };
        (limited, outcome)
    }
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_held = false;
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = Body::empty();
        }
        // Trailers are dropped, because some servers merge them into the headers and would accept a
        // header that was removed.
        let frame = frame.filter(|frame| !frame.as_ref().is_ok_and(Frame::is_trailers));
        let length = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len) as u64,
            Some(Err(_)) => {
                self.outcome.0.store(BROKEN, Ordering::Relaxed);
                0
            }
            None => 0,
        };
        match self.left.checked_sub(length) {
            Some(left) => self.left = left,
            None => {
                self.outcome.0.store(TOO_LARGE, Ordering::Relaxed);
                return Poll::Ready(Some(Err(axum::Error::new(TooLarge))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        if self.is_held || self.body.is_end_stream() {
            return;
        }
        let mut body = std::mem::take(&mut self.body);
        let rest = async move { while let Some(Ok(_)) = body.frame().await {} };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(LINGER, rest));
        }
    }
}

// === impl BodyOutcome ===

impl BodyOutcome {
    pub(crate) fn is_too_large(&self) -> bool {
        self.0.load(Ordering::Relaxed) == TOO_LARGE
    }

    /// Whether the client aborted the body or framed it incorrectly.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.load(Ordering::Relaxed) == BROKEN
    }

    #[cfg(test)]
    fn is_good(&self) -> bool {
        self.0.load(Ordering::Relaxed) == GOOD
    }
}

// === impl TooLarge ===

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body is too large")
    }
}

impl Error for TooLarge {}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::to_bytes;
    use axum::http::HeaderValue;
    use http_body_util::StreamBody;

    use super::*;

    #[tokio::test]
    async fn body_over_limit_fails() {
        for (max, fits) in [(2, false), (3, true)] {
            let (body, outcome) = Limited::new(Body::from("abc"), max, &HeaderMap::new());
            assert_eq!(to_bytes(Body::new(body), 9).await.is_ok(), fits);
            assert_eq!((outcome.is_good(), outcome.is_too_large()), (fits, !fits));
            assert!(!outcome.is_broken());
        }
    }

    #[tokio::test]
    async fn trailers_are_not_forwarded() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-user-id", HeaderValue::from_static("root"));
        let frames = [Frame::data(Bytes::from("abc")), Frame::trailers(trailers)];
        let frames = futures_util::stream::iter(frames.map(Ok::<_, Infallible>));
        let (body, _) = Limited::new(Body::new(StreamBody::new(frames)), 3, &HeaderMap::new());
        let body = body.collect().await.unwrap();
        assert!(body.trailers().is_none());
        assert_eq!(body.to_bytes(), "abc");
    }
}
