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

    /// Believes `X-Forwarded-For` and `Forwarded` where the connection comes from one of `proxies`.
    pub(crate) fn trusting(mut self, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        self.trusted = proxies.into_iter().collect();
        self
    }

    pub(crate) fn trusts_nobody(&self) -> bool {
        self.trusted.is_empty()
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

/// Where a walk over the hops of a request has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Walk {
    address: IpAddr,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// At a client, named by a proxy.
    Client,
    /// At a proxy that named nobody.
    Lost,
    /// Every entry was a proxy, or there was none.
    Out,
}

/// Two fields may tell of the client: `X-Forwarded-For`, and `Forwarded` (RFC 7239). A proxy writes one of them, or both
/// alike, and passes on what the client wrote into the other. So where they do not tell the same, neither is believed.
fn behind_proxies(connection: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_trusted(&connection) {
        return connection;
    }
    let walk = |name: &str, read: fn(&[u8]) -> Option<IpAddr>| {
        // Fields of one name are one list in the order of the message (RFC 9110 section 5.3): the last line comes first.
        let lines = headers.get_all(name).iter().rev();
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        walk(connection, hops.map(read), is_trusted)
    };
    let common = walk("x-forwarded-for", parse_address);
    let standard = walk("forwarded", parse_element);
    match (common.end, standard.end) {
        (End::Out, End::Out) if headers.contains_key("x-forwarded-for") => common.address,
        (End::Out, _) => standard.address,
        (_, End::Out) => common.address,
        _ if common == standard => common.address,
        _ => connection,
    }
}

/// Walks from the right: each trusted hop vouches for the entry to its left, and the first address that is not a trusted
/// proxy is the client. An entry that is no address ends the walk at the hop that wrote it; what stands left of the
/// walk's end was written by a stranger and is not even looked at.
fn walk(
    connection: IpAddr,
    hops: impl Iterator<Item = Option<IpAddr>>,
    is_trusted: impl Fn(&IpAddr) -> bool,
) -> Walk {
    let mut address = connection;
    for hop in hops {
        let Some(hop) = hop else {
            let end = End::Lost;
            return Walk { address, end };
        };
        address = hop.to_canonical();
        if !is_trusted(&address) {
            let end = End::Client;
            return Walk { address, end };
        }
    }
    let end = End::Out;
    Walk { address, end }
}

/// An element of `Forwarded` (RFC 7239 section 4): pairs of which one is `for`. One that is not wholly well-formed, as
/// is what is left of a quoted comma, names nobody.
fn parse_element(element: &[u8]) -> Option<IpAddr> {
    let mut client = None;
    for pair in element.split(|byte| *byte == b';') {
        let pair = std::str::from_utf8(pair.trim_ascii()).ok()?;
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"')?,
            None => value,
        };
        if name.is_empty() || value.contains(['"', '\\']) {
            return None;
        }
        if name.eq_ignore_ascii_case("for") && client.replace(value).is_some() {
            return None;
        }
    }
    parse_address(client?.as_bytes())
}

/// Some proxies add the port, and brackets round an IPv6 address.
fn parse_address(entry: &[u8]) -> Option<IpAddr> {
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
        let lines: Vec<_> = forwarded
            .iter()
            .map(|line| ("x-forwarded-for", *line))
            .collect();
        check_lines(connection, &lines, expected);
    }

    #[track_caller]
    fn check_lines(connection: &str, lines: &[(&'static str, &str)], expected: &str) {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            let line = http::HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append(*name, line);
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
    fn the_standard_field_is_walked_as_the_common_one_is() {
        for (line, expected) in [
            ("for=198.51.100.1", "198.51.100.1"),
            (
                "for=6.6.6.6, For=198.51.100.1;proto=https;by=10.0.0.1",
                "198.51.100.1",
            ),
            (
                "for=6.6.6.6, for=198.51.100.1, for=10.2.3.4",
                "198.51.100.1",
            ),
            (r#"proto=http; for="[2001:db8::1]:4711""#, "2001:db8::1"),
            (r#"for="198.51.100.1:80""#, "198.51.100.1"),
            // A proxy that tells no address, and strangers who try to write what a proxy would.
            ("for=6.6.6.6, for=unknown", "10.0.0.1"),
            ("for=6.6.6.6, for=_hidden", "10.0.0.1"),
            ("for=6.6.6.6, proto=http", "10.0.0.1"),
            (r#"for=198.51.100.1;host="x,for=6.6.6.6""#, "10.0.0.1"),
            (r#"for=198.51.100.1;host="x,for=6.6.6.6;a=""#, "10.0.0.1"),
            (r#"for=198.51.100.1;host="x,for=6.6.6.6;a=\"""#, "10.0.0.1"),
            (r#"for=", for=198.51.100.1"#, "198.51.100.1"),
            ("for=6.6.6.6;for=198.51.100.1", "10.0.0.1"),
            ("198.51.100.1", "10.0.0.1"),
            ("", "10.0.0.1"),
        ] {
            check_lines("10.0.0.1", &[("forwarded", line)], expected);
            check_lines("203.0.113.7", &[("forwarded", line)], "203.0.113.7");
        }
    }

    #[test]
    fn two_fields_that_disagree_are_both_not_believed() {
        let common = |line| ("x-forwarded-for", line);
        let standard = |line| ("forwarded", line);
        for (lines, expected) in [
            (
                [common("198.51.100.1"), standard("for=198.51.100.1")],
                "198.51.100.1",
            ),
            (
                [common("198.51.100.1"), standard("for=6.6.6.6")],
                "10.0.0.1",
            ),
            (
                [common("6.6.6.6"), standard("for=198.51.100.1")],
                "10.0.0.1",
            ),
            // The proxy tells nothing, the stranger something.
            ([common("unknown"), standard("for=6.6.6.6")], "10.0.0.1"),
            ([common("6.6.6.6"), standard("for=_hidden")], "10.0.0.1"),
            // One of two proxies writes one field, both write the other.
            (
                [common("198.51.100.1, 10.9.9.9"), standard("for=10.9.9.9")],
                "198.51.100.1",
            ),
            (
                [
                    common("10.9.9.9"),
                    standard("for=198.51.100.1, for=10.9.9.9"),
                ],
                "198.51.100.1",
            ),
        ] {
            check_lines("10.0.0.1", &lines, expected);
        }
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        let mut extensions = Extensions::new();
        extensions.insert(PeerAddr("[::ffff:203.0.113.7]:1".parse().unwrap()));
        let address = Peer::default().address(&extensions, &HeaderMap::new());
        assert_eq!(address, Some("203.0.113.7".parse().unwrap()));
    }
}
