//! The synchronization types of the current key set. `tests/loom` replaces them with loom's and
//! tries every order in which two threads can use them.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use arc_swap::ArcSwapOption;
