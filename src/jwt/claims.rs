//! A token's claims, read in one pass and exactly typed (RFC 7519 section 4).

mod lists;

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::claim_path::ClaimPath;
use crate::json::{
    Members, OneOrMany, Presence, Seconds, StrictValue, Text, first_member, reason_for,
};
use crate::names::Names;
use crate::rejection::Reason;
use lists::Spelling;

/// Where an issuer puts what the registered claims do not tell.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) subject: ClaimPath,
    pub(super) roles: Option<ClaimPath>,
    pub(super) permissions: Option<ClaimPath>,
    /// All of them are read: issuers use `scope` or `scp`.
    pub(super) scopes: Vec<ClaimPath>,
    /// Claims that name the client. The first of them that is there counts.
    pub(super) clients: Vec<Box<str>>,
    /// `aud`, or the claim that stands for it.
    pub(super) audience: Box<str>,
    /// Claims that must be there with exactly this text.
    pub(super) equal: Vec<(Box<str>, Box<str>)>,
    /// Names that must be there, whatever they hold.
    pub(super) required: Vec<Box<str>>,
    /// Whether `cnf` may be there, although nobody asks for a proof of its key.
    pub(super) bound: bool,
}

/// The claims that decide, and the lists that later layers ask for.
#[derive(Default)]
pub(super) struct Claims<'t> {
    pub(super) issuer: Option<Cow<'t, str>>,
    pub(super) subject: Option<Cow<'t, str>>,
    pub(super) audience: Option<OneOrMany<'t>>,
    pub(super) expires_at: Option<u64>,
    pub(super) not_before: Option<u64>,
    pub(super) issued_at: Option<u64>,
    pub(super) token_id: Option<Cow<'t, str>>,
    pub(super) session: Option<Cow<'t, str>>,
    /// With its rank among the claims that may name it.
    client: Option<(usize, Cow<'t, str>)>,
    pub(super) roles: Names,
    pub(super) permissions: Names,
    pub(super) scopes: Names,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            subject: "sub".into(),
            roles: Some("roles".into()),
            permissions: Some("permissions".into()),
            scopes: vec!["scope".into(), "scp".into()],
            clients: vec!["azp".into(), "client_id".into()],
            audience: "aud".into(),
            equal: Vec::new(),
            required: Vec::new(),
            bound: false,
        }
    }
}

/// Reads `iss` alone, to choose the key. It must not be trusted before the signature is verified.
pub(super) fn peek_issuer(payload: &str) -> Result<Cow<'_, str>, Reason> {
    match first_member::<Text<'_>>(payload, "iss") {
        Ok(Some(Text(iss))) => Ok(iss),
        Ok(None) => Err(Reason::InvalidClaim),
        Err(error) => Err(reason_for(&error)),
    }
}

// === impl Claims ===

impl<'t> Claims<'t> {
    fn text(&mut self, name: &str) -> Option<&mut Option<Cow<'t, str>>> {
        match name {
            "iss" => Some(&mut self.issuer),
            "jti" => Some(&mut self.token_id),
            "sid" => Some(&mut self.session),
            _ => None,
        }
    }

    fn time(&mut self, name: &str) -> Option<&mut Option<u64>> {
        match name {
            "exp" => Some(&mut self.expires_at),
            "nbf" => Some(&mut self.not_before),
            "iat" => Some(&mut self.issued_at),
            _ => None,
        }
    }

    /// Reads a payload whose signature holds.
    pub(super) fn read(payload: &'t str, places: &Places) -> Result<Self, Reason> {
        let mut json = serde_json::Deserializer::from_str(payload);
        let claims = Reader(places)
            .deserialize(&mut json)
            .and_then(|claims| json.end().map(|()| claims));
        claims.map_err(|error| reason_for(&error))
    }

    /// The client that the token was issued to.
    pub(super) fn client(&self) -> Option<&str> {
        self.client.as_ref().map(|(_, client)| &**client)
    }
}

struct Reader<'p>(&'p Places);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Claims<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Claims<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Claims<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims<'de>, A::Error> {
        let mut claims = Claims::default();
        let mut members = Members::new();
        let mut missing = self.0.required.len() + self.0.equal.len();
        while let Some(name) = members.next(&mut map)? {
            let is_required = self.0.required.iter().any(|own| **own == *name);
            let mut presence = Presence::Something;
            if self.0.mention(name) {
                let value = map.next_value::<&'de RawValue>()?;
                presence = StrictValue::mentioned(value.get()).map_err(A::Error::custom)?;
                missing -= self.0.read(name, value, &mut claims)?;
            } else if let Some(text) = claims.text(name) {
                *text = Some(map.next_value::<Text<'de>>()?.0);
            } else if let Some(time) = claims.time(name) {
                *time = Some(map.next_value::<Seconds>()?.0);
            } else {
                presence = map.next_value_seed(StrictValue::new())?;
            }
            let is_there = presence == Presence::Something;
            // Whoever holds such a token has to prove more than that (RFC 7800 section 3).
            if is_there && name == "cnf" && !self.0.bound {
                return Err(A::Error::custom("the token is bound to a key"));
            }
            missing -= usize::from(is_required && is_there);
        }
        if missing > 0 {
            return Err(A::Error::custom("a required claim is missing"));
        }
        Ok(claims)
    }
}

