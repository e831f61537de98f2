//! The claims of a token, read in one pass with exact types (RFC 7519 section 4).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::claim_path::ClaimPath;
use crate::json::{
    Members, Presence, Seconds, Spelling, StrictValue, Text, first_member, read_list, reason_for,
};
use crate::names::Names;
use crate::rejection::Reason;

/// The names of the claims that an issuer uses for the properties of an identity.
#[derive(Clone, Debug)]
pub(super) struct ClaimMapping {
    pub(super) subject: ClaimPath,
    pub(super) roles: Option<ClaimPath>,
    pub(super) permissions: Option<ClaimPath>,
    /// All are read, because issuers use `scope` or `scp`.
    pub(super) scopes: Vec<ClaimPath>,
    /// The claims for the client. The first claim that is present is used.
    pub(super) clients: Vec<Box<str>>,
    /// `aud`, or the claim that replaces it.
    pub(super) audience: Box<str>,
    /// Claims that must have exactly this text.
    pub(super) equal: Vec<(Box<str>, Box<str>)>,
    /// Claims that must be present and not null.
    pub(super) required: Vec<Box<str>>,
    /// Whether tokens with `cnf` are accepted, although the proof of possession is not verified.
    pub(super) bound: bool,
}

/// An error in the claims, and the configured claim that caused it. The claim is for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClaimError {
    pub(super) reason: Reason,
    pub(super) claim: Option<Arc<str>>,
}

/// The claims that verification checks, and the claims that the identity contains.
#[derive(Default)]
pub(super) struct Claims<'t> {
    pub(super) issuer: Option<Cow<'t, str>>,
    pub(super) subject: Option<Cow<'t, str>>,
    pub(super) audience: Option<Vec<Text<'t>>>,
    pub(super) expires_at: Option<u64>,
    pub(super) not_before: Option<u64>,
    pub(super) issued_at: Option<u64>,
    pub(super) token_id: Option<Cow<'t, str>>,
    pub(super) session: Option<Cow<'t, str>>,
    /// With the rank of its claim in [`ClaimMapping::clients`].
    client: Option<(usize, Cow<'t, str>)>,
    pub(super) roles: Names,
    pub(super) permissions: Names,
    pub(super) scopes: Names,
}

impl Default for ClaimMapping {
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

/// Reads `iss` alone, to choose the key. It is not trusted before the signature is verified.
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

    /// Reads the payload of a token with a valid signature.
    pub(super) fn read(payload: &'t str, mapping: &ClaimMapping) -> Result<Self, ClaimError> {
        let mut failed = None;
        let mut json = serde_json::Deserializer::from_str(payload);
        let reader = Reader {
            mapping,
            failed: &mut failed,
        };
        let claims = json.deserialize_map(reader).and_then(|claims| {
            json.end()?;
            Ok(claims)
        });
        claims.map_err(|error| ClaimError {
            reason: reason_for(&error),
            claim: failed,
        })
    }

    /// The client that the token was issued to.
    pub(super) fn client(&self) -> Option<&str> {
        self.client.as_ref().map(|(_, client)| &**client)
    }

    /// When the token becomes valid: the later of `nbf` and `iat`.
    pub(super) fn starts_at(&self) -> u64 {
        self.not_before.max(self.issued_at).unwrap_or_default()
    }
}

struct Reader<'p> {
    mapping: &'p ClaimMapping,
    /// The configured claim that caused the error.
    failed: &'p mut Option<Arc<str>>,
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Claims<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims<'de>, A::Error> {
        let mapping = self.mapping;
        let mut claims = Claims::default();
        let mut members = Members::new();
        let mut missing = mapping.required.len() + mapping.equal.len();
        while let Some(name) = members.next(&mut map)? {
            let read = mapping.read_member(name, &mut map, &mut claims);
            let (fulfilled, demanded) = read.inspect_err(|_| {
                *self.failed = mapping.configured(name);
            })?;
            if fulfilled < demanded {
                *self.failed = mapping.configured(name);
            }
            missing -= fulfilled;
        }
        if missing > 0 {
            if self.failed.is_none() {
                let mut demanded = mapping.demanded();
                *self.failed = demanded
                    .find(|name| !members.contains(name))
                    .map(Into::into);
            }
            return Err(A::Error::custom("a required claim is missing"));
        }
        Ok(claims)
    }
}

// === impl ClaimError ===

impl ClaimError {
    pub(super) fn new(reason: Reason, claim: &str) -> Self {
        let claim = Some(claim.into());
        Self { reason, claim }
    }
}

