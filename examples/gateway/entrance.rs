//! What no route ever sees: requests whose target an upstream could read differently from this gateway.

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::{Method, Version, uri::Authority};

/// A host as routes name it, and whether the path may be looked up at all.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// In lower case, without port and final dot; `None` only for HTTP/1.0.
    pub(crate) host: Option<String>,
}

/// The request's target, or `None` where it could be read in two ways.
pub(crate) fn target(request: &Request) -> Option<Target> {
    let uri = request.uri();
    let is_http1 = request.version() <= Version::HTTP_11;
    // CONNECT names a host and no path; an absolute form names a second host, which may differ from the first.
    if request.method() == Method::CONNECT || is_http1 && uri.authority().is_some() {
        return None;
    }
    if !is_plain(uri.path()) {
        return None;
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let header = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return None,
        (Some(host), None) => Some(name(host.to_str().ok()?.parse().ok()?)?),
        (None, None) => None,
    };
    let authority = uri.authority().cloned();
    let host = match (authority, header) {
        (Some(authority), header) => {
            let authority = name(authority)?;
            if header.is_some_and(|header| header != authority) {
                return None;
            }
            Some(authority)
        }
        (None, None) if request.version() == Version::HTTP_11 => return None,
        (None, header) => header,
    };
    Some(Target { host })
}

fn name(authority: Authority) -> Option<String> {
    if authority.as_str().contains('@') {
        return None;
    }
    // A port that is none would be part of the name to some.
    let port = authority.as_str().strip_prefix(authority.host())?;
    if !port.is_empty() && port.strip_prefix(':')?.parse::<u16>().is_err() {
        return None;
    }
    let host = authority.host().to_ascii_lowercase();
    Some(host.strip_suffix('.').unwrap_or(&host).to_owned())
}

/// Whether a path may be looked up: no server has a reason to take it for another.
pub(crate) fn is_plain(path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else {
        return false;
    };
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        // A trailing slash makes the last segment empty; elsewhere an empty one may be merged away.
        if segment.is_empty() && !is_last {
            return false;
        }
        if !segment.bytes().all(|byte| byte.is_ascii_graphic()) {
            return false;
        }
        let Some(decoded) = decode(segment) else {
            return false;
        };
        // Overlong forms of `.` and `/` are no UTF-8.
        let Ok(decoded) = String::from_utf8(decoded) else {
            return false;
        };
        if decoded.contains(['/', '\\']) || decoded.contains(char::is_control) || is_dots(&decoded)
        {
            return false;
        }
    }
    true
}

/// `.` and `..`, also with parameters, which some servers cut off first, or with blanks, which others do.
pub(crate) fn is_dots(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    matches!(name.trim(), "." | "..")
}

/// `None` where a percent sign starts no byte.
pub(crate) fn decode(segment: &str) -> Option<Vec<u8>> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[track_caller]
    fn check(version: Version, uri: &str, hosts: &[&str], expected: Option<&str>) {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let host = target(&request.body(Body::empty()).unwrap()).map(|target| target.host);
        assert_eq!(host, expected.map(|host| Some(host.to_owned())));
    }

    #[test]
    fn a_request_has_one_host() {
        let (http1, http2) = (Version::HTTP_11, Version::HTTP_2);
        check(
            http1,
            "/",
            &["Api.Example.com.:80"],
            Some("api.example.com"),
        );
        check(http1, "/", &[], None);
        check(http1, "/", &["a", "a"], None);
        check(http1, "/", &["me@a"], None);
        check(http1, "/", &["a:80.evil.example"], None);
        check(http1, "/", &["a:80000"], None);
        check(http1, "http://a/", &["a"], None);
        check(http2, "http://a/", &[], Some("a"));
        check(http2, "http://a/", &["A:80"], Some("a"));
        check(http2, "http://a/", &["b"], None);
    }
}
