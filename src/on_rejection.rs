//! Rejections in the application's own format.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::body::ResponseBody;
use crate::inner_accessors::inner_accessors;
use crate::manifest::{Describe, Entry};
use crate::protocol::Protocol;
use crate::rejection::Rejection;

/// Renders the rejections of all layers and extractors below it in the application's own format.
///
/// The function receives the rejection and its default response: the status, the headers (with
/// `WWW-Authenticate`, `Retry-After` and `RateLimit`) and the problem document as body. Any part
/// that it does not change is sent unchanged. `Content-Length` is set afterwards.
///
/// * A [`Rejection`] that a handler returns is rendered too.
/// * Responses to gRPC and gRPC-Web are not changed, because clients read their status from headers
///   of a fixed form. Responses of the application that were not made from a `Rejection` are not
///   changed either.
/// * Put the layer outside of the other layers of this crate, and inside of layers that compress.
///
/// The function has no access to the request. If the format depends on the request, write a
/// middleware instead: it finds the `Rejection` in the extensions of the response.
///
/// ```
/// use http::{HeaderValue, header};
/// use portcullis::{JwtAuthLayer, OnRejectionLayer};
/// use tower::ServiceBuilder;
///
/// # fn main() -> Result<(), portcullis::ConfigError> {
/// let auth = JwtAuthLayer::from_issuer("https://id.example.com/", "orders-api")?;
/// let stack = ServiceBuilder::new()
///     .layer(OnRejectionLayer::new(|rejection, response| {
///         let json = HeaderValue::from_static("application/json");
///         response.headers_mut().insert(header::CONTENT_TYPE, json);
///         *response.body_mut() = format!(r#"{{"error":"{}"}}"#, rejection.reason()).into();
///     }))
///     .layer(auth);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[doc(alias = "error_handler", alias = "HandleErrorLayer")]
pub struct OnRejectionLayer {
    render: Render,
}

/// A service whose rejections are rendered by the application. Made by [`OnRejectionLayer`].
#[derive(Clone)]
pub struct OnRejection<S> {
    render: Render,
    inner: S,
}

pin_project! {
    /// The response future of [`OnRejection`].
    pub struct OnRejectionFuture<F> {
        #[pin]
        inner: F,
        render: Render,
    }
}

type Render = Arc<dyn Fn(&Rejection, &mut Response<Bytes>) + Send + Sync>;

// === impl OnRejectionLayer ===

impl OnRejectionLayer {
    /// A layer that lets `render` change the response of each rejection.
    pub fn new(render: impl Fn(&Rejection, &mut Response<Bytes>) + Send + Sync + 'static) -> Self {
        let render = Arc::new(render);
        Self { render }
    }
}

impl<S> Layer<S> for OnRejectionLayer {
    type Service = OnRejection<S>;

    fn layer(&self, inner: S) -> OnRejection<S> {
        let render = Arc::clone(&self.render);
        OnRejection { render, inner }
    }
}

impl Describe for OnRejectionLayer {
    /// It decides nothing, so a manifest does not list it.
    fn describe(&self, _: &mut Entry) {}
}

impl fmt::Debug for OnRejectionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnRejectionLayer").finish_non_exhaustive()
    }
}

// === impl OnRejection ===

inner_accessors!(pub OnRejection);

impl<S, B, R> Service<Request<B>> for OnRejection<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = OnRejectionFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        OnRejectionFuture {
            inner: self.inner.call(request),
            render: Arc::clone(&self.render),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for OnRejection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnRejection")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

// === impl OnRejectionFuture ===

impl<F, R, E> Future for OnRejectionFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let rejection = response.extensions().get::<Rejection>();
        Poll::Ready(Ok(match rejection.map(Rejection::protocol) {
            Some(protocol @ (Protocol::Http | Protocol::Head)) => {
                rendered(this.render, protocol, response)
            }
            Some(Protocol::Grpc(_)) | None => response.map(|body| ResponseBody::inner(body, None)),
        }))
    }
}

impl<F> fmt::Debug for OnRejectionFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnRejectionFuture").finish_non_exhaustive()
    }
}

fn rendered<R>(
    render: &Render,
    protocol: Protocol,
    response: Response<R>,
) -> Response<ResponseBody<R>> {
    let (parts, _) = response.into_parts();
    let Some(rejection) = parts.extensions.get::<Rejection>().cloned() else {
        return Response::from_parts(parts, ResponseBody::own(Bytes::new()));
    };
    let mut response = Response::from_parts(parts, rejection.document());
    render(&rejection, &mut response);
    // For the layers outside, such as a rate limit of failures, if `render` made another response.
    response.extensions_mut().insert(rejection);
    let length = HeaderValue::from(response.body().len());
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response.map(|body| {
        ResponseBody::own(if protocol == Protocol::Head {
            Bytes::new()
        } else {
            body
        })
    })
}