// === impl ClaimMapping ===

impl ClaimMapping {
    /// Whether a path begins with a claim that has a fixed meaning.
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

    /// Reads one top-level claim. Returns how many demands (required claims, and claims with a
    /// fixed text) it meets, and how many demands concern it.
    fn read_member<'de, A: MapAccess<'de>>(
        &self,
        name: &str,
        map: &mut A,
        claims: &mut Claims<'de>,
    ) -> Result<(usize, usize), A::Error> {
        let mut presence = Presence::Something;
        let mut met = 0;
        if self.contains(name) {
            let value = map.next_value::<&'de RawValue>()?;
            presence = StrictValue::mentioned(value.get()).map_err(A::Error::custom)?;
            met = self.read(name, value, claims)?;
        } else if let Some(text) = claims.text(name) {
            *text = Some(map.next_value::<Text<'de>>()?.0);
        } else if let Some(time) = claims.time(name) {
            *time = Some(map.next_value::<Seconds>()?.0);
        } else {
            presence = map.next_value_seed(StrictValue::new())?;
        }
        let is_present = presence == Presence::Something;
        // The client must also prove possession of a key (RFC 7800 section 3).
        if is_present && name == "cnf" && !self.bound {
            return Err(A::Error::custom("the token is bound to a key"));
        }
        let is_required = self.required.iter().any(|own| **own == *name);
        met += usize::from(is_required && is_present);
        let equal = self.equal.iter().filter(|(own, _)| **own == *name);
        Ok((met, usize::from(is_required) + equal.count()))
    }

    /// The names of all claims that have a demand.
    fn demanded(&self) -> impl Iterator<Item = &str> {
        let equal = self.equal.iter().map(|(name, _)| &**name);
        self.required.iter().map(|name| &**name).chain(equal)
    }

    /// The name for the log, if the claim is registered or configured. Other names are chosen by
    /// the author of the token.
    fn configured(&self, name: &str) -> Option<Arc<str>> {
        let registered = ["iss", "aud", "exp", "nbf", "iat", "jti", "sid", "cnf"];
        let is_configured = registered.contains(&name)
            || self.contains(name)
            || self.demanded().any(|own| own == name);
        is_configured.then(|| name.into())
    }

    /// Whether the top-level claim `name` is, or contains, one of these claims.
    fn contains(&self, name: &str) -> bool {
        *self.audience == *name
            || self.rank(name).is_some()
            || self.equal.iter().any(|(own, _)| **own == *name)
            || self.all().any(|path| begins(path, name))
    }

    fn rank(&self, name: &str) -> Option<usize> {
        self.clients.iter().position(|own| **own == *name)
    }

    /// Reads one claim for each of its purposes. Returns how many of the fixed texts it matches.
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
            claims.audience = Some(match value.get().starts_with('"') {
                true => vec![parse(value)?],
                false => parse(value)?,
            });
        }
        if let Some(found) = descend(&self.subject, name, value)? {
            claims.subject = Some(subject(&self.subject, found)?);
        }
        self.read_lists(name, value, claims)?;
        let mut matched = 0;
        for (_, expected) in self.equal.iter().filter(|(own, _)| **own == *name) {
            matched += usize::from(*parse::<Text<'de>, E>(value)?.0 == **expected);
        }
        Ok(matched)
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
                read_list(found, Spelling::One, names)?;
            }
        }
        for path in &self.scopes {
            if let Some(found) = descend(path, name, value)? {
                read_list(found, Spelling::Spaced, &mut claims.scopes)?;
            }
        }
        Ok(())
    }
}

fn begins(path: &ClaimPath, name: &str) -> bool {
    path.names().first().is_some_and(|first| **first == *name)
}

/// The value at the end of a path that begins with `name`; `value` is the claim of that name.
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

/// `sub` is a string. A claim that replaces it may also be a whole number, as the user IDs of
/// databases are.
fn subject<'de, E: Error>(path: &ClaimPath, value: &'de RawValue) -> Result<Cow<'de, str>, E> {
    if !begins(path, "sub") && parse::<u64, E>(value).is_ok() {
        return Ok(Cow::Borrowed(value.get()));
    }
    Ok(parse::<Text<'de>, E>(value)?.0)
}

fn parse<'de, T: Deserialize<'de>, E: Error>(value: &'de RawValue) -> Result<T, E> {
    serde_json::from_str(value.get()).map_err(E::custom)
}

/// Finds one member of an object. It is an error if a path leads through a value that is not an
/// object.
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
        f.write_str("an object on the path to a claim")
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
