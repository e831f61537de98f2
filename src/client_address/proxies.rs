//! Trusted proxies, and the walk over the fields that they send.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use http::{Extensions, HeaderMap};
use ipnet::IpNet;

use crate::error::ConfigError;
use crate::words::words;

/// The networks of the trusted proxies. The default is none.
///
/// `FromStr` reads addresses and CIDR networks, separated by commas. With the feature `serde`, it
/// is a list of strings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[doc(alias = "x-forwarded-for", alias = "forwarded", alias = "real_ip")]
pub struct TrustedProxies(Arc<[IpNet]>);

/// The address of a request's client, and how it was found.
///
/// An IPv4 address that is mapped into IPv6 (`::ffff:203.0.113.7`) is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress {
    ip: IpAddr,
    peer: IpAddr,
    is_behind_proxy: bool,
    source: AddressSource,
}

/// Where a client's address was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressSource {
    /// The connection: it is not from a trusted proxy, or the proxy sent neither field.
    Connection,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded`.
    Forwarded,
    /// The connection, because the two fields name different clients.
    Disputed,
}

// === impl TrustedProxies ===

impl TrustedProxies {
    /// Trusts these networks (`10.0.0.0/8`) and addresses (`10.0.0.1`).
    ///
    /// ```
    /// use portcullis::client_address::TrustedProxies;
    ///
    /// let proxies = TrustedProxies::new(["10.0.0.0/8", "fd00::1"])?;
    /// assert!(proxies.contains("10.1.2.3".parse().unwrap()));
    /// assert!(!proxies.contains("203.0.113.7".parse().unwrap()));
    ///
    /// // If every host were trusted, every client could choose its address.
    /// assert!(TrustedProxies::new(["0.0.0.0/0"]).is_err());
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If an item is neither a network nor an address, or is the network of all addresses.
    pub fn new(proxies: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, ConfigError> {
        let networks = proxies.into_iter().map(|text| network(text.as_ref()));
        networks.collect::<Result<_, _>>().map(Self)
    }

    /// Whether no proxy is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is the address of a trusted proxy.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The networks, in the order in which they were given.
    pub fn networks(&self) -> impl ExactSizeIterator<Item = impl fmt::Display> + Clone {
        self.0.iter()
    }

    /// Finds the client of a request that came through a connection from `peer`, as the
    /// [module](crate::client_address) describes.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use portcullis::client_address::{AddressSource, TrustedProxies};
    ///
    /// let proxies = TrustedProxies::new(["10.0.0.0/8"])?;
    /// let mut headers = HeaderMap::new();
    /// headers.insert("forwarded", "for=198.51.100.1;proto=https".parse().unwrap());
    /// let client = proxies.client("10.0.0.1".parse().unwrap(), &headers);
    /// assert_eq!(client.ip().to_string(), "198.51.100.1");
    /// assert_eq!(client.source(), AddressSource::Forwarded);
    ///
    /// // The client cannot write a second field, because the two must agree.
    /// headers.insert("x-forwarded-for", "6.6.6.6".parse().unwrap());
    /// let client = proxies.client("10.0.0.1".parse().unwrap(), &headers);
    /// assert_eq!(client.ip().to_string(), "10.0.0.1");
    /// assert_eq!(client.source(), AddressSource::Disputed);
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let peer = peer.to_canonical();
        let is_behind_proxy = self.contains(peer);
        let (ip, source) = match is_behind_proxy {
            true => self.behind_proxy(peer, headers),
            false => (peer, AddressSource::Connection),
        };
        ClientAddress {
            ip,
            peer,
            is_behind_proxy,
            source,
        }
    }

    fn behind_proxy(&self, peer: IpAddr, headers: &HeaderMap) -> (IpAddr, AddressSource) {
        let walk = |name: &str, read: fn(&[u8]) -> Option<IpAddr>| {
            // Fields of one name are one list in the order of the message (RFC 9110 section 5.3).
            let lines = headers.get_all(name).iter().rev();
            let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
            self.walk(peer, hops.map(read))
        };
        let common = walk(X_FORWARDED_FOR, parse_address);
        let standard = walk(FORWARDED, parse_element);
        match (common.1, standard.1) {
            (End::OnlyProxies, End::OnlyProxies) if headers.contains_key(X_FORWARDED_FOR) => {
                (common.0, AddressSource::XForwardedFor)
            }
            (End::OnlyProxies, End::OnlyProxies) if !headers.contains_key(FORWARDED) => {
                (peer, AddressSource::Connection)
            }
            (End::OnlyProxies, _) => (standard.0, AddressSource::Forwarded),
            (_, End::OnlyProxies) => (common.0, AddressSource::XForwardedFor),
            _ if common == standard => (common.0, AddressSource::XForwardedFor),
            _ => (peer, AddressSource::Disputed),
        }
    }

    /// Returns the last address that is vouched for. Entries to its left were written by the
    /// client and are not read.
    fn walk(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> (IpAddr, End) {
        let mut address = peer;
        for hop in hops {
            let Some(hop) = hop else {
                return (address, End::Malformed);
            };
            address = hop.to_canonical();
            if !self.contains(address) {
                return (address, End::Client);
            }
        }
        (address, End::OnlyProxies)
    }
}

