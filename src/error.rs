//! Configuration errors: what is wrong, and what to change.

use thiserror::Error;

/// Why a configuration was rejected. The message names the problem, then the remedy.
///
/// ```
/// use portcullis::JwtAuthLayer;
///
/// let error = JwtAuthLayer::from_issuer("https://id.example.com/", "").unwrap_err();
/// assert!(error.to_string().contains("audience"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No issuer was given.
    #[error(
        "no issuer: give at least one issuer, spelled exactly as in the `iss` claim of its tokens"
    )]
    MissingIssuer,
    /// An issuer has no audience, so tokens for other services would be accepted.
    #[error(
        "issuer {issuer:?} has no audience: call `.audience(..)` with the `aud` of this service"
    )]
    MissingAudience {
        /// The issuer without an audience.
        issuer: String,
    },
    /// The key cache has no keys for this issuer, for example because the two URLs are spelled
    /// differently.
    #[error(
        "the JwksCache has no keys for issuer {issuer:?}: give both the same URL, final slash included"
    )]
    MissingKeys {
        /// The issuer.
        issuer: String,
    },
    /// An issuer was given twice.
    #[error("issuer {issuer:?} is given twice: merge the two into one")]
    DuplicateIssuer {
        /// The issuer.
        issuer: String,
    },
    /// An issuer accepts no algorithm, or its algorithms do not fit its keys.
    #[error("algorithms of issuer {issuer:?}: {problem}")]
    Algorithms {
        /// The issuer.
        issuer: String,
        /// What to change.
        problem: &'static str,
    },
    /// A URL is not allowed for this purpose, or is not a URL.
    #[error("URL {url:?}: {problem}")]
    Url {
        /// The URL as it was given.
        url: String,
        /// What to change.
        problem: &'static str,
    },
    /// A key is unreadable or too weak.
    #[error("key: {problem}")]
    Key {
        /// What to change.
        problem: String,
    },
    /// A header name is invalid or reserved.
    #[error("header {name:?}: {problem}")]
    Header {
        /// The name as it was given.
        name: String,
        /// What to change.
        problem: &'static str,
    },
    /// A rule does not parse.
    #[error("rule, at byte {at}: {problem}")]
    Rule {
        /// The byte offset in the text.
        at: usize,
        /// What to change.
        problem: &'static str,
    },
    /// A setting has a word that is not one of its values.
    #[error("unknown {what} {word:?}: expected one of {expected}")]
    UnknownWord {
        /// The setting that the word is for.
        what: &'static str,
        /// The word as it was given.
        word: String,
        /// The accepted words, separated by commas.
        expected: String,
    },
    /// Any other setting.
    #[error("{setting}: {problem}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What to change.
        problem: &'static str,
    },
}

impl ConfigError {
    pub(crate) fn unknown_word(what: &'static str, word: &str, expected: &[&str]) -> Self {
        Self::UnknownWord {
            what,
            word: word.to_owned(),
            expected: expected.join(", "),
        }
    }
}
