//! The headers of a response, line by line, and how long its keys are fresh. A line without a name
//! is `Cache-Control`.
#![no_main]

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use portcullis::jwks::fuzzing::time_to_live;

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let (name, value) = match line.strip_prefix(b"age:") {
            Some(value) => (HeaderName::from_static("age"), value),
            None => (CACHE_CONTROL, line),
        };
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return;
        };
        headers.append(name, value);
    }
    let seconds = time_to_live(&headers).as_secs();
    assert!((60..=3600).contains(&seconds), "{seconds}");

    headers.remove("age");
    let at_birth = time_to_live(&headers).as_secs();
    assert!(
        seconds <= at_birth,
        "keys that stood in a cache are no fresher"
    );
    assert_eq!(at_birth, expected(&headers), "{headers:?}");
});

/// RFC 9111 section 5.2, for directives in their usual form.
fn expected(headers: &HeaderMap) -> u64 {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let text: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    let text = text.join(",").to_ascii_lowercase();
    let directives: Vec<(&str, &str)> = text
        .split(',')
        .map(|directive| directive.split_once('=').unwrap_or((directive, "")))
        .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
        .collect();
    let is_stated = |name: &str| directives.iter().any(|(own, _)| *own == name);
    let max_age = directives.iter().rev().find(|(name, _)| *name == "max-age");
    if is_stated("no-store") || is_stated("no-cache") {
        return 60;
    }
    // An invalid value means stale (section 4.2.1).
    max_age.map_or(600, |(_, age)| age.parse().unwrap_or(0).clamp(60, 3600))
}
