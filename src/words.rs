//! Enums that are spelled as one fixed word, in configuration files, logs and metrics.

/// Implements `as_str`, `Display`, `FromStr` and, with the feature `serde`, (de)serialization for
/// an enum from one table of words. An alias after `|` is accepted, and never written.
///
/// ```ignore
/// words! {
///     Mode: "mode" { Enforce => "enforce", Report => "report" | "dry-run" }
/// }
/// ```
macro_rules! words {
    ($Enum:ident: $what:literal { $($Variant:ident => $word:literal $(| $alias:literal)*),+ $(,)? }) => {
        impl $Enum {
            /// Every value, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$Variant),+];

            /// The value of this word or alias.
            #[allow(dead_code)]
            pub(crate) fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word $(| $alias)* => Some(Self::$Variant),)+
                    _ => None,
                }
            }

            /// The word for this value, as `FromStr` reads it and as logs and metrics spell it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$Variant => $word),+ }
            }
        }

        impl std::fmt::Display for $Enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $Enum {
            type Err = $crate::error::ConfigError;

            /// Reads the word exactly, case included.
            fn from_str(word: &str) -> Result<Self, Self::Err> {
                Self::from_word(word).ok_or_else(|| {
                    $crate::error::ConfigError::unknown_word($what, word, &[$($word),+])
                })
            }
        }

        #[cfg(feature = "serde")]
        $crate::words::serde_by_text!($Enum);
    };
}

/// Serializes a type through its `Display` and deserializes it through its `FromStr`.
#[cfg(feature = "serde")]
macro_rules! serde_by_text {
    ($Type:ty) => {
        impl serde::Serialize for $Type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $Type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

#[cfg(feature = "serde")]
pub(crate) use serde_by_text;
pub(crate) use words;
