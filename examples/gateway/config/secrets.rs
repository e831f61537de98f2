//! Values that are never shown.

use std::fmt;

/// Shows as `(redacted)`, whoever asks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Vec<u8>);

// === impl Secret ===

impl Secret {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// What it is, for whoever has to use it.
    pub(crate) fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}
