//! A revocation as JSON, strictly: one object, known members, each once, and those of its kind only.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::revocation::Revocation;

const SHAPE: &str = "a revocation is an object of kind and issuer, and for kind jti: value, expires_at; sid or kid: value, until; \
     sub or client: value, not_before; iss: not_before";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    kind: String,
    issuer: String,
    #[serde(default, deserialize_with = "given")]
    value: Option<String>,
    #[serde(default, deserialize_with = "given")]
    expires_at: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    until: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    not_before: Option<u64>,
}

impl<'de> Deserialize<'de> for Revocation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A derived reader would also take an array of the members' values.
        deserializer.deserialize_map(Object)
    }
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Revocation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a revocation")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Revocation, A::Error> {
        let members = Members::deserialize(MapAccessDeserializer::new(map))?;
        let revocation = members
            .revocation()
            .ok_or_else(|| A::Error::custom(SHAPE))?;
        revocation.check_names().map_err(A::Error::custom)?;
        Ok(revocation)
    }
}

impl Members {
    fn revocation(&self) -> Option<Revocation> {
        let issuer = &*self.issuer;
        let [expires_at, until, not_before] = [self.expires_at, self.until, self.not_before]
            .map(|time| time.map(Duration::from_secs));
        let value = self.value.as_deref();
        match (&*self.kind, value, expires_at, until, not_before) {
            ("jti", Some(jti), Some(at), None, None) => Some(Revocation::token(issuer, jti, at)),
            ("sid", Some(sid), None, Some(at), None) => Some(Revocation::session(issuer, sid, at)),
            ("kid", Some(kid), None, Some(at), None) => Some(Revocation::key(issuer, kid, at)),
            ("sub", Some(sub), None, None, Some(at)) => Some(Revocation::subject(issuer, sub, at)),
            ("client", Some(id), None, None, Some(at)) => Some(Revocation::client(issuer, id, at)),
            ("iss", None, None, None, Some(at)) => Some(Revocation::issuer(issuer, at)),
            _ => None,
        }
    }
}

/// A member that may be absent, but not `null`.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revoke::Kind;

    fn read(json: &str) -> Result<Revocation, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn every_kind_has_one_shape() {
        #[track_caller]
        fn check(json: &str, expected: Revocation) {
            assert_eq!(read(json).unwrap(), expected);
        }
        let at = Duration::from_secs(123);
        check(
            r#"{"kind":"jti","issuer":"i","value":"v","expires_at":123}"#,
            Revocation::token("i", "v", at),
        );
        check(
            r#"{"until":123,"value":"v","issuer":"i","kind":"sid"}"#,
            Revocation::session("i", "v", at),
        );
        check(
            r#"{"kind":"sub","issuer":"i","value":"v","not_before":123}"#,
            Revocation::subject("i", "v", at),
        );
        check(
            r#"{"kind":"client","issuer":"i","value":"v","not_before":123}"#,
            Revocation::client("i", "v", at),
        );
        check(
            r#"{"kind":"iss","issuer":"i","not_before":123}"#,
            Revocation::issuer("i", at),
        );
        check(
            r#"{"kind":"kid","issuer":"i","value":"\u0076","until":123}"#,
            Revocation::key("i", "v", at),
        );
    }

    #[test]
    fn the_kinds_are_named_as_in_metrics() {
        for kind in Kind::ALL {
            let time = match kind {
                Kind::Token => "expires_at",
                Kind::Session | Kind::Key => "until",
                Kind::Subject | Kind::Client | Kind::Issuer => "not_before",
            };
            let value = match kind {
                Kind::Issuer => "",
                _ => r#""value":"v","#,
            };
            let name = kind.as_str();
            let json = format!(r#"{{"kind":"{name}","issuer":"i",{value}"{time}":1}}"#);
            assert_eq!(read(&json).unwrap().kind(), kind);
        }
    }

    #[test]
    fn refuses_everything_else() {
        for json in [
            // Something is missing.
            r#"{}"#,
            r#"{"issuer":"i","value":"v","expires_at":1}"#,
            r#"{"kind":"jti","value":"v","expires_at":1}"#,
            r#"{"kind":"jti","issuer":"i","expires_at":1}"#,
            r#"{"kind":"jti","issuer":"i","value":"v"}"#,
            r#"{"kind":"iss","issuer":"i"}"#,
            // Something is too much, or belongs to another kind.
            r#"{"kind":"jti","issuer":"i","value":"v","expires_at":1,"reason":"x"}"#,
            r#"{"kind":"jti","issuer":"i","value":"v","expires_at":1,"until":1}"#,
            r#"{"kind":"jti","issuer":"i","value":"v","expires_at":1,"not_before":null}"#,
            r#"{"kind":"jti","issuer":"i","value":"v","not_before":1}"#,
            r#"{"kind":"sub","issuer":"i","value":"v","expires_at":1}"#,
            r#"{"kind":"iss","issuer":"i","value":"v","not_before":1}"#,
            r#"{"kind":"iss","issuer":"i","value":"","not_before":1}"#,
            // Something is there twice.
            r#"{"kind":"jti","kind":"jti","issuer":"i","value":"v","expires_at":1}"#,
            r#"{"kind":"jti","issuer":"i","value":"v","value":"w","expires_at":1}"#,
            // Something is empty.
            r#"{"kind":"jti","issuer":"","value":"v","expires_at":1}"#,
            r#"{"kind":"jti","issuer":"i","value":"","expires_at":1}"#,
            r#"{"kind":"iss","issuer":"","not_before":1}"#,
            // Something has another type.
            r#"{"kind":"JTI","issuer":"i","value":"v","expires_at":1}"#,
            r#"{"kind":0,"issuer":"i","value":"v","expires_at":1}"#,
            r#"{"kind":{"jti":null},"issuer":"i","value":"v","expires_at":1}"#,
            r#"{"kind":"jti","issuer":"i","value":7,"expires_at":1}"#,
            r#"{"kind":"jti","issuer":"i","value":null,"expires_at":1}"#,
            r#"{"kind":"jti","issuer":"i","value":"v","expires_at":null}"#,
            r#"{"kind":"jti","issuer":"i","value":"v","expires_at":"1"}"#,
            r#"{"kind":"jti","issuer":"i","value":"v","expires_at":1.5}"#,
            r#"{"kind":"jti","issuer":"i","value":"v","expires_at":-1}"#,
            r#"{"kind":"jti","issuer":"i","value":"v","expires_at":18446744073709551616}"#,
            r#"["jti","i","v",1,null,null]"#,
            r#"[["kind","jti"],["issuer","i"],["value","v"],["expires_at",1]]"#,
            r#""jti""#,
            r#"null"#,
            r#"{"kind":"jti","issuer":"i","value":"v","expires_at":1} x"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn errors_repeat_no_value() {
        for json in [
            r#"{"kind":"secret","issuer":"secret","value":"secret","expires_at":1}"#,
            r#"{"kind":"jti","issuer":"","value":"secret","expires_at":1}"#,
        ] {
            assert!(!read(json).unwrap_err().to_string().contains("secret"));
        }
    }
}
