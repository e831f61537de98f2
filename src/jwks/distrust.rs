//! Purged keys: the names they had, and what they are made of.

use std::collections::HashMap;

use super::key::{Fingerprint, Key};

/// Every key that was purged, by its kid.
///
/// An issuer that is no longer master of its key set may publish a purged key once more, under another name or without
/// one. So a key is known by its material too, if it was ever seen. One fingerprint is kept for each name, the first:
/// whatever an issuer publishes, this grows with the purges alone.
#[derive(Debug, Default)]
pub(super) struct Distrust(HashMap<Box<str>, Option<Fingerprint>>);

// === impl Distrust ===

impl Distrust {
    pub(super) fn add(&mut self, kid: &str) {
        self.0.entry(kid.into()).or_default();
    }

    /// Remembers what the purged keys among these are made of.
    pub(super) fn learn<'k>(&mut self, keys: impl IntoIterator<Item = &'k Key>) {
        for key in keys {
            let purged = key.kid().and_then(|kid| self.0.get_mut(kid));
            if let Some(unseen @ None) = purged {
                *unseen = key.fingerprint().cloned();
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn names(&self, kid: &str) -> bool {
        self.0.contains_key(kid)
    }

    /// Whether the key has the name of a purged one, or is one.
    pub(super) fn covers(&self, key: &Key) -> bool {
        let is_purged = |own: &Fingerprint| self.0.values().flatten().any(|purged| purged == own);
        key.kid().is_some_and(|kid| self.names(kid)) || key.fingerprint().is_some_and(is_purged)
    }
}
