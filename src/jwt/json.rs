//! Strict reading of a token's JSON: borrowed where it can be, every member once.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use crate::rejection::Reason;

/// A JSON string, borrowed unless it holds escapes.
pub(super) struct Text<'t>(pub(super) Cow<'t, str>);

/// A `NumericDate` (RFC 7519 section 2), in whole seconds.
pub(super) struct Seconds(pub(super) u64);

/// One name or several, as `aud` and most lists of roles are written.
pub(super) enum OneOrMany<'t> {
    One(Cow<'t, str>),
    Many(Vec<Text<'t>>),
}

/// The names of an object's members so far. Parsers differ in which of two equal members they take, so none may repeat.
pub(super) struct Members<'t> {
    /// Most objects have no more.
    first: [Cow<'t, str>; 16],
    used: usize,
    more: Vec<Cow<'t, str>>,
}

/// A value that nobody reads yet. It is checked all the same: what one parser skips, another trips over, and a claim that
/// cannot be read is taken for one that is absent.
pub(super) struct Checked {
    /// How many levels of arrays and objects may follow.
    depth: u8,
}

/// Whether a value says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Null,
    Something,
}

/// More members than any honest header or claim set has.
const MAX_MEMBERS: usize = 128;

/// More levels than any honest header or claim set has, and fewer than any parser refuses.
const MAX_DEPTH: u8 = 32;

/// The largest whole number that a float can tell from the next: 2^53.
const MAX_SECONDS: u64 = 1 << 53;

/// JSON that is broken makes a broken token; JSON of the wrong shape makes an invalid claim.
pub(super) fn blame(error: &serde_json::Error) -> Reason {
    match error.classify() {
        Category::Data => Reason::InvalidClaim,
        Category::Syntax | Category::Eof | Category::Io => Reason::MalformedToken,
    }
}

/// All of it at once, since whoever reads strings out of bytes would check each for itself.
pub(super) fn text(json: &[u8]) -> Result<&str, Reason> {
    std::str::from_utf8(json).map_err(|_| Reason::MalformedToken)
}

// === impl Members ===

impl<'t> Members<'t> {
    pub(super) fn new() -> Self {
        Self {
            first: [const { Cow::Borrowed("") }; 16],
            used: 0,
            more: Vec::new(),
        }
    }

    /// The next member's name, or `None` at the end of the object.
    pub(super) fn next<A: MapAccess<'t>>(&mut self, map: &mut A) -> Result<Option<&str>, A::Error> {
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
}

// === impl Checked ===

impl Checked {
    pub(super) const fn new() -> Self {
        Self { depth: MAX_DEPTH }
    }

    /// Checks a value that is read as well. Whoever reads a string or a list reads all of it, and takes nothing but strings.
    pub(super) fn mentioned(json: &str) -> Result<Presence, serde_json::Error> {
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

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = Presence;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Presence, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
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

// === impl OneOrMany ===

impl OneOrMany<'_> {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::One(name) => (Some(&**name), &[][..]),
            Self::Many(names) => (None, names.as_slice()),
        };
        one.into_iter().chain(many.iter().map(|name| &*name.0))
    }
}

impl<'de> Deserialize<'de> for OneOrMany<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = OneOrMany<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(OneOrMany::One(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(OneOrMany::One(Cow::Owned(name.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(OneOrMany::Many(names))
            }
        }

        deserializer.deserialize_any(Names)
    }
}