impl FromStr for TrustedProxies {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let items = text.split(',').map(str::trim);
        Self::new(items.filter(|item| !item.is_empty()))
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, network) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{network}")?;
        }
        Ok(())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for TrustedProxies {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for TrustedProxies {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = Vec::<String>::deserialize(deserializer)?;
        Self::new(items).map_err(serde::de::Error::custom)
    }
}

fn network(text: &str) -> Result<IpNet, ConfigError> {
    let refuse = |problem| ConfigError::Setting {
        setting: "trusted proxies",
        problem,
    };
    let network = text.parse::<IpNet>();
    let network = network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| {
        refuse("name each as a network such as 10.0.0.0/8 or fd00::/8, or as an address")
    })?;
    if network.prefix_len() == 0 {
        return Err(refuse(
            "name the networks of your proxies: if every host is trusted, each client chooses its address",
        ));
    }
    Ok(network)
}

// === impl ClientAddress ===

impl ClientAddress {
    /// Returns the address that [`SetClientAddressLayer`](super::SetClientAddressLayer) inserted
    /// into the extensions of a request.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }

    /// The client's address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The address at the other end of the connection: the client's or a proxy's.
    #[must_use]
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Whether the connection comes from a trusted proxy.
    #[must_use]
    pub fn is_behind_proxy(&self) -> bool {
        self.is_behind_proxy
    }

    /// Where the address was found.
    #[must_use]
    pub fn source(&self) -> AddressSource {
        self.source
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip.fmt(f)
    }
}

words! {
    AddressSource: "source of an address" {
        Connection => "connection",
        XForwardedFor => "x-forwarded-for",
        Forwarded => "forwarded",
        Disputed => "disputed",
    }
}

// === reading the two fields ===

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";

/// How a walk over the entries of a field ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// At a client that a proxy named.
    Client,
    /// At an entry that is not an address.
    Malformed,
    /// After the last entry, or there is none.
    OnlyProxies,
}

/// Reads an element of `Forwarded` (RFC 7239 section 4): pairs, one of which is `for`. An element
/// with a malformed pair, such as one half of a quoted comma, is malformed as a whole.
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