// === impl Places ===

impl Places {
    /// Whether a place names a claim that has a meaning of its own.
    pub(super) fn is_reserved(&self) -> bool {
        let reserved = ["aud", "exp", "nbf", "iat"];
        self.all()
            .any(|path| reserved.iter().any(|name| begins(path, name)))
    }

    fn all(&self) -> impl Iterator<Item = &ClaimPath> {
        let lists = self.roles.iter().chain(&self.permissions);
        std::iter::once(&self.subject)
            .chain(lists)
            .chain(&self.scopes)
    }

    /// Whether the top-level member `name` is, or leads to, one of these places.
    fn mention(&self, name: &str) -> bool {
        *self.audience == *name
            || self.rank(name).is_some()
            || self.equal.iter().any(|(own, _)| **own == *name)
            || self.all().any(|path| begins(path, name))
    }

    fn rank(&self, name: &str) -> Option<usize> {
        self.clients.iter().position(|own| **own == *name)
    }

    /// One claim may stand for several things. Says how many of the demanded values it fulfils.
    fn read<'de, E: Error>(
        &self,
        name: &str,
        value: &'de RawValue,
        claims: &mut Claims<'de>,
    ) -> Result<usize, E> {
        if let Some(text) = claims.text(name) {
            *text = Some(parse::<Text<'de>, E>(value)?.0);
        }
        if let Some(time) = claims.time(name) {
            *time = Some(parse::<Seconds, E>(value)?.0);
        }
        if let Some(rank) = self.rank(name) {
            let client = parse::<Text<'de>, E>(value)?.0;
            if claims.client.as_ref().is_none_or(|(own, _)| rank < *own) {
                claims.client = Some((rank, client));
            }
        }
        if *self.audience == *name {
            claims.audience = Some(parse(value)?);
        }
        if let Some(found) = descend(&self.subject, name, value)? {
            claims.subject = Some(subject(&self.subject, found)?);
        }
        self.read_lists(name, value, claims)?;
        let mut fulfilled = 0;
        for (_, expected) in self.equal.iter().filter(|(own, _)| **own == *name) {
            fulfilled += usize::from(*parse::<Text<'de>, E>(value)?.0 == **expected);
        }
        Ok(fulfilled)
    }

    fn read_lists<'de, E: Error>(
        &self,
        name: &str,
        value: &'de RawValue,
        claims: &mut Claims<'de>,
    ) -> Result<(), E> {
        let lists = [
            (&self.roles, &mut claims.roles),
            (&self.permissions, &mut claims.permissions),
        ];
        for (path, names) in lists {
            let Some(path) = path else { continue };
            if let Some(found) = descend(path, name, value)? {
                lists::read(found, Spelling::One, names)?;
            }
        }
        for path in &self.scopes {
            if let Some(found) = descend(path, name, value)? {
                lists::read(found, Spelling::Spaced, &mut claims.scopes)?;
            }
        }
        Ok(())
    }
}

fn begins(path: &ClaimPath, name: &str) -> bool {
    path.names().first().is_some_and(|first| **first == *name)
}

/// Follows the rest of a path whose first name is `name`.
fn descend<'de, E: Error>(
    path: &ClaimPath,
    name: &str,
    value: &'de RawValue,
) -> Result<Option<&'de RawValue>, E> {
    let Some((first, rest)) = path.names().split_first() else {
        return Ok(None);
    };
    if **first != *name {
        return Ok(None);
    }
    let mut found = Some(value);
    for step in rest {
        let Some(value) = found else { break };
        let mut json = serde_json::Deserializer::from_str(value.get());
        found = Member(step).deserialize(&mut json).map_err(E::custom)?;
    }
    Ok(found)
}

/// `sub` is a string; a claim that stands for it may also be a whole number, as user ids of databases are.
fn subject<'de, E: Error>(path: &ClaimPath, value: &'de RawValue) -> Result<Cow<'de, str>, E> {
    if !begins(path, "sub") && parse::<u64, E>(value).is_ok() {
        return Ok(Cow::Borrowed(value.get()));
    }
    Ok(parse::<Text<'de>, E>(value)?.0)
}

fn parse<'de, T: Deserialize<'de>, E: Error>(value: &'de RawValue) -> Result<T, E> {
    serde_json::from_str(value.get()).map_err(E::custom)
}

/// Finds one member of an object. What stands on the way to a claim and is no object is an error.
struct Member<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object on the way to a claim")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut members = Members::new();
        while let Some(name) = members.next(&mut map)? {
            if name == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value_seed(StrictValue::new())?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
