//! The protection space that a challenge names.

use std::sync::Arc;

use crate::error::ConfigError;

/// A name that needs no escapes between quotes in a challenge (RFC 6750 section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Realm(Arc<str>);

impl Realm {
    pub(crate) fn new(name: &str) -> Result<Self, ConfigError> {
        if name.is_empty() || !is_quotable(name) {
            return Err(ConfigError::Setting {
                setting: "realm",
                problem: "use printable ASCII without quotes and backslashes",
            });
        }
        Ok(Self(name.into()))
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.0
    }
}

impl Default for Realm {
    fn default() -> Self {
        Self("api".into())
    }
}

/// Whether a value needs no escapes between quotes.
pub(crate) fn is_quotable(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}
