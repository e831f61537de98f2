//! Which header names are one name to somebody on the way, and which belong to somebody else.

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers that a message or another hop depends on: nobody may own them here, and no client can have them dropped.
const RESERVED: [&str; 31] = [
    "accept",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "grpc-timeout",
    "host",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "set-cookie",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Options of `Connection` that are about the connection itself and drop no header of ours.
const KEPT_OPTIONS: [&str; 3] = ["close", "keep-alive", "upgrade"];

/// Whether two names end up as one where separators are folded.
///
/// CGI and its heirs (WSGI, PHP, Apache) turn whatever is neither letter nor digit into `_`, so to them `x-user-id`,
/// `X_User_Id` and `x.user.id` are the same variable.
pub(crate) fn are_one(a: &str, b: &str) -> bool {
    let folded = |(a, b): (u8, u8)| fold(a) == fold(b);
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(folded)
}

const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte.to_ascii_lowercase()
    } else {
        b'-'
    }
}

pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|reserved| are_one(reserved, name))
}

/// Does what the client's `Connection` header asks for (RFC 9110 section 7.6.1), once and here: the headers that it
/// nominates are removed, and no longer nominated. Otherwise the next hop would remove what is set afterwards.
pub(crate) fn apply_connection(headers: &mut HeaderMap) {
    let lines = headers.get_all(CONNECTION);
    if lines.iter().flat_map(options).all(is_kept) {
        return;
    }
    let lines: Vec<HeaderValue> = lines.iter().cloned().collect();
    headers.remove(CONNECTION);
    for kept in KEPT_OPTIONS {
        let mut asked = lines.iter().flat_map(options);
        if asked.any(|option| option.eq_ignore_ascii_case(kept.as_bytes())) {
            headers.append(CONNECTION, HeaderValue::from_static(kept));
        }
    }
    for option in lines.iter().flat_map(options) {
        match HeaderName::from_bytes(option) {
            Ok(name) if !is_reserved(name.as_str()) => headers.remove(name),
            Ok(_) | Err(_) => None,
        };
    }
}

fn options(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let options = line.as_bytes().split(|byte| *byte == b',');
    options
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty())
}

fn is_kept(option: &[u8]) -> bool {
    let mut kept = KEPT_OPTIONS.iter();
    kept.any(|kept| option.eq_ignore_ascii_case(kept.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_and_case_are_folded_and_nothing_else_is() {
        for spelling in ["X-USER-ID", "x_user_id", "x.user-id", "x~user!id"] {
            assert!(are_one("x-user-id", spelling), "{spelling}");
        }
        for other in ["x-user-ids", "xuserid", "x--user-id", "x-user-1d", ""] {
            assert!(!are_one("x-user-id", other), "{other}");
        }
    }

    #[track_caller]
    fn check(lines: &[&'static str], expected: &[&str], kept: &[&str]) {
        let mut headers = HeaderMap::new();
        for name in ["a", "b", "host", "content-length", "upgrade", "x-real-ip"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        for line in lines {
            headers.append(CONNECTION, HeaderValue::from_static(line));
        }
        apply_connection(&mut headers);
        let options = headers.get_all(CONNECTION).iter().collect::<Vec<_>>();
        assert_eq!(options, expected);
        for name in ["a", "b"] {
            assert_eq!(headers.contains_key(name), kept.contains(&name), "{name}");
        }
        for name in ["host", "content-length", "upgrade", "x-real-ip"] {
            assert!(headers.contains_key(name), "{name}");
        }
    }

    #[test]
    fn a_nominated_header_is_removed_and_no_longer_nominated() {
        check(&["a"], &[], &["b"]);
        check(&["A , b"], &[], &[]);
        check(&["close, a"], &["close"], &["b"]);
        check(&["keep-alive", "b"], &["keep-alive"], &["a"]);
        check(&["a, Upgrade, upgrade"], &["upgrade"], &["b"]);
        check(&["x-not-here"], &[], &["a", "b"]);
    }

    #[test]
    fn what_names_no_header_is_dropped_from_the_list() {
        check(&["a b, \"a\", {a}"], &[], &["a", "b"]);
    }

    #[test]
    fn a_connection_header_that_nominates_nothing_is_left_as_it_came() {
        check(
            &["Keep-Alive, Upgrade"],
            &["Keep-Alive, Upgrade"],
            &["a", "b"],
        );
        check(&[], &[], &["a", "b"]);
        check(&[", ,"], &[", ,"], &["a", "b"]);
    }

    #[test]
    fn what_others_depend_on_cannot_be_dropped() {
        check(
            &["host, content_length, Content-Length, upgrade, x-real-ip"],
            &["upgrade"],
            &["a", "b"],
        );
    }
}
