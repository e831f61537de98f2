//! Which routes can be reached: paths that arrive as they are written, and none that stands in another's way.

use super::model::Route;
use super::problems::Problems;
use crate::entrance::is_plain;
use crate::table::{Found, Table};

/// What the gateway answers itself on `listen`.
const OWN_PATHS: [&str; 1] = ["/healthz"];

/// A path that requests can have, spelled the one way in which the gateway compares it.
pub(super) fn path(text: &str) -> Result<String, String> {
    let problem = |problem| Err(format!("{text:?} {problem}"));
    let Some(rest) = text.strip_prefix('/') else {
        return problem("must start with a slash");
    };
    if rest.is_empty() {
        return Ok(text.to_owned());
    }
    for (at, segment) in rest.split('/').enumerate() {
        if segment.is_empty() {
            return problem(
                "has an empty segment: remove the double slash, or the slash at the end; what is below a path belongs to it anyway",
            );
        }
        if is_wildcard(segment) {
            let above: Vec<_> = rest.split('/').take(at).collect();
            let (above, own) = (format!("/{}", above.join("/")), spelled(segment));
            return Err(format!(
                "{text:?}: {segment:?} is no wildcard and no parameter, there are none: write {above:?}, what is below it belongs to it{own}"
            ));
        }
        let Some(decoded) = decode(segment) else {
            return problem(
                "holds what no path may: write letters, digits and -._~!$&'()+,=@ as they are, : inside a segment too, other bytes as %20",
            );
        };
        let name = decoded.split(|byte| *byte == b';').next();
        if matches!(name, Some(b"." | b"..")) {
            return problem("has a segment of dots, and such requests are refused");
        }
        if decoded.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0)) {
            return problem(
                "has an encoded slash, backslash or zero, and such requests are refused",
            );
        }
    }
    if OWN_PATHS.contains(&text) {
        return problem("is answered by the gateway itself: nothing can reach this route");
    }
    Ok(text.to_owned())
}

/// What other gateways and frameworks take for any segment, or for the rest. Here it would be itself, and the requests it
/// was meant for would go to another route.
fn is_wildcard(segment: &str) -> bool {
    let is_inside = |(open, close)| segment.starts_with(open) && segment.ends_with(close);
    segment.contains('*')
        || segment.starts_with(':')
        || [('{', '}'), ('<', '>'), ('[', ']')]
            .into_iter()
            .any(is_inside)
}

/// How to write the segment if it was meant as it stands, where a path may have it.
fn spelled(segment: &str) -> String {
    let rest = segment.strip_prefix(':');
    let escaped = rest.map_or(segment.to_owned(), |rest| format!("%3A{rest}"));
    let escaped = escaped.replace('*', "%2A");
    match decode(&escaped) {
        Some(_) => format!("; {escaped:?} is the name itself"),
        None => String::new(),
    }
}

/// Each is found by its own path. Of two with one host and path the second is not, whatever the methods.
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
                    "{} has {path:?} on the same host already; for rules by method use `require_for` there",
                    other.unwrap_or_default()
                )
            }
            _ => format!(
                "some servers would take {path:?} for another path, by case, by `;` or by what is escaped, and such requests are refused"
            ),
        };
        let text = format!("nothing can reach this route: {why}");
        problems.add(&route.place, text);
    }
}

/// The bytes of a segment (RFC 3986 section 3.3). What may stand as it is must not be escaped: the gateway compares
/// bytes, and requests have it as it is.
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

/// In capitals, as they are normalized.
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
