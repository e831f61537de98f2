//! What the key set in force is shared by. `tests/loom` puts its own in their place and tries every order in which two
//! threads may get there.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use arc_swap::ArcSwapOption;
