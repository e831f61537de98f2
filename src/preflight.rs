//! CORS preflight: the request that a browser sends before a cross-origin request (Fetch, section
//! 4.8).

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, Method};

/// Whether the request is a CORS preflight, which browsers send without credentials.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preflight_needs_method_and_both_headers() {
        for (method, names, expected) in [
            (
                Method::OPTIONS,
                &["origin", "access-control-request-method"][..],
                true,
            ),
            (Method::OPTIONS, &["origin"], false),
            (Method::OPTIONS, &["access-control-request-method"], false),
            (
                Method::GET,
                &["origin", "access-control-request-method"],
                false,
            ),
        ] {
            let mut headers = HeaderMap::new();
            for name in names {
                headers.insert(*name, http::HeaderValue::from_static("x"));
            }
            assert_eq!(
                is_preflight(&method, &headers),
                expected,
                "{method} {names:?}"
            );
        }
    }
}
