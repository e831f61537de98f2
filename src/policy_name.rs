//! Names of policies in metrics, events and `RateLimit` fields.

use std::sync::Arc;

use crate::error::ConfigError;

/// The longest name that a policy may have.
pub(crate) const MAX_BYTES: usize = 64;

/// Checks the name of a policy: it is a metric label and may be sent to clients.
pub(crate) fn policy_name(setting: &'static str, name: &str) -> Result<Arc<str>, ConfigError> {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    if (1..=MAX_BYTES).contains(&name.len()) && name.bytes().all(is_safe) {
        return Ok(name.into());
    }
    let problem = "use 1 to 64 ASCII letters, digits, `-`, `_`, `.`, `:` and `/`";
    Err(ConfigError::Setting { setting, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_names_are_short_and_safe() {
        assert_eq!(
            &*policy_name("name", "per-user_1.a:b/c").unwrap(),
            "per-user_1.a:b/c"
        );
        let long = "n".repeat(MAX_BYTES + 1);
        for name in ["", "a b", "a\"b", "a\\b", "a,b", "a;b", "a\nb", "é", &long] {
            let error = policy_name("name", name).unwrap_err().to_string();
            assert!(error.starts_with("name: use 1 to 64"), "{name:?}: {error}");
        }
    }
}
