//! The client's address: the connection's, or what a trusted proxy says of it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{Extensions, HeaderMap};
use ipnet::IpNet;

/// The address at the other end of the connection, for stacks that keep it nowhere else.
///
/// Insert it into the extensions of a request. Under axum, `into_make_service_with_connect_info::<SocketAddr>()` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// How a layer learns the client's address.
#[derive(Clone)]
pub(crate) struct Peer {
    read: Arc<ReadAddress>,
    trusted: Arc<[IpNet]>,
}

type ReadAddress = dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync;

// === impl Peer ===

impl Default for Peer {
    fn default() -> Self {
        Self {
            read: Arc::new(connection),
            trusted: Arc::new([]),
        }
    }
}

impl Peer {
    /// Reads the connection's address from an extension of the caller's own type.
    pub(crate) fn reading<T, F>(mut self, read: F) -> Self
    where
        T: Send + Sync + 'static,
        F: Fn(&T) -> Option<SocketAddr> + Send + Sync + 'static,
    {
        self.read = Arc::new(move |extensions| Some(read(extensions.get::<T>()?)?.ip()));
        self
    }

    /// Believes `X-Forwarded-For` where the connection comes from one of `proxies`.
    pub(crate) fn trusting(mut self, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        self.trusted = proxies.into_iter().collect();
        self
    }

    /// The client's address, or `None` where the stack does not tell it.
    pub(crate) fn address(&self, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
        let connection = (self.read)(extensions)?.to_canonical();
        Some(behind_proxies(connection, headers, &self.trusted))
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("trusted", &self.trusted)
            .finish_non_exhaustive()
    }
}

/// What somebody put there on purpose, from the PROXY protocol perhaps, counts before what the server saw.
fn connection(extensions: &Extensions) -> Option<IpAddr> {
    let told = extensions.get::<PeerAddr>().map(|peer| peer.0.ip());
    #[cfg(feature = "axum")]
    let told = told.or_else(|| {
        let info = extensions.get::<axum::extract::ConnectInfo<SocketAddr>>();
        info.map(|info| info.0.ip())
    });
    told
}

/// Walks `X-Forwarded-For` from the right: each trusted hop vouches for the entry to its left, and the first address
/// that is not a trusted proxy is the client. An entry that is no address ends the walk at the hop that wrote it; what
/// stands left of the walk's end was written by a stranger and is not even looked at.
fn behind_proxies(connection: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = connection;
    // Fields of one name are one list in the order of the message (RFC 9110 section 5.3), so the last line comes first.
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    for entry in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
        if !is_trusted(&client) {
            break;
        }
        let Some(address) = parse_entry(entry) else {
            break;
        };
        client = address.to_canonical();
    }
    client
}

/// Some proxies add the port, and brackets round an IPv6 address.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry.trim_ascii()).ok()?;
    entry
        .parse()
        .or_else(|_| entry.parse::<SocketAddr>().map(|a| a.ip()))
        .or_else(|_| entry.trim_start_matches('[').trim_end_matches(']').parse())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(connection: &str, forwarded: &[&'static str], expected: &str) {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for line in forwarded {
            let line = http::HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append("x-forwarded-for", line);
        }
        let client = behind_proxies(connection.parse().unwrap(), &headers, &trusted);
        assert_eq!(client, expected.parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_stranger_cannot_choose_its_own_address() {
        check("203.0.113.7", &["198.51.100.1"], "203.0.113.7");
        check("203.0.113.7", &[], "203.0.113.7");
    }

    #[test]
    fn the_rightmost_untrusted_entry_is_the_client() {
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["6.6.6.6, 198.51.100.1"], "198.51.100.1");
        check(
            "10.0.0.1",
            &["6.6.6.6, 198.51.100.1, 10.2.3.4"],
            "198.51.100.1",
        );
        check("10.0.0.1", &["6.6.6.6", "198.51.100.1"], "198.51.100.1");
        check("fd00::1", &["[2001:db8::1]:443"], "2001:db8::1");
    }

    #[test]
    fn what_a_stranger_wrote_before_does_not_spoil_what_the_proxy_wrote() {
        check("10.0.0.1", &["\u{ff}, 203.0.113.7"], "203.0.113.7");
        check("10.0.0.1", &["\u{ff}", "203.0.113.7"], "203.0.113.7");
        check("10.0.0.1", &["203.0.113.7, \u{ff}"], "10.0.0.1");
    }

    #[test]
    fn an_address_that_was_put_there_on_purpose_counts_first() {
        let mut extensions = Extensions::new();
        let seen: SocketAddr = "10.0.0.1:1".parse().unwrap();
        #[cfg(feature = "axum")]
        extensions.insert(axum::extract::ConnectInfo(seen));
        extensions.insert(PeerAddr("203.0.113.7:1".parse().unwrap()));
        let address = Peer::default().address(&extensions, &HeaderMap::new());
        assert_eq!(address, Some("203.0.113.7".parse().unwrap()), "{seen}");
    }

    #[test]
    fn garbage_ends_the_walk_at_the_hop_that_wrote_it() {
        check("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1");
        check(
            "10.0.0.1",
            &["198.51.100.1, nonsense, 10.9.9.9"],
            "10.9.9.9",
        );
        check("10.0.0.1", &[""], "10.0.0.1");
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        let mut extensions = Extensions::new();
        extensions.insert(PeerAddr("[::ffff:203.0.113.7]:1".parse().unwrap()));
        let address = Peer::default().address(&extensions, &HeaderMap::new());
        assert_eq!(address, Some("203.0.113.7".parse().unwrap()));
    }
}
