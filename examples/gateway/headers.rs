//! What changes in the headers on the way through.

use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, CONNECTION, COOKIE, HOST, TE, UPGRADE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// What this gateway knows of the client by itself.
pub(crate) struct ClientSide {
    pub(crate) address: Option<IpAddr>,
    /// The host that an HTTP/2 client asked for; an HTTP/1.1 client says it in `Host`.
    pub(crate) host: Option<HeaderValue>,
}

/// About one connection, whatever `Connection` says (RFC 9110 section 7.6.1), or meant for this gateway.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Said by whoever stood before the client, perhaps. No proxy is trusted here, so none of it is believed.
const FORWARDED: [&str; 9] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-real-ip",
];

/// Makes the client's headers the upstream's.
pub(crate) fn rewrite(headers: &mut HeaderMap, client: ClientSide) {
    let takes_trailers = list(headers, &TE).any(|coding| coding == "trailers");
    remove_hop_by_hop(headers);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // On public routes nobody has taken it out. Only propagation puts one back, further in.
    headers.remove(AUTHORIZATION);
    join_cookies(headers);

    // The client adds the upstream's own, from the URI.
    let host = headers.remove(HOST);
    remove_all(headers, |name| {
        FORWARDED.iter().any(|own| are_one(own, name))
    });
    headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    if let Some(host) = client.host.or(host) {
        headers.insert("x-forwarded-host", host);
    }
    let address = client.address.map(|address| address.to_string());
    if let Some(Ok(address)) = address.map(HeaderValue::try_from) {
        headers.insert("x-forwarded-for", address);
    }
}

/// Removes what is about one connection, and what `Connection` nominates.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let nominated: Vec<_> = list(headers, &CONNECTION).collect();
    for name in nominated {
        headers.remove(name.as_str());
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// An offer of HTTP/2 may be ignored; anything else the client would wait for.
pub(crate) fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    list(headers, &UPGRADE).any(|protocol| protocol != "h2c")
}

/// HTTP/2 may split cookies into several fields, which HTTP/1.1 does not allow (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<_> = headers.get_all(COOKIE).iter().collect();
    if cookies.len() < 2 {
        return;
    }
    let bytes: Vec<_> = cookies.into_iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&bytes.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

fn remove_all(headers: &mut HeaderMap, is_unwanted: impl Fn(&str) -> bool) {
    let names = headers.keys().filter(|name| is_unwanted(name.as_str()));
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Many servers turn all separators into one: `x_forwarded.for` is `X-Forwarded-For` to them.
fn are_one(own: &str, name: &str) -> bool {
    let fold = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            byte
        } else {
            b'-'
        }
    };
    own.bytes().eq(name.bytes().map(fold))
}

/// The elements of a list, over all its lines, in lower case.
fn list(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> {
    let lines = headers.get_all(name).iter();
    let lines = lines.map(|line| String::from_utf8_lossy(line.as_bytes()));
    lines.flat_map(|line| {
        let elements = line
            .split(',')
            .map(|element| element.trim().to_ascii_lowercase());
        elements.collect::<Vec<_>>()
    })
}
