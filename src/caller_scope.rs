//! The caller of the request that the current task serves.
//!
//! A scope is entered for each poll of a future and left when the poll returns, as tokio's
//! task-local variables do. The gate enters the scope of an authenticated request, and only in
//! processes that use scopes: after the first `TokenPropagationLayer` was built or `with_caller`
//! was called.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::identity::Caller;

thread_local! {
    static CURRENT: Cell<Option<Caller>> = const { Cell::new(None) };
}

/// Whether this process uses scopes. If not, no task has a current caller.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// The caller of a request, while its scope is not entered; the outer caller, while it is.
#[derive(Debug)]
pub(crate) struct CallerScope(Option<Caller>);

/// Leaves the scope when it is dropped.
#[must_use]
pub(crate) struct Entered<'a>(&'a mut CallerScope);

pin_project! {
    struct InScope<F> {
        scope: CallerScope,
        #[pin]
        future: F,
    }
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
    let scope = CallerScope(caller);
    InScope { scope, future }
}

/// From now on, every authenticated request has a scope.
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

// === impl CallerScope ===

impl CallerScope {
    /// The scope of a caller, if this process uses scopes.
    ///
    /// An anonymous request has a scope too: it must not inherit the caller of the task that it
    /// arrives on.
    pub(crate) fn new(caller: &Caller) -> Option<Self> {
        let scope = || Self(Some(caller.clone()));
        IN_USE.load(Ordering::Relaxed).then(scope)
    }

    pub(crate) fn enter(&mut self) -> Entered<'_> {
        self.exchange();
        Entered(self)
    }

    fn exchange(&mut self) {
        // Fails only while the thread ends, and then no future is polled.
        let _ = CURRENT.try_with(|current| self.0 = current.replace(self.0.take()));
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.exchange();
    }
}

// === impl InScope ===

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.scope.enter();
        this.future.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::propagate::fixture::{subject, verified};

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
