//! Takes the bearer token out of a request (RFC 6750 section 2.1).

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use crate::identity::Bearer;
use crate::rejection::Reason;

/// Takes the credential that this layer consumes; nobody below sees it, and nobody sees one that is refused.
///
/// `None` where there is no `Authorization`, or one of another scheme, which is then left alone. Whether the credential is
/// a `token68` is not looked at: a token that was verified before is one, and any other is decoded more strictly.
pub(super) fn take(headers: &mut HeaderMap, max_bytes: usize) -> Result<Option<Bearer>, Reason> {
    let lines = headers.len();
    // The first line, in one search. All others of the name go with it.
    let Some(value) = headers.remove(AUTHORIZATION) else {
        return Ok(None);
    };
    if lines - headers.len() > 1 {
        return Err(Reason::InvalidRequest);
    }
    let Some(token) = credential(value.as_bytes()) else {
        headers.insert(AUTHORIZATION, value);
        return Ok(None);
    };
    let token = token.strip_prefix(b" ").ok_or(Reason::InvalidRequest)?;
    let token = trim_start(token);
    if token.len() > max_bytes {
        return Err(Reason::TokenTooLarge);
    }
    if token.is_empty() {
        return Err(Reason::InvalidRequest);
    }
    let one_space = value.len() == Bearer::SCHEME.len() + token.len();
    let rebuilt = (!one_space).then(|| bearer(token)).flatten();
    Ok(Some(Bearer::new(rebuilt.unwrap_or(value))))
}

/// What follows the scheme, if the scheme is `Bearer` in any case.
fn credential(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_first_chunk::<6>()?;
    let ends = match rest.first() {
        Some(b' ') | None => true,
        Some(byte) => !is_token_char(*byte),
    };
    let is_bearer = scheme == b"Bearer" || scheme.eq_ignore_ascii_case(b"bearer");
    (ends && is_bearer).then_some(rest)
}

fn trim_start(mut token: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = token {
        token = rest;
    }
    token
}

fn bearer(token: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_bytes(&[Bearer::SCHEME.as_bytes(), token].concat()).ok()
}

/// RFC 9110 section 5.6.2.
fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110 section 11.2.
pub(super) fn is_token68(token: &[u8]) -> bool {
    let bare = token.trim_ascii_end();
    let end = bare.iter().rposition(|byte| *byte != b'=');
    let body = end.and_then(|end| bare.get(..=end)).unwrap_or_default();
    bare.len() == token.len()
        && !body.is_empty()
        && body
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&[u8]], expected: Result<Option<&[u8]>, Reason>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        let taken = take(&mut headers, 16);
        let token = taken.as_ref().map(|b| b.as_ref().map(Bearer::token));
        assert_eq!(token, expected.as_ref().map(|b| *b));
        let left: Vec<_> = headers.values().map(HeaderValue::as_bytes).collect();
        match taken {
            Ok(None) => assert_eq!(left, values, "another's credential stays"),
            _ => assert!(left.is_empty(), "the credential is moved, not copied"),
        }
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        for value in [
            "Bearer a.b.c",
            "bearer a.b.c",
            "BEARER a.b.c",
            "Bearer   a.b.c",
        ] {
            check(&[value.as_bytes()], Ok(Some(b"a.b.c")));
        }
        check(&[b"Bearer a-_~+/=="], Ok(Some(b"a-_~+/==")));
    }

    #[test]
    fn another_scheme_is_no_token() {
        check(&[], Ok(None));
        for value in [
            "Basic YTpi",
            "",
            "Bearerx a.b.c",
            "Foo Bearer a.b.c",
            "DPoP a.b.c",
            "Bear",
        ] {
            check(&[value.as_bytes()], Ok(None));
        }
    }

    #[test]
    fn two_credentials_are_a_malformed_request() {
        check(
            &[b"Bearer a.b.c", b"Bearer a.b.c"],
            Err(Reason::InvalidRequest),
        );
        check(
            &[b"Basic YTpi", b"Bearer a.b.c"],
            Err(Reason::InvalidRequest),
        );
    }

    #[test]
    fn a_malformed_credential_is_a_malformed_request() {
        for value in ["Bearer", "Bearer ", "Bearer   ", "Bearer\ta.b.c"] {
            check(&[value.as_bytes()], Err(Reason::InvalidRequest));
        }
    }

    #[test]
    fn a_credential_is_made_of_few_characters() {
        for token in ["a", "a-_~+/==", "a.b.c"] {
            assert!(is_token68(token.as_bytes()), "{token}");
        }
        for token in ["", "=", "a b", "a=b", "a, b", "a ", "a\t", "ä"] {
            assert!(!is_token68(token.as_bytes()), "{token}");
        }
    }

    #[test]
    fn a_large_token_is_refused_before_it_is_read() {
        check(&[b"Bearer 01234567890123456"], Err(Reason::TokenTooLarge));
        check(&[b"Bearer 0123456789012345"], Ok(Some(b"0123456789012345")));
    }
}
