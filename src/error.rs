//! What is wrong with a configuration, and what to change.

use thiserror::Error;

/// A configuration that would not protect anything, refused when it is built.
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
    /// No issuer was named.
    #[error(
        "no issuer: name at least one issuer whose tokens are accepted, exactly as its `iss` claim spells it"
    )]
    MissingIssuer,
    /// An issuer without an audience would accept tokens that were meant for somebody else.
    #[error(
        "no audience for issuer {issuer:?}: call `.audience(..)` with the name that this service has in `aud`"
    )]
    MissingAudience {
        /// The issuer that has none.
        issuer: String,
    },
    /// A cache of keys that holds none of this issuer, perhaps because the two are not spelled alike.
    #[error(
        "no keys for issuer {issuer:?} in the given JwksCache: name the issuer there exactly as here, with or without a final slash"
    )]
    MissingKeys {
        /// The issuer.
        issuer: String,
    },
    /// One issuer was named twice.
    #[error("issuer {issuer:?} is named twice: merge the two, an issuer has one policy")]
    DuplicateIssuer {
        /// The issuer.
        issuer: String,
    },
    /// An issuer accepts no algorithm, or a secret's algorithm without a secret, or the other way round.
    #[error("algorithms of issuer {issuer:?}: {problem}")]
    Algorithms {
        /// The issuer.
        issuer: String,
        /// What to change.
        problem: &'static str,
    },
    /// A URL that keys must not be fetched from, or that names no origin.
    #[error("URL {url:?}: {problem}")]
    Url {
        /// The URL as it was given.
        url: String,
        /// What to change.
        problem: &'static str,
    },
    /// A key that must not verify anything.
    #[error("key: {problem}")]
    Key {
        /// What to change.
        problem: String,
    },
    /// A header name that is not one, or that belongs to somebody else.
    #[error("header {name:?}: {problem}")]
    Header {
        /// The name as it was given.
        name: String,
        /// What to change.
        problem: &'static str,
    },
    /// A text that is no rule.
    #[error("rule, at byte {at}: {problem}")]
    Rule {
        /// Where in the text, in bytes.
        at: usize,
        /// What to change.
        problem: &'static str,
    },
    /// A word that is none of the accepted ones.
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
