//! The caller of the request that the current task serves.
//!
//! A scope is entered for each poll of a future and left when the poll returns, as tokio's
//! task-local variables do. It costs an authenticated request about 350 instructions, a fifth of a
//! token cache hit. So `JwtAuth` opens it only in processes that use scopes at all: after the
//! first `TokenPropagationLayer` was built or `with_caller` was called.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::Request;
use pin_project_lite::pin_project;
use tower::Service;

use crate::identity::Caller;
use crate::inner_accessors::inner_accessors;

thread_local! {
    static CURRENT: Cell<Option<Caller>> = const { Cell::new(None) };
}

/// Whether this process uses scopes. If not, no task has a current caller.
static IN_USE: AtomicBool = AtomicBool::new(false);

pin_project! {
    /// A future that runs inside the scope of a caller.
    #[derive(Debug)]
    #[must_use]
    pub(crate) struct InScope<F> {
        // `None` if scopes are not used.
        caller: Option<Option<Caller>>,
        #[pin]
        future: F,
    }
}

/// A service that opens a scope for the caller in the extensions of each request.
#[derive(Clone, Debug)]
pub(crate) struct Scoped<S> {
    inner: S,
}

/// A guard: until it is dropped, the given caller is the current one, and the slot holds the outer
/// caller.
struct Entered<'a> {
    slot: &'a mut Option<Caller>,
}

/// Runs `future` in the scope of `caller`.
///
/// A [`TokenPropagationLayer`](crate::TokenPropagationLayer) inside the future sends this caller's
/// token, or none if the caller is `None`. The token is sent as it is, even if it has expired in
/// the meantime.
///
/// [`JwtAuthLayer`](crate::JwtAuthLayer) does this for every request in a process that has built a
/// `TokenPropagationLayer`. A task that is spawned while a request is served starts without a
/// caller:
///
/// ```
/// use portcullis::Caller;
/// use portcullis::propagate::{current_caller, with_caller};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// with_caller(Some(Caller::Anonymous), async {
///     let without = tokio::spawn(async { current_caller() });
///     assert!(without.await.unwrap().is_none());
///
///     let with = tokio::spawn(with_caller(current_caller(), async { current_caller() }));
///     assert!(matches!(with.await.unwrap(), Some(Caller::Anonymous)));
/// })
/// .await;
/// # }
/// ```
pub fn with_caller<F: Future>(
    caller: Option<Caller>,
    future: F,
) -> impl Future<Output = F::Output> {
    use_scopes();
    let caller = Some(caller);
    InScope { caller, future }
}

/// Makes `JwtAuth` open a scope for each later request.
pub(crate) fn use_scopes() {
    IN_USE.store(true, Ordering::Relaxed);
}

/// Returns the caller of the request that the current task serves. Returns `None` outside of a
/// request, and in processes that have not built a
/// [`TokenPropagationLayer`](crate::TokenPropagationLayer).
///
/// A server polls the response body after the future of the request has ended, so a body finds no
/// current caller. Read the caller before the handler returns the stream.
#[must_use]
pub fn current_caller() -> Option<Caller> {
    CURRENT
        .try_with(|current| {
            let caller = current.take();
            let copy = caller.clone();
            current.set(caller);
            copy
        })
        .ok()
        .flatten()
}

// === impl Entered ===

impl<'a> Entered<'a> {
    fn new(slot: &'a mut Option<Caller>) -> Self {
        exchange(slot);
        Self { slot }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        exchange(self.slot);
    }
}

fn exchange(slot: &mut Option<Caller>) {
    // Fails only while the thread ends, and then nothing is polled any more.
    let _ = CURRENT.try_with(|current| *slot = current.replace(slot.take()));
}

// === impl InScope ===

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.caller.as_mut().map(Entered::new);
        this.future.poll(cx)
    }
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
    type Future = InScope<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !IN_USE.load(Ordering::Relaxed) {
            let future = self.inner.call(request);
            let caller = None;
            return InScope { caller, future };
        }
        // A request without a caller must not inherit the caller of the task that serves it.
        let mut caller = Caller::of(request.extensions()).cloned();
        // An inner service may send requests in `call`, before it returns its future.
        let entered = Entered::new(&mut caller);
        let future = self.inner.call(request);
        drop(entered);
        let caller = Some(caller);
        InScope { caller, future }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::propagate::fixture::{subject, verified};

    #[tokio::test]
    async fn the_scope_covers_the_call_and_the_future() {
        use_scopes();
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
    async fn a_request_inherits_no_caller() {
        let service = Scoped::new(service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(current_caller())
        }));
        let call = with_caller(Some(verified()), service.oneshot(Request::new(())));
        assert!(call.await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_spawned_task_inherits_no_caller() {
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

    #[tokio::test]
    async fn two_scopes_on_one_thread_are_separate() {
        let scoped = |subject: &'static str| {
            let caller = crate::propagate::fixture::caller(subject, &[], serde_json::json!({}));
            with_caller(Some(caller), async move {
                for _ in 0..3 {
                    assert_eq!(self::subject(current_caller()).as_deref(), Some(subject));
                    tokio::task::yield_now().await;
                }
            })
        };
        tokio::join!(scoped("alice"), scoped("bob"), async {
            assert!(current_caller().is_none());
        });
    }

    #[test]
    fn a_panic_ends_the_scope() {
        let panics = with_caller(Some(verified()), async { panic!("in a handler") });
        let mut panics = Box::pin(panics);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let poll = std::panic::AssertUnwindSafe(|| panics.as_mut().poll(&mut cx));
        assert!(std::panic::catch_unwind(poll).is_err());
        assert!(current_caller().is_none());
    }
}