/// Reads an address. Some proxies add a port, and brackets around an IPv6 address.
fn parse_address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let with_port = || entry.parse::<SocketAddr>().map(|address| address.ip());
    let in_brackets = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    entry
        .parse()
        .or_else(|_| with_port())
        .ok()
        .or_else(in_brackets)
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
        let proxies: TrustedProxies = "10.0.0.0/8, fd00::/8".parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            let line = http::HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append(*name, line);
        }
        let client = proxies.client(connection.parse().unwrap(), &headers);
        assert_eq!(
            client.ip(),
            expected.parse::<IpAddr>().unwrap(),
            "{lines:?}"
        );
        assert_eq!(client.peer(), connection.parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_direct_client_cannot_choose_its_address() {
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
    fn client_bytes_do_not_hide_the_proxy_entry() {
        check("10.0.0.1", &["\u{ff}, 203.0.113.7"], "203.0.113.7");
        check("10.0.0.1", &["\u{ff}", "203.0.113.7"], "203.0.113.7");
        check("10.0.0.1", &["203.0.113.7, \u{ff}"], "10.0.0.1");
    }

    #[test]
    fn a_malformed_entry_ends_at_its_writer() {
        check("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1");
        check(
            "10.0.0.1",
            &["198.51.100.1, nonsense, 10.9.9.9"],
            "10.9.9.9",
        );
        check("10.0.0.1", &[""], "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_like_x_forwarded_for() {
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
            // The proxy hides the address, or the client imitates an element of the proxy.
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
    fn disagreeing_fields_are_not_believed() {
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
            // The proxy hides the address, and the client writes the other field.
            ([common("unknown"), standard("for=6.6.6.6")], "10.0.0.1"),
            ([common("6.6.6.6"), standard("for=_hidden")], "10.0.0.1"),
            // One proxy writes one field only, the other proxy writes both.
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
    fn every_source_has_a_test() {
        #[track_caller]
        fn check(peer: &str, headers: &[(&str, &str)], expected: AddressSource) {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                let name = http::HeaderName::try_from(*name).unwrap();
                map.insert(name, value.parse().unwrap());
            }
            let proxies: TrustedProxies = "10.0.0.0/8".parse().unwrap();
            let client = proxies.client(peer.parse().unwrap(), &map);
            assert_eq!(client.source(), expected, "{headers:?}");
            assert_eq!(client.is_behind_proxy(), peer.starts_with("10."));
        }
        let common = (X_FORWARDED_FOR, "198.51.100.1");
        let standard = (FORWARDED, "for=198.51.100.1");
        check("203.0.113.7", &[common], AddressSource::Connection);
        check("10.0.0.1", &[], AddressSource::Connection);
        check("10.0.0.1", &[common], AddressSource::XForwardedFor);
        check(
            "10.0.0.1",
            &[(X_FORWARDED_FOR, "10.2.3.4")],
            AddressSource::XForwardedFor,
        );
        check("10.0.0.1", &[standard], AddressSource::Forwarded);
        check(
            "10.0.0.1",
            &[(FORWARDED, "for=10.2.3.4")],
            AddressSource::Forwarded,
        );
        check(
            "10.0.0.1",
            &[common, standard],
            AddressSource::XForwardedFor,
        );
        let other = (FORWARDED, "for=6.6.6.6");
        check("10.0.0.1", &[common, other], AddressSource::Disputed);
    }

    /// The gateway example once had a second reader, which read these inputs differently.
    #[test]
    fn fields_that_two_readers_read_differently() {
        // (a) Two `for` pairs in one element.
        let line = "for=198.51.100.1;for=6.6.6.6";
        check_lines("10.0.0.1", &[("forwarded", line)], "10.0.0.1");
        // (b) An open quote.
        let line = r#"for="198.51.100.1"#;
        check_lines("10.0.0.1", &[("forwarded", line)], "10.0.0.1");
        // (c) Only proxies in one field, a client in the other.
        let lines = [
            ("x-forwarded-for", "10.2.3.4"),
            ("forwarded", "for=198.51.100.1"),
        ];
        check_lines("10.0.0.1", &lines, "198.51.100.1");
        // A byte above 0x7F in front of the entry of the proxy.
        let mut headers = HeaderMap::new();
        let bytes = http::HeaderValue::from_bytes(b"\xff, 198.51.100.1").unwrap();
        headers.insert(X_FORWARDED_FOR, bytes);
        let proxies: TrustedProxies = "10.0.0.0/8".parse().unwrap();
        let client = proxies.client("10.0.0.1".parse().unwrap(), &headers);
        assert_eq!(client.ip().to_string(), "198.51.100.1");
    }

    #[test]
    fn proxies_are_read_and_written_as_text() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let proxies: TrustedProxies = text.parse().unwrap();
            assert_eq!(proxies.to_string(), expected);
            assert_eq!(proxies.to_string().parse(), Ok(proxies));
        }
        check("", "");
        check("10.0.0.1", "10.0.0.1/32");
        check(" 10.0.0.0/8,fd00::1 ", "10.0.0.0/8, fd00::1/128");
        for wrong in [
            "proxy.internal",
            "10.0.0.0/33",
            "0.0.0.0/0",
            "::/0",
            "10.0.0.0/8;::1",
        ] {
            assert!(wrong.parse::<TrustedProxies>().is_err(), "{wrong}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde_reads_a_list() {
        let json = r#"["10.0.0.0/8","fd00::/8"]"#;
        let proxies: TrustedProxies = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&proxies).unwrap(), json);
        for wrong in [r#""10.0.0.0/8""#, r#"["10.0.0.0/40"]"#, "[1]", "null"] {
            assert!(
                serde_json::from_str::<TrustedProxies>(wrong).is_err(),
                "{wrong}"
            );
        }
    }
}
