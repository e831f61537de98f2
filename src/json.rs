//! Strict reading of JSON: strings are borrowed where possible, and no member may repeat.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::names::Names;
use crate::rejection::Reason;

/// A JSON string, borrowed unless it contains escapes.
pub(crate) struct Text<'t>(pub(crate) Cow<'t, str>);

/// A `NumericDate` (RFC 7519 section 2), in whole seconds.
pub(crate) struct Seconds(pub(crate) u64);

/// The names of the members that were read from an object. Parsers differ in which of two equal
/// members they use, so a repeated name is an error.
pub(crate) struct Members<'t> {
    /// Large enough for most objects, so that no allocation is needed.
    first: [Cow<'t, str>; 16],
    used: usize,
    more: Vec<Cow<'t, str>>,
}

/// Validates a value that is not used. If this parser skipped a value that another parser rejects,
/// the two would read different documents.
pub(crate) struct StrictValue {
    /// How many levels of arrays and objects may still follow.
    depth: u8,
}

/// Whether a value is `null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Null,
    Something,
}

/// The maximum number of members in one object. Legitimate tokens have fewer.
const MAX_MEMBERS: usize = 128;

/// The maximum nesting depth. Legitimate tokens have less, and every parser accepts more.
const MAX_DEPTH: u8 = 32;

/// 2^53: from here on, floats cannot represent every whole number.
const MAX_SECONDS: u64 = 1 << 53;

/// Maps a syntax error to a malformed token, and a value of the wrong type to an invalid claim.
pub(crate) fn reason_for(error: &serde_json::Error) -> Reason {
    match error.classify() {
        Category::Data => Reason::InvalidClaim,
        Category::Syntax | Category::Eof | Category::Io => Reason::MalformedToken,
    }
}

/// Validates UTF-8 once. A parser that reads from bytes would validate each string separately.
pub(crate) fn text(json: &[u8]) -> Result<&str, Reason> {
    std::str::from_utf8(json).map_err(|_| Reason::MalformedToken)
}

/// Reads an optional member that may be absent, but not null. Use it with `#[serde(default)]`.
pub(crate) fn not_null<'de, D, T>(value: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(value).map(Some)
}

/// The first member `name` of an object. Reads no further than that member.
pub(crate) fn first_member<'t, T: Deserialize<'t>>(
    json: &'t str,
    name: &str,
) -> Result<Option<T>, serde_json::Error> {
    struct Search<'s, T>(&'s str, &'s mut Option<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Search<'_, T> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(Text(name)) = map.next_key()? {
                if *name == *self.0 {
                    *self.1 = Some(map.next_value()?);
                    break;
                }
                map.next_value::<IgnoredAny>()?;
            }
            Ok(())
        }
    }

    let mut found = None;
    let end = serde_json::Deserializer::from_str(json).deserialize_map(Search(name, &mut found));
    match found {
        // The parser reports an error because the members that follow were not read.
        Some(value) => Ok(Some(value)),
        None => end.map(|()| None),
    }
}

// === impl Members ===

impl<'t> Members<'t> {
    pub(crate) fn new() -> Self {
        Self {
            first: [const { Cow::Borrowed("") }; 16],
            used: 0,
            more: Vec::new(),
        }
    }

    /// The next member's name, or `None` at the end of the object.
    pub(crate) fn next<A: MapAccess<'t>>(&mut self, map: &mut A) -> Result<Option<&str>, A::Error> {
        let Some(Text(name)) = map.next_key()? else {
            return Ok(None);
        };
        let mut names = self.first.iter().take(self.used).chain(&self.more);
        if self.used + self.more.len() >= MAX_MEMBERS || names.any(|own| *own == name) {
            return Err(A::Error::custom(
                "a member is repeated, or there are too many",
            ));
        }
        let name = match self.first.get_mut(self.used) {
            Some(free) => {
                self.used += 1;
                *free = name;
                Some(&*free)
            }
            None => {
                self.more.push(name);
                self.more.last()
            }
        };
        Ok(name.map(|name| &**name))
    }

    /// Whether a member of this name was read.
    pub(crate) fn contains(&self, name: &str) -> bool {
        let mut names = self.first.iter().take(self.used).chain(&self.more);
        names.any(|own| *own == *name)
    }
}

// === impl StrictValue ===

impl StrictValue {
    pub(crate) const fn new() -> Self {
        Self { depth: MAX_DEPTH }
    }

    /// Validates a value that a claim reads too. Claims read strings and lists completely, so only
    /// other types are validated here.
    pub(crate) fn mentioned(json: &str) -> Result<Presence, serde_json::Error> {
        match json.as_bytes().first() {
            Some(b'"' | b'[') => Ok(Presence::Something),
            _ => Self::document(json),
        }
    }

    fn document(json: &str) -> Result<Presence, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(json);
        let presence = Self::new().deserialize(&mut json)?;
        json.end().map(|()| presence)
    }

    fn below<E: Error>(&self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Presence;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Presence, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue {
    type Value = Presence;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Presence, E> {
        Ok(Presence::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Presence, E> {
        Ok(Presence::Something)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Presence, E> {
        Ok(Presence::Something)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Presence, E> {
        Ok(Presence::Something)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Presence, E> {
        Ok(Presence::Something)
    }

    fn visit_str<E>(self, _: &str) -> Result<Presence, E> {
        Ok(Presence::Something)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Presence, A::Error> {
        let below = || self.below::<A::Error>();
        while seq.next_element_seed(below()?)?.is_some() {}
        Ok(Presence::Something)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Presence, A::Error> {
        let mut members = Members::new();
        while members.next(&mut map)?.is_some() {
            map.next_value_seed(self.below()?)?;
        }
        Ok(Presence::Something)
    }
}

// === impl Text ===

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;

        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Borrow)
    }
}

// === impl Seconds ===

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds since the epoch")
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Self::Value, E> {
                if seconds >= MAX_SECONDS {
                    return Err(E::custom("no time"));
                }
                Ok(Seconds(seconds))
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<Self::Value, E> {
                if !(0.0..MAX_SECONDS as f64).contains(&seconds) {
                    return Err(E::custom("no time"));
                }
                Ok(Seconds(seconds as u64))
            }
        }

        deserializer.deserialize_any(Number)
    }
}

// === lists of names ===

/// How one string is split into names.
#[derive(Clone, Copy)]
pub(crate) enum Spelling {
    /// The whole string is one name.
    One,
    /// Names between spaces (RFC 8693 section 4.2).
    Spaced,
}

/// Adds the names of a string, or of an array of strings.
struct List<'n> {
    names: &'n mut Names,
    spelling: Spelling,
}

/// Adds the names of `value`.
pub(crate) fn read_list<E: Error>(
    value: &RawValue,
    spelling: Spelling,
    names: &mut Names,
) -> Result<(), E> {
    let json = value.get();
    // Usual lists need no second allocation.
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
