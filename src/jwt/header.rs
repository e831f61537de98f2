//! A token's parts and its header, read strictly (RFC 7515 sections 4 and 7.1).

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::sources::is_token68;
use crate::algorithm::Algorithm;
use crate::json::{Members, StrictValue, Text, text};
use crate::rejection::Reason;

/// The parts of a token, decoded.
pub(super) struct Parts<'t> {
    pub(super) payload: Vec<u8>,
    /// The bytes that the signature covers.
    pub(super) signed: &'t [u8],
    /// The header, then the signature.
    rest: Vec<u8>,
    header_len: usize,
}

/// The parts of a token in compact form, still encoded.
#[derive(Clone, Copy)]
struct Compact<'t> {
    header: &'t [u8],
    payload: &'t [u8],
    signature: &'t [u8],
    signed: &'t [u8],
}

/// The members of a header that passed all checks.
pub(super) struct Header<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<Cow<'t, str>>,
    pub(super) typ: Option<Cow<'t, str>>,
}

/// The members that verification uses.
struct Raw<'t> {
    alg: Option<Cow<'t, str>>,
    kid: Option<Cow<'t, str>>,
    typ: Option<Cow<'t, str>>,
}

/// The maximum length of a key ID. A longer key ID is not looked up.
const MAX_KID: usize = 256;

// === impl Parts ===

impl<'t> Parts<'t> {
    /// Decodes the three parts. A token that cannot be decoded is malformed. If it contains
    /// characters that no credential may contain (`token68`), the request is malformed.
    pub(super) fn decode(token: &'t [u8]) -> Result<Self, Reason> {
        Self::strictly(token).map_err(|reason| {
            if is_token68(token) {
                reason
            } else {
                Reason::InvalidRequest
            }
        })
    }

    fn strictly(token: &'t [u8]) -> Result<Self, Reason> {
        let compact = Compact::split(token)?;
        let mut rest = Vec::with_capacity(compact.header.len() + compact.signature.len());
        decode(compact.header, &mut rest)?;
        let header_len = rest.len();
        decode(compact.signature, &mut rest)?;
        let mut payload = Vec::with_capacity(compact.payload.len() / 4 * 3 + 3);
        decode(compact.payload, &mut payload)?;
        Ok(Self {
            payload,
            signed: compact.signed,
            rest,
            header_len,
        })
    }

    pub(super) fn header(&self) -> &[u8] {
        self.rest.get(..self.header_len).unwrap_or_default()
    }

    pub(super) fn signature(&self) -> &[u8] {
        self.rest.get(self.header_len..).unwrap_or_default()
    }
}

// === impl Compact ===

impl<'t> Compact<'t> {
    /// Accepts exactly three parts: encrypted tokens have five, unsigned tokens two.
    fn split(token: &'t [u8]) -> Result<Self, Reason> {
        // As text, because the standard library searches text faster than bytes.
        let token = text(token)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(Reason::MalformedToken)?;
        let (header, payload) = signed.split_once('.').ok_or(Reason::MalformedToken)?;
        if payload.contains('.') {
            return Err(Reason::MalformedToken);
        }
        Ok(Self {
            header: header.as_bytes(),
            payload: payload.as_bytes(),
            signature: signature.as_bytes(),
            signed: signed.as_bytes(),
        })
    }
}

/// Strict base64url: no padding, no other alphabet, no stray bits at the end.
fn decode(part: &[u8], into: &mut Vec<u8>) -> Result<(), Reason> {
    URL_SAFE_NO_PAD
        .decode_vec(part, into)
        .map_err(|_| Reason::MalformedToken)
}

// === impl Header ===

