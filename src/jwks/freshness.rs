//! How long a response allows its keys to be kept.

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL};

/// RFC 9111 section 4.2: `max-age` minus the time in other caches; zero for `no-store` and
/// `no-cache`.
pub(super) fn freshness(headers: &HeaderMap) -> Option<Duration> {
    let mut max_age = None;
    let lines = headers.get_all(CACHE_CONTROL).into_iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    for directive in lines.flat_map(|line| line.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
                max_age = Some(Duration::from_secs(seconds));
            }
            _ => {}
        }
    }
    let age = headers
        .get(AGE)
        .and_then(|age| age.to_str().ok()?.trim().parse().ok());
    let age = Duration::from_secs(age.unwrap_or(0));
    max_age.map(|max_age| max_age.saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_control_determines_freshness() {
        #[track_caller]
        fn check(headers: &[(&str, &str)], expected: Option<u64>) {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                let name = name.parse::<http::HeaderName>().unwrap();
                map.append(name, value.parse().unwrap());
            }
            assert_eq!(
                freshness(&map).map(|age| age.as_secs()),
                expected,
                "{headers:?}"
            );
        }
        check(&[], None);
        check(&[("cache-control", "public")], None);
        check(&[("cache-control", "public, Max-Age=300")], Some(300));
        check(&[("cache-control", "max-age=\"300\"")], Some(300));
        check(
            &[("cache-control", "max-age=300"), ("age", "100")],
            Some(200),
        );
        check(&[("cache-control", "max-age=300"), ("age", "400")], Some(0));
        check(&[("cache-control", "max-age=300"), ("age", "x")], Some(300));
        check(&[("cache-control", "max-age=-1")], Some(0));
        check(
            &[("cache-control", "max-age=99999999999999999999")],
            Some(0),
        );
        check(
            &[
                ("cache-control", "max-age=300"),
                ("cache-control", "no-cache"),
            ],
            Some(0),
        );
        check(
            &[("cache-control", "private, no-store, max-age=300")],
            Some(0),
        );
        check(&[("cache-control", "s-maxage=300, x-max-age=7")], None);
    }
}
