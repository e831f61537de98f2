//! A set of keys.

use std::sync::Arc;

use crate::key::Key;

#[derive(Clone)]
pub struct KeySet(pub Vec<Arc<Key>>);

impl KeySet {
    pub fn holds(&self, key: &Arc<Key>) -> bool {
        self.0.iter().any(|held| Arc::ptr_eq(held, key))
    }
}
