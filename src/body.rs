//! Response bodies: of the inner service, or of a rejection.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response behind a layer of this crate: the inner service's body, or the bytes
    /// of a rejection.
    ///
    /// The inner body is not boxed.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
        guard: Option<BodyGuard>,
    }
}

/// A value that is dropped when the body has ended, failed, or was dropped.
pub(crate) type BodyGuard = Box<dyn Any + Send + Sync>;

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Own { bytes: Option<Bytes> },
    }
}

// === impl ResponseBody ===

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B, guard: Option<BodyGuard>) -> Self {
        let kind = Kind::Inner { body };
        Self { kind, guard }
    }

    /// Creates a body from bytes. An empty body ends before its first frame, as a trailers-only
    /// gRPC response requires.
    pub(crate) fn own(bytes: Bytes) -> Self {
        let bytes = (!bytes.is_empty()).then_some(bytes);
        Self {
            kind: Kind::Own { bytes },
            guard: None,
        }
    }

    /// Returns the inner service's body, so that a stack that boxes bodies needs one box and not
    /// one per layer.
    ///
    /// ```
    /// use portcullis::{Protocol, Reason, Rejection, ResponseBody};
    ///
    /// let response = Rejection::new(Reason::Expired).render(Protocol::Http);
    /// let body: ResponseBody<String> = response.into_body();
    /// assert!(body.into_inner().is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the body unchanged if it belongs to a rejection, or if it holds a permit of a limit
    /// on requests in flight.
    pub fn into_inner(self) -> Result<B, Self> {
        match self {
            Self {
                kind: Kind::Inner { body },
                guard: None,
            } => Ok(body),
            other => Err(other),
        }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::own(Bytes::new())
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        match this.kind.project() {
            KindProj::Inner { body } => {
                let frame = ready!(body.poll_frame(cx));
                if !matches!(frame, Some(Ok(_))) {
                    *this.guard = None;
                }
                Poll::Ready(frame)
            }
            KindProj::Own { bytes } => Poll::Ready(bytes.take().map(|data| Ok(Frame::data(data)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Own { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Own { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn into_inner_returns_only_unguarded_inner_bodies() {
        assert_eq!(ResponseBody::inner("a", None).into_inner().ok(), Some("a"));
        let guard: BodyGuard = Box::new(());
        assert!(ResponseBody::inner("a", Some(guard)).into_inner().is_err());
        let own = ResponseBody::<&str>::own(Bytes::from_static(b"rejected"));
        assert!(own.into_inner().is_err());
    }
}
