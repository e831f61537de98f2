//! Helpers for reading JSON strictly.

use serde::{Deserialize, Deserializer};

/// Reads an optional member that may be absent, but not null. Use it with `#[serde(default)]`.
pub(crate) fn not_null<'de, D, T>(value: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(value).map(Some)
}
