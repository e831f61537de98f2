//! What no route ever sees: paths that the gateway and an upstream could read differently.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use portcullis::Reason;

use crate::proxy::refuse;

/// Refuses a path that could lead round a route's rules once somebody normalizes it.
pub(crate) async fn check(request: Request, next: Next) -> Response {
    if !is_plain(request.uri().path()) {
        return refuse(Reason::BadPath, &request);
    }
    next.run(request).await
}

fn is_plain(path: &str) -> bool {
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
        let Some(decoded) = decode(segment) else {
            return false;
        };
        if decoded.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0)) || is_dots(&decoded) {
            return false;
        }
    }
    true
}

/// `.` and `..`, also with parameters, which some servers cut off first.
fn is_dots(segment: &[u8]) -> bool {
    let name = segment.split(|byte| *byte == b';').next();
    matches!(name, Some(b"." | b".."))
}

/// `None` where a percent sign starts no byte.
fn decode(segment: &str) -> Option<Vec<u8>> {
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