impl<'t> Header<'t> {
    pub(super) fn read(json: &'t [u8]) -> Result<Self, Reason> {
        let members: Raw<'t> =
            serde_json::from_str(text(json)?).map_err(|_| Reason::MalformedToken)?;
        if members.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(Reason::UnknownKey);
        }
        let algorithm = members.alg.ok_or(Reason::MalformedToken)?;
        Ok(Self {
            algorithm: Algorithm::from_word(&algorithm).ok_or(Reason::AlgorithmNotAllowed)?,
            kid: members.kid,
            typ: members.typ,
        })
    }

    /// The type without the prefix `application/`, which RFC 7515 section 4.1.9 makes optional.
    /// Empty if there is none.
    pub(super) fn media_type(&self) -> &str {
        let typ = self.typ.as_deref().unwrap_or_default();
        match typ.split_at_checked("application/".len()) {
            Some((prefix, rest))
                if prefix.eq_ignore_ascii_case("application/") && !rest.is_empty() =>
            {
                rest
            }
            _ => typ,
        }
    }
}

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strict;

        impl<'de> Visitor<'de> for Strict {
            type Value = Raw<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JOSE header")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut alg, mut kid, mut typ) = (None, None, None);
                let mut members = Members::new();
                while let Some(name) = members.next(&mut map)? {
                    match name {
                        "alg" => alg = Some(map.next_value::<Text<'de>>()?.0),
                        "kid" => kid = Some(map.next_value::<Text<'de>>()?.0),
                        "typ" => typ = Some(map.next_value::<Text<'de>>()?.0),
                        // No critical extension is supported (RFC 7515 section 4.1.11), and keys
                        // come from the issuer, never from the token.
                        "crit" | "jwk" | "jku" | "x5u" | "x5c" => {
                            return Err(A::Error::custom("a member that is not accepted"));
                        }
                        _ => {
                            map.next_value_seed(StrictValue::new())?;
                        }
                    }
                }
                Ok(Raw { alg, kid, typ })
            }
        }

        deserializer.deserialize_map(Strict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<(Algorithm, Option<&str>, &str), Reason>) {
        let header = Header::read(json.as_bytes());
        let seen = header
            .as_ref()
            .map(|h| (h.algorithm, h.kid.as_deref(), h.media_type()));
        assert_eq!(seen, expected.as_ref().map(|e| *e), "{json}");
    }

    #[test]
    fn reads_known_members_and_ignores_others() {
        check(r#"{"alg":"RS256"}"#, Ok((Algorithm::RS256, None, "")));
        check(
            r#"{"typ":"application/at+jwt","alg":"Ed25519","kid":"a\/b","x5t":"x","nested":{"a":[1]}}"#,
            Ok((Algorithm::EdDSA, Some("a/b"), "at+jwt")),
        );
    }

    #[test]
    fn rejects_members_that_must_not_be_ignored() {
        for member in [
            r#""crit":["exp"]"#,
            r#""crit":[]"#,
            r#""jwk":{}"#,
            r#""jku":"https://evil""#,
            r#""x5u":"https://evil""#,
            r#""x5c":[]"#,
            r#""alg":"RS256""#,
            r#""\u0061lg":"RS256""#,
            r#""kid":7"#,
            r#""kid":null"#,
            r#""typ":[]"#,
        ] {
            check(
                &format!(r#"{{"alg":"RS256",{member}}}"#),
                Err(Reason::MalformedToken),
            );
        }
        for json in [
            "",
            "{}",
            "[]",
            "null",
            r#""alg""#,
            r#"{"alg":"RS256"}x"#,
            r#"{"alg":"RS256""#,
            "\u{feff}{}",
        ] {
            check(json, Err(Reason::MalformedToken));
        }
    }

    #[test]
    fn none_and_unknown_algorithms_are_not_allowed() {
        for alg in ["none", "None", "nOnE", "", "ES512", "HS256 ", "RSA-OAEP"] {
            check(
                &format!(r#"{{"alg":"{alg}"}}"#),
                Err(Reason::AlgorithmNotAllowed),
            );
        }
    }

    #[test]
    fn a_token_has_exactly_three_parts() {
        for token in ["", "a", "a.b", "a.b.c.d", "a.b.c.d.e"] {
            assert_eq!(
                Compact::split(token.as_bytes()).err(),
                Some(Reason::MalformedToken)
            );
        }
        let parts = Compact::split(b"a.b.").unwrap();
        assert_eq!((parts.signed, parts.signature), (&b"a.b"[..], &b""[..]));
    }

    #[test]
    fn invalid_credential_characters_are_a_malformed_request() {
        #[track_caller]
        fn check(token: &str, expected: Reason) {
            let parts = Parts::decode(token.as_bytes());
            assert_eq!(parts.err(), Some(expected), "{token}");
        }
        for token in ["a", "QQ.QQ", "QQ.QQ.QR", "QQ.QQ.Q+", "QQ.QQ.QQ=="] {
            check(token, Reason::MalformedToken);
        }
        for token in [
            "=",
            "a b",
            "QQ.Q Q.QQ",
            "QQ.QQ.QQ ",
            "QQ=.QQ.QQ",
            "a, Bearer b",
            "ä",
        ] {
            check(token, Reason::InvalidRequest);
        }
    }

    #[test]
    fn base64url_is_strict() {
        let decode = |part: &[u8]| {
            let mut bytes = Vec::new();
            decode(part, &mut bytes).map(|()| bytes)
        };
        assert_eq!(decode(b"QQ").unwrap(), b"A");
        for part in ["QQ==", "QR", "Q", "Q Q", "QQ\n", "Q+", "Q/"] {
            assert_eq!(
                decode(part.as_bytes()),
                Err(Reason::MalformedToken),
                "{part}"
            );
        }
    }
}
