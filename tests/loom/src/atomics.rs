//! The types of `src/jwks/atomics.rs`, made of loom's.

use std::ops::Deref;
use std::sync::Arc;

pub use loom::sync::atomic::{AtomicU64, Ordering};

/// Loads and stores are ordered, as arc-swap's are.
pub struct ArcSwapOption<T>(loom::sync::Mutex<Option<Arc<T>>>);

pub struct Guard<T>(Option<Arc<T>>);

impl<T> ArcSwapOption<T> {
    pub fn empty() -> Self {
        Self(loom::sync::Mutex::new(None))
    }

    pub fn load(&self) -> Guard<T> {
        Guard(self.0.lock().unwrap().clone())
    }

    pub fn store(&self, value: Option<Arc<T>>) {
        *self.0.lock().unwrap() = value;
    }
}

impl<T> Deref for Guard<T> {
    type Target = Option<Arc<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
