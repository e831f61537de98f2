//! The headers that only this service may set, and the rules for header names.

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::field::HeaderSource;
use crate::error::ConfigError;
use crate::identity::Identity;
use crate::rejection::Reason;

/// The headers of a layer and where their values come from. No two names are spellings of one
/// name.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnedHeaders(Vec<(HeaderName, HeaderSource)>);

/// Headers that a message or another hop depends on. A layer cannot own them, and `Connection` does
/// not remove them.
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

/// Headers that a proxy in front sets and the upstream believes. A layer can own them, but
/// `Connection`, which the proxy may have forwarded from the client, does not remove them.
const SET_IN_FRONT: [&str; 5] = [
    "baggage",
    "cf-connecting-ip",
    "tracestate",
    "true-client-ip",
    "x-request-id",
];

/// The prefix of more such names.
const FORWARDED: &str = "x-forwarded-";

/// Options of `Connection` that concern the connection itself and are kept.
const KEPT_OPTIONS: [&str; 3] = ["close", "keep-alive", "upgrade"];

// === impl OwnedHeaders ===

impl OwnedHeaders {
    /// Adds a header, or replaces the source of a header with this name.
    pub(super) fn set(&mut self, name: &str, source: HeaderSource) -> Result<(), ConfigError> {
        let refused = |problem| ConfigError::Header {
            name: name.to_owned(),
            problem,
        };
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| refused("use the name of a header, such as x-tenant"))?;
        if is_reserved(name.as_str()) {
            return Err(refused(
                "messages, connections or other services depend on it: choose another name",
            ));
        }
        let mut owned = self.0.iter_mut();
        match owned.find(|(own, _)| same_header_name(own.as_str(), name.as_str())) {
            Some((own, _)) if *own != name => {
                return Err(refused(
                    "it is another spelling of a header that is already set: choose one",
                ));
            }
            Some((_, own)) => *own = source,
            None => self.0.push((name, source)),
        }
        Ok(())
    }

    /// Adds a header of a preset in place of every other spelling of it.
    pub(super) fn preset(&mut self, name: &'static str, source: HeaderSource) {
        self.0
            .retain(|(own, _)| !same_header_name(own.as_str(), name));
        self.0.push((HeaderName::from_static(name), source));
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Removes the headers that the client sent under these names, and sets them from the identity.
    pub(super) fn rewrite(
        &self,
        headers: &mut HeaderMap,
        identity: Option<&Identity>,
    ) -> Result<(), Reason> {
        // First, so that no header is removed after it was set.
        apply_connection(headers);
        self.remove(headers);
        let Some(identity) = identity else {
            return Ok(());
        };
        for (name, source) in &self.0 {
            if let Some(value) = source.value(identity)? {
                headers.insert(name.clone(), value);
            }
        }
        Ok(())
    }

    fn remove(&self, headers: &mut HeaderMap) {
        let is_owned = |name: &&HeaderName| {
            let mut names = self.names();
            names.any(|own| same_header_name(own, name.as_str()))
        };
        // Empty for honest clients, and then nothing is allocated.
        let spoofed: Vec<HeaderName> = headers.keys().filter(is_owned).cloned().collect();
        for name in spoofed {
            headers.remove(name);
        }
    }
}

/// Whether some servers read two names as one.
///
/// CGI and its successors (WSGI, PHP, Apache) replace every byte that is neither a letter nor a
/// digit by `_`, so `x-user-id`, `X_User_Id` and `x.user.id` become the same variable.
fn same_header_name(a: &str, b: &str) -> bool {
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

fn is_reserved(name: &str) -> bool {
    RESERVED
        .iter()
        .any(|reserved| same_header_name(reserved, name))
}

/// Whether `Connection` does not remove it.
fn is_kept_header(name: &str) -> bool {
    let prefix = name.get(..FORWARDED.len());
    is_reserved(name)
        || prefix.is_some_and(|prefix| same_header_name(FORWARDED, prefix))
        || SET_IN_FRONT.iter().any(|set| same_header_name(set, name))
}

/// Applies the `Connection` header of the client (RFC 9110 section 7.6.1): removes the headers that
/// it names, and their names from it. Otherwise the next hop would remove headers that are set
/// afterwards. Headers that others depend on are kept.
fn apply_connection(headers: &mut HeaderMap) {
    let lines = headers.get_all(CONNECTION);
    if lines.iter().flat_map(options).all(is_kept_option) {
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
            Ok(name) if !is_kept_header(name.as_str()) => headers.remove(name),
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

fn is_kept_option(option: &[u8]) -> bool {
    let mut kept = KEPT_OPTIONS.iter();
    kept.any(|kept| option.eq_ignore_ascii_case(kept.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_separators_and_case_are_folded() {
        for spelling in ["X-USER-ID", "x_user_id", "x.user-id", "x~user!id"] {
            assert!(same_header_name("x-user-id", spelling), "{spelling}");
        }
        for other in ["x-user-ids", "xuserid", "x--user-id", "x-user-1d", ""] {
            assert!(!same_header_name("x-user-id", other), "{other}");
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
    fn a_nominated_header_is_removed_once() {
        check(&["a"], &[], &["b"]);
        check(&["A , b"], &[], &[]);
        check(&["close, a"], &["close"], &["b"]);
        check(&["keep-alive", "b"], &["keep-alive"], &["a"]);
        check(&["a, Upgrade, upgrade"], &["upgrade"], &["b"]);
        check(&["x-not-here"], &[], &["a", "b"]);
    }

    #[test]
    fn malformed_options_are_removed() {
        check(&["a b, \"a\", {a}"], &[], &["a", "b"]);
    }

    #[test]
    fn a_connection_without_nominations_is_unchanged() {
        check(
            &["Keep-Alive, Upgrade"],
            &["Keep-Alive, Upgrade"],
            &["a", "b"],
        );
        check(&[], &[], &["a", "b"]);
        check(&[", ,"], &[", ,"], &["a", "b"]);
    }

    #[test]
    fn headers_of_a_proxy_in_front_are_kept() {
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
    fn reserved_headers_are_kept() {
        check(
            &["host, content_length, Content-Length, upgrade, x-real-ip"],
            &["upgrade"],
            &["a", "b"],
        );
    }
}
