//! A revocation as an object: each member of its kind once, and no other member.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

use super::revocation::{Kind, Revocation};
use crate::json::not_null;

const SHAPE: &str = "a revocation is an object of kind and issuer, and for kind jti: value, \
     expires_at; sid or kid: value, until; sub or client: value, not_before; iss: not_before";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    kind: String,
    issuer: String,
    #[serde(default, deserialize_with = "not_null")]
    value: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    expires_at: Option<u64>,
    #[serde(default, deserialize_with = "not_null")]
    until: Option<u64>,
    #[serde(default, deserialize_with = "not_null")]
    not_before: Option<u64>,
}

impl Serialize for Revocation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = 3 + usize::from(self.value().is_some());
        let mut object = serializer.serialize_struct("Revocation", members)?;
        object.serialize_field("kind", &self.kind)?;
        object.serialize_field("issuer", &self.issuer)?;
        if let Some(value) = self.value() {
            object.serialize_field("value", value)?;
        }
        let time = match self.kind {
            Kind::Token => "expires_at",
            Kind::Session | Kind::Key => "until",
            Kind::Subject | Kind::Client | Kind::Issuer => "not_before",
        };
        object.serialize_field(time, &self.time)?;
        object.end()
    }
}

impl<'de> Deserialize<'de> for Revocation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A derived implementation would also accept an array of the members' values.
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
    fn revocation(self) -> Option<Revocation> {
        let kind: Kind = self.kind.parse().ok()?;
        let value = match (kind, self.value) {
            (Kind::Issuer, None) => String::new(),
            (Kind::Issuer, Some(_)) => return None,
            (_, value) => value?,
        };
        let time = match (kind, self.expires_at, self.until, self.not_before) {
            (Kind::Token, Some(time), None, None)
            | (Kind::Session | Kind::Key, None, Some(time), None)
            | (Kind::Subject | Kind::Client | Kind::Issuer, None, None, Some(time)) => time,
            _ => return None,
        };
        Some(Revocation {
            kind,
            issuer: self.issuer.into(),
            value: value.into(),
            time,
        })
    }
}
#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn read(json: &str) -> Result<Revocation, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn every_kind_round_trips() {
        #[track_caller]
        fn check(json: &str, expected: Revocation) {
            assert_eq!(read(json).unwrap(), expected);
            let written = serde_json::to_string(&expected).unwrap();
            assert_eq!(read(&written).unwrap(), expected, "{written}");
            let members = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
            assert_eq!(members(&written), members(json));
        }
        let at = UNIX_EPOCH + Duration::from_secs(123);
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
    fn kinds_are_spelled_as_in_metrics() {
        for &kind in Kind::ALL {
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
    fn rejects_every_other_shape() {
        for json in [
            // A member is missing.
            r#"{}"#,
            r#"{"issuer":"i","value":"v","expires_at":1}"#,
            r#"{"kind":"jti","value":"v","expires_at":1}"#,
            r#"{"kind":"jti","issuer":"i","expires_at":1}"#,
            r#"{"kind":"jti","issuer":"i","value":"v"}"#,
            r#"{"kind":"iss","issuer":"i"}"#,
            // A member is unknown or belongs to another kind.
            r#"{"kind":"jti","issuer":"i","value":"v","expires_at":1,"reason":"x"}"#,
            r#"{"kind":"jti","issuer":"i","value":"v","expires_at":1,"until":1}"#,
            r#"{"kind":"jti","issuer":"i","value":"v","expires_at":1,"not_before":null}"#,
            r#"{"kind":"jti","issuer":"i","value":"v","not_before":1}"#,
            r#"{"kind":"sub","issuer":"i","value":"v","expires_at":1}"#,
            r#"{"kind":"iss","issuer":"i","value":"v","not_before":1}"#,
            r#"{"kind":"iss","issuer":"i","value":"","not_before":1}"#,
            // A member occurs twice.
            r#"{"kind":"jti","kind":"jti","issuer":"i","value":"v","expires_at":1}"#,
            r#"{"kind":"jti","issuer":"i","value":"v","value":"w","expires_at":1}"#,
            // A name is empty.
            r#"{"kind":"jti","issuer":"","value":"v","expires_at":1}"#,
            r#"{"kind":"jti","issuer":"i","value":"","expires_at":1}"#,
            r#"{"kind":"iss","issuer":"","not_before":1}"#,
            // A member has another type.
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
    fn fractions_never_shorten_a_revocation() {
        let half = UNIX_EPOCH + Duration::from_millis(1500);
        let before_1970 = UNIX_EPOCH - Duration::from_secs(7);
        let seconds = |revocation: Revocation| revocation.time;
        assert_eq!(seconds(Revocation::token("i", "v", half)), 2);
        assert_eq!(seconds(Revocation::subject("i", "v", half)), 1);
        assert_eq!(seconds(Revocation::key("i", "v", before_1970)), 0);
    }

    #[test]
    fn every_member_can_be_read() {
        let time = UNIX_EPOCH + Duration::from_secs(123);
        let session = Revocation::session("i", "v", time);
        assert_eq!((session.iss(), session.value()), ("i", Some("v")));
        assert_eq!((session.until(), session.not_before()), (Some(time), None));
        let issuer = Revocation::issuer("i", time);
        assert_eq!((issuer.iss(), issuer.value()), ("i", None));
        assert_eq!((issuer.until(), issuer.not_before()), (None, Some(time)));
        // Later than any `SystemTime` of some platforms.
        let far = r#"{"kind":"kid","issuer":"i","value":"v","until":18446744073709551615}"#;
        assert!(read(far).unwrap().until().unwrap() > time);
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
