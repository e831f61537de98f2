//! The caller of the request that this task serves.

use std::future::Future;
use std::task::{Context, Poll};

use http::Request;
use tokio::task::futures::TaskLocalFuture;
use tower::Service;

use crate::identity::Caller;
use crate::inner_accessors::inner_accessors;

tokio::task_local! {
    static CALLER: Option<Caller>;
}

/// Runs `future` for `caller`: what it calls through a [`TokenPropagationLayer`](crate::TokenPropagationLayer) is
/// called in that caller's name, `None` in nobody's. The token is sent as it is, even when it has expired meanwhile.
///
/// [`IdentityHeadersLayer`](crate::IdentityHeadersLayer) does this for every request. A task that is spawned while a
/// request is served starts without a caller; give it this one on purpose:
///
/// ```
/// use portcullis::Caller;
/// use portcullis::propagate::{current_caller, with_caller};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// with_caller(Some(Caller::Anonymous), async {
///     let forgotten = tokio::spawn(async { current_caller() });
///     assert!(forgotten.await.unwrap().is_none());
///
///     let carried = tokio::spawn(with_caller(current_caller(), async { current_caller() }));
///     assert!(matches!(carried.await.unwrap(), Some(Caller::Anonymous)));
/// })
/// .await;
/// # }
/// ```
pub fn with_caller<F: Future>(
    caller: Option<Caller>,
    future: F,
) -> impl Future<Output = F::Output> {
    CALLER.scope(caller, future)
}

/// The caller of the request that this task serves, `None` outside of one.
///
/// A response body is polled by the server after the request's future has ended, so there it is `None` too: what a
/// stream needs must be read before the response is returned.
#[must_use]
pub fn current_caller() -> Option<Caller> {
    CALLER.try_with(Option::clone).ok().flatten()
}

/// Opens the scope round an inner service, for the caller in the extensions of each request.
#[derive(Clone, Debug)]
pub(crate) struct Scoped<S> {
    inner: S,
}

// === impl Scoped ===

impl<S> Scoped<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

inner_accessors!(pub(crate) Scoped);

impl<S, B> Service<Request<B>> for Scoped<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TaskLocalFuture<Option<Caller>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Opened even without a caller: the request of a stranger must not inherit that of the task it arrives on.
        let caller = Caller::of(request.extensions()).cloned();
        // A proxy may well call its client before it returns its future.
        let future = CALLER.sync_scope(caller.clone(), || self.inner.call(request));
        CALLER.scope(caller, future)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt, service_fn};

    use super::super::fixture::{subject, verified};
    use super::*;

    #[tokio::test]
    async fn the_scope_covers_the_call_and_the_future() {
        let service = Scoped::new(service_fn(|_: Request<()>| {
            let in_call = subject(current_caller());
            async move { Ok::<_, Infallible>((in_call, subject(current_caller()))) }
        }));
        let mut request = Request::new(());
        request.extensions_mut().insert(verified());
        let (in_call, in_future) = service.oneshot(request).await.unwrap();
        assert_eq!(in_call.as_deref(), Some("alice"));
        assert_eq!(in_future.as_deref(), Some("alice"));
        assert!(current_caller().is_none());
    }

    #[tokio::test]
    async fn a_request_without_a_caller_does_not_inherit_the_tasks() {
        let service = Scoped::new(service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(current_caller())
        }));
        let call = with_caller(Some(verified()), service.oneshot(Request::new(())));
        assert!(call.await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_spawned_task_has_a_caller_only_if_it_is_given_one() {
        with_caller(Some(verified()), async {
            let forgotten = tokio::spawn(async { current_caller() });
            assert!(forgotten.await.unwrap().is_none());
            let carried = with_caller(current_caller(), async { current_caller() });
            let carried = tokio::spawn(carried).await.unwrap();
            assert_eq!(subject(carried).as_deref(), Some("alice"));
        })
        .await;
    }

    #[tokio::test]
    async fn an_inner_scope_ends_with_its_future() {
        with_caller(Some(verified()), async {
            with_caller(None, async { assert!(current_caller().is_none()) }).await;
            assert_eq!(subject(current_caller()).as_deref(), Some("alice"));
        })
        .await;
    }
}
