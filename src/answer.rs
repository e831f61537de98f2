//! The body of an answer: the inner service's own, or one that a gate wrote.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response that passed a gate: the inner service's, or the refusal's own bytes.
    ///
    /// It is not boxed, so that a refusal can carry a body on any stack.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
        // Until the body has ended, well or badly, or nobody wants it any more.
        held: Option<Hold>,
    }
}

/// What is dropped when the body of an answer has ended.
pub(crate) type Hold = Box<dyn Any + Send + Sync>;

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
    pub(crate) fn inner(body: B, held: Option<Hold>) -> Self {
        let kind = Kind::Inner { body };
        Self { kind, held }
    }

    /// The inner service's own body, for stacks that box bodies: a box round that of each layer would be many.
    ///
    /// ```
    /// use portcullis::{Protocol, Reason, Rejection, ResponseBody};
    ///
    /// let refusal: ResponseBody<String> = Rejection::new(Reason::NoRoute).into_response(Protocol::Http).into_body();
    /// assert!(refusal.into_inner().is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// This body as it is, where it is a refusal's, or where a limit of requests in flight waits for its end.
    pub fn into_inner(self) -> Result<B, Self> {
        match self {
            Self {
                kind: Kind::Inner { body },
                held: None,
            } => Ok(body),
            other => Err(other),
        }
    }

    /// An empty `bytes` is a body that ends before its first frame, as a trailers-only answer needs.
    pub(crate) fn own(bytes: Bytes) -> Self {
        let bytes = (!bytes.is_empty()).then_some(bytes);
        Self {
            kind: Kind::Own { bytes },
            held: None,
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
                let frame = std::task::ready!(body.poll_frame(cx));
                if !matches!(frame, Some(Ok(_))) {
                    *this.held = None;
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
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_inner_body_comes_out_and_only_where_nothing_waits_for_its_end() {
        assert_eq!(ResponseBody::inner("a", None).into_inner().ok(), Some("a"));
        let held: Hold = Box::new(());
        assert!(ResponseBody::inner("a", Some(held)).into_inner().is_err());
        let own = ResponseBody::<&str>::own(Bytes::from_static(b"refused"));
        assert!(own.into_inner().is_err());
    }
}
