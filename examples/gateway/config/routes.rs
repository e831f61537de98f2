//! Validates routes: paths are normalized, and no route hides another.

use super::model::Route;
use super::problems::Problems;
use crate::table::{Found, Table};
use crate::target::is_plain;

/// Paths that the gateway itself serves on `listen`.
const OWN_PATHS: [&str; 1] = ["/healthz"];

/// A path that requests can have, in the one spelling that the gateway compares.
pub(super) fn path(text: &str) -> Result<String, String> {
    let problem = |problem| Err(format!("{text:?} {problem}"));
    let Some(rest) = text.strip_prefix('/') else {
        return problem("must start with `/`");
    };
    if rest.is_empty() {
        return Ok(text.to_owned());
    }
    for (at, segment) in rest.split('/').enumerate() {
        if segment.is_empty() {
            return problem(
                "has an empty segment: remove the double or trailing slash (a route includes everything below its path)",
            );
        }
        if is_wildcard(segment) {
            let above: Vec<_> = rest.split('/').take(at).collect();
            let (above, own) = (format!("/{}", above.join("/")), spelled(segment));
            return Err(format!(
                "{text:?}: {segment:?} is not a wildcard or parameter, because routes have none: write {above:?}, which includes everything below it{own}"
            ));
        }
        let Some(decoded) = decode(segment) else {
            return problem(
                "contains characters that are not allowed: write letters, digits and -._~!$&'()+,=@ as they are, : inside a segment too, and other bytes as %20",
            );
        };
        let name = decoded.split(|byte| *byte == b';').next();
        if matches!(name, Some(b"." | b"..")) {
            return problem("contains a dot segment: such requests are rejected");
        }
        if decoded.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0)) {
            return problem(
                "contains an encoded slash, backslash or zero byte: such requests are rejected",
            );
        }
    }
    if OWN_PATHS.contains(&text) {
        return problem("is served by the gateway itself, so this route is unreachable");
    }
    Ok(text.to_owned())
}

/// Patterns that other gateways and frameworks treat as wildcards or parameters. Here they would be
/// literal, and requests meant for the route would go elsewhere.
fn is_wildcard(segment: &str) -> bool {
    let is_inside = |(open, close)| segment.starts_with(open) && segment.ends_with(close);
    segment.contains('*')
        || segment.starts_with(':')
        || [('{', '}'), ('<', '>'), ('[', ']')]
            .into_iter()
            .any(is_inside)
}

/// How to write the segment if it was meant literally, if a path may contain it.
fn spelled(segment: &str) -> String {
    let rest = segment.strip_prefix(':');
    let escaped = rest.map_or(segment.to_owned(), |rest| format!("%3A{rest}"));
    let escaped = escaped.replace('*', "%2A");
    match decode(&escaped) {
        Some(_) => format!("; write {escaped:?} for the literal name"),
        None => String::new(),
    }
}

/// Reports routes that are never found. Of two routes with the same host and path the second is
/// unreachable, whatever its methods.
pub(super) fn unreachable(routes: &[Route], problems: &Problems) {
    let rows = routes.iter().enumerate();
    let table = Table::new(rows.map(|(at, own)| (own.host.clone(), own.path.clone(), at)));
    for (at, route) in routes.iter().enumerate() {
        let path = &route.path;
        let found = table.find(route.host.as_deref(), path);
        let why = match found {
            Found::Route(own) if own == at && is_plain(path) => continue,
            Found::Route(other) if other != at => {
                let other = routes.get(other).map(|other| other.place.to_string());
                format!(
                    "{} already has {path:?} on the same host; use `require_for` there for rules per method",
                    other.unwrap_or_default()
                )
            }
            _ => format!(
                "some servers read {path:?} as a different path (case, `;` or escapes), and such requests are rejected"
            ),
        };
        let text = format!("this route is unreachable: {why}");
        problems.add(&route.place, text);
    }
}

/// Percent-decodes a segment (RFC 3986 section 3.3). Unreserved bytes must not be escaped, because
/// the gateway compares bytes and clients send them unescaped.
fn decode(segment: &str) -> Option<Vec<u8>> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            may_stand(byte).then(|| decoded.push(byte))?;
            continue;
        }
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        let byte = high * 16 + low;
        let is_unreserved = byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
        (!is_unreserved).then(|| decoded.push(byte))?;
    }
    Some(decoded)
}

/// Upper case only, as in normalized URLs.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn may_stand(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}
