//! A scripted fetch service, and key sets for it. For tests.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use serde_json::json;
use tokio::sync::Notify;
use tower::Service;

use super::fetch::BoxFuture;
use super::{FetchError, FetchJwks, KeySet};
use crate::algorithm::Algorithm;
pub(super) use crate::crypto::testing::Signer;

/// Returns `answer`, counts the fetches, and waits for `gate` if there is one.
#[derive(Clone)]
pub(super) struct Issuer(Arc<Inner>);

struct Inner {
    answer: Mutex<Answer>,
    fetches: AtomicU32,
    gate: Mutex<Option<Arc<Notify>>>,
}

#[derive(Clone)]
pub(super) enum Answer {
    Keys(KeySet),
    Status(u16),
    Panic,
}

/// A set of P-256 keys with these kids.
pub(super) fn keys<const N: usize>(kids: [&str; N]) -> KeySet {
    KeySet::from_json(json(kids).as_bytes()).unwrap()
}

pub(super) fn json<const N: usize>(kids: [&str; N]) -> String {
    let keys = kids.map(|kid| Signer::of(Algorithm::ES256).jwk(kid));
    json!({ "keys": keys.as_slice() }).to_string()
}

// === impl Issuer ===

impl Issuer {
    pub(super) fn new(answer: Answer) -> Self {
        Self(Arc::new(Inner {
            answer: Mutex::new(answer),
            fetches: AtomicU32::new(0),
            gate: Mutex::new(None),
        }))
    }

    pub(super) fn answers(&self, answer: Answer) {
        *self.0.answer.lock().unwrap() = answer;
    }

    pub(super) fn publishes<const N: usize>(&self, kids: [&str; N]) {
        self.answers(Answer::Keys(keys(kids)));
    }

    pub(super) fn fetches(&self) -> u32 {
        self.0.fetches.load(Ordering::SeqCst)
    }

    /// From now on fetches do not wait.
    pub(super) fn open(&self) {
        *self.0.gate.lock().unwrap() = None;
    }

    /// From now on each fetch waits for one `notify_one`.
    pub(super) fn close(&self) -> Arc<Notify> {
        let gate = Arc::new(Notify::new());
        *self.0.gate.lock().unwrap() = Some(gate.clone());
        gate
    }
}

impl Service<FetchJwks> for Issuer {
    type Response = KeySet;
    type Error = FetchError;
    type Future = BoxFuture<Result<KeySet, FetchError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), FetchError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: FetchJwks) -> Self::Future {
        self.0.fetches.fetch_add(1, Ordering::SeqCst);
        let inner = self.0.clone();
        Box::pin(async move {
            let gate = inner.gate.lock().unwrap().clone();
            if let Some(gate) = gate {
                gate.notified().await;
            }
            let answer = inner.answer.lock().unwrap().clone();
            match answer {
                Answer::Keys(keys) => Ok(keys),
                Answer::Status(status) => Err(FetchError::Status(status)),
                Answer::Panic => panic!("on purpose"),
            }
        })
    }
}
