//! A claim that is a list of names.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::Text;
use crate::names::Names;

/// How a list of names is written where it is one string.
#[derive(Clone, Copy)]
pub(super) enum Spelling {
    /// The whole string is one name.
    One,
    /// Names between spaces (RFC 8693 section 4.2).
    Spaced,
}

/// Adds the names of a list, which is written as one string or as an array of strings.
struct List<'n> {
    names: &'n mut Names,
    spelling: Spelling,
}

/// Adds the names of the list `value`.
pub(super) fn read<E: Error>(
    value: &RawValue,
    spelling: Spelling,
    names: &mut Names,
) -> Result<(), E> {
    let json = value.get();
    // Room for all of it at once, and for as many names as an honest list has.
    let separators = json.bytes().filter(|byte| b" ,".contains(byte));
    names.reserve(separators.count().min(15) + 1, json.len());
    let mut json = serde_json::Deserializer::from_str(json);
    let list = List { names, spelling };
    list.deserialize(&mut json).map_err(E::custom)
}

// === impl List ===

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        match self.spelling {
            Spelling::One => self.names.push(text),
            Spelling::Spaced => text
                .split(' ')
                .filter(|name| !name.is_empty())
                .for_each(|name| self.names.push(name)),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = seq.next_element()? {
            self.names.push(&name);
        }
        Ok(())
    }
}
