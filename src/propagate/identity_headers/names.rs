//! Which header names are one name to somebody on the way, and which belong to somebody else.

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers that a message or another hop depends on: nobody may own them here, and nobody can have them dropped.
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

/// What a proxy in front of this service sets and the upstream believes. A name of these may be owned, but the client, whose
/// `Connection` header such a proxy may have passed on, cannot have it dropped.
const SET_IN_FRONT: [&str; 5] = [
    "baggage",
    "cf-connecting-ip",
    "tracestate",
    "true-client-ip",
    "x-request-id",
];

/// A prefix of such names.
const FORWARDED: &str = "x-forwarded-";

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

/// Whether no `Connection` header can have it dropped.
fn is_undroppable(name: &str) -> bool {
    let prefix = name.get(..FORWARDED.len());
    is_reserved(name)
        || prefix.is_some_and(|prefix| are_one(FORWARDED, prefix))
        || SET_IN_FRONT.iter().any(|set| are_one(set, name))
}

/// Does what the client's `Connection` header asks for (RFC 9110 section 7.6.1), once and here: the headers that it
/// nominates are removed, and no longer nominated. Otherwise the next hop would remove what is set afterwards. What others
/// depend on stays.
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
            Ok(name) if !is_undroppable(name.as_str()) => headers.remove(name),
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
    fn what_a_proxy_in_front_has_set_cannot_be_dropped() {
        #[track_caller]
        fn check(name: &'static str, stays: bool) {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static("1"));
            headers.insert(CONNECTION, HeaderValue::from_static(name));
            apply_connection(&mut headers);
            assert_eq!(headers.contains_key(name), stays, "{name}");
            assert!(!headers.contains_key(CONNECTION), "{name}");
        }
        for name in [
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-user",
            "x-forwarded-client-cert",
            "x_forwarded_prefix",
            "x-forwarded-",
            "forwarded",
            "via",
            "x-real-ip",
            "true-client-ip",
            "cf-connecting-ip",
            "x-request-id",
            "x_request_id",
            "traceparent",
            "tracestate",
            "baggage",
        ] {
            check(name, true);
        }
        for name in ["x-forwarded", "x-forward-for", "x-request-id-2", "x-debug"] {
            check(name, false);
        }
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
