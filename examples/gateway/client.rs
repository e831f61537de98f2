//! The client's address: the other end of the connection, or what trusted proxies report.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::FORWARDED;
use ipnet::IpNet;

/// The connection that a request came by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
}

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// The other end of the connection: the client itself, or a proxy.
    pub(crate) peer: IpAddr,
    /// Whether that is a proxy whose word counts.
    pub(crate) is_behind_proxy: bool,
    /// Whether it passed on two words that do not agree.
    pub(crate) is_disputed: bool,
}

const X_FORWARDED_FOR: &str = "x-forwarded-for";

// === impl Client ===

impl Client {
    pub(crate) fn of(connection: Connection, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let peer = connection.peer.ip().to_canonical();
        let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
        let is_behind_proxy = is_trusted(&peer);
        let said = |name: &str, read: fn(&str) -> Option<IpAddr>| {
            let there = headers.contains_key(name);
            there.then(|| walk(peer, headers, name, read, &is_trusted))
        };
        let (address, is_disputed) = match (
            said(X_FORWARDED_FOR, address),
            said(FORWARDED.as_str(), forwarded),
        ) {
            // The proxy writes one of the two and the client may have written the other: neither is trusted.
            (Some(one), Some(other)) if one != other => (peer, is_behind_proxy),
            (one, other) => (one.or(other).unwrap_or(peer), false),
        };
        Self {
            address,
            peer,
            is_behind_proxy,
            is_disputed,
        }
    }
}

/// From the right: each trusted hop vouches for the entry to its left, and the first address that is no trusted proxy is
/// the client. An entry that is no address ends the walk at the hop that wrote it.
fn walk(
    peer: IpAddr,
    headers: &HeaderMap,
    name: &str,
    read: fn(&str) -> Option<IpAddr>,
    is_trusted: &impl Fn(&IpAddr) -> bool,
) -> IpAddr {
    let mut client = peer;
    for line in headers.get_all(name).iter().rev() {
        let Ok(line) = line.to_str() else {
            return client;
        };
        for entry in line.rsplit(',') {
            if !is_trusted(&client) {
                return client;
            }
            let Some(address) = read(entry.trim()) else {
                return client;
            };
            client = address.to_canonical();
        }
    }
    client
}

/// An element of `Forwarded` (RFC 7239 section 4).
fn forwarded(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut pairs = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    address(pairs.next()?.1.trim().trim_matches('"'))
}

/// Perhaps with a port, and brackets round an IPv6 address.
fn address(text: &str) -> Option<IpAddr> {
    text.parse()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .or_else(|_| text.trim_start_matches('[').trim_end_matches(']').parse())
        .ok()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[track_caller]
    fn check(peer: &str, said: &[(&'static str, &'static str)], expected: &str) {
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        let connection = Connection {
            peer: SocketAddr::new(peer.parse().unwrap(), 1),
            scheme: "http",
        };
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let client = Client::of(connection, &headers, &trusted);
        assert_eq!(client.address, expected.parse::<IpAddr>().unwrap());
    }

    #[test]
    fn untrusted_proxies_are_ignored() {
        check(
            "192.0.2.1",
            &[(X_FORWARDED_FOR, "198.51.100.1")],
            "192.0.2.1",
        );
        check(
            "10.0.0.1",
            &[(X_FORWARDED_FOR, "6.6.6.6, 198.51.100.1")],
            "198.51.100.1",
        );
        check(
            "::ffff:10.0.0.1",
            &[(X_FORWARDED_FOR, "6.6.6.6, 198.51.100.1, 10.2.3.4")],
            "198.51.100.1",
        );
        check(
            "10.0.0.1",
            &[(X_FORWARDED_FOR, "198.51.100.1, unknown")],
            "10.0.0.1",
        );
        check(
            "10.0.0.1",
            &[("forwarded", "for=6.6.6.6, For=198.51.100.1;proto=https")],
            "198.51.100.1",
        );
        check(
            "fd00::1",
            &[("forwarded", "for=\"[2001:db8::1]:443\"")],
            "2001:db8::1",
        );
        check("10.0.0.1", &[("forwarded", "for=_hidden")], "10.0.0.1");
        check(
            "10.0.0.1",
            &[
                ("forwarded", "for=7.7.7.7"),
                (X_FORWARDED_FOR, "198.51.100.1"),
            ],
            "10.0.0.1",
        );
    }
}
