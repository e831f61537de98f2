//! CORS preflight: the request that a browser sends before the request (Fetch standard, section 4.8).

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, Method};

/// Whether this is a true preflight. Browsers never put credentials into one.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_three_signs_make_a_preflight() {
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
