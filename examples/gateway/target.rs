//! Rejects requests whose target an upstream could read differently from this gateway.

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::{Method, Version, uri::Authority};

/// The host, normalized as in route configuration. Its existence means that the path is safe to
/// look up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Lower case, without port and trailing dot. `None` for HTTP/1.0 only.
    pub(crate) host: Option<String>,
}

/// Returns the request's target, or `None` if it is ambiguous.
pub(crate) fn target(request: &Request) -> Option<Target> {
    let uri = request.uri();
    let is_http1 = request.version() <= Version::HTTP_11;
    // CONNECT has a host and no path. An absolute-form target has a second host, which may differ
    // from the `Host` header.
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
    // Some servers treat an invalid port as part of the host name.
    let port = authority.as_str().strip_prefix(authority.host())?;
    if !port.is_empty() && port.strip_prefix(':')?.parse::<u16>().is_err() {
        return None;
    }
    let host = authority.host().to_ascii_lowercase();
    Some(host.strip_suffix('.').unwrap_or(&host).to_owned())
}

/// Whether all servers read this path in the same way.
pub(crate) fn is_plain(path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else {
        return false;
    };
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        // A trailing slash makes the last segment empty. Other empty segments may be merged by a
        // server.
        if segment.is_empty() && !is_last {
            return false;
        }
        if !segment.bytes().all(|byte| byte.is_ascii_graphic()) {
            return false;
        }
        let Some(decoded) = decode(segment) else {
            return false;
        };
        // Overlong encodings of `.` and `/` are not valid UTF-8.
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

/// Matches `.` and `..`, also with parameters or surrounding blanks, which some servers strip
/// first.
pub(crate) fn is_dots(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    matches!(name.trim(), "." | "..")
}

/// Percent-decodes a segment. Returns `None` if a percent sign is not followed by two hex digits.
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
    fn request_has_one_host() {
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
