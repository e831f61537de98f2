//! The exact origin (RFC 6454 section 4) that a credential may be sent to, or a key fetched from.
//!
//! Configured origins and the URLs of requests have one parser, so that an address cannot be read
//! in two ways. A URL that the parser does not accept has no origin: it receives no credential, and
//! no key is fetched from it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use http::Uri;

use crate::error::ConfigError;

/// A scheme, a host and a port. The origin of a request borrows its host (`Origin<&str>`).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Origin<T = Box<str>> {
    scheme: Scheme,
    host: Host<T>,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// Names are compared as text and are not resolved. An IPv6 address has many spellings, so it is
/// compared by value.
#[derive(Clone, PartialEq, Eq)]
enum Host<T> {
    Name(T),
    V6(Ipv6Addr),
}

/// Which connections a credential may be sent over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TLS; clear text to loopback addresses only.
    Encrypted,
    /// Any connection.
    DangerousClear,
}

// === impl Origin ===

impl Origin {
    /// Reads a configured origin: `scheme://host` or `scheme://host:port`, and nothing else.
    pub(crate) fn configured(url: &str, transport: Transport) -> Result<Self, ConfigError> {
        let problem = |problem| ConfigError::Url {
            url: without_secrets(url),
            problem,
        };
        let (scheme, authority) = url
            .split_once("://")
            .ok_or_else(|| problem("give it as `https://host` or `https://host:port`"))?;
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(problem(
                "remove everything after the host and the port: an origin has no path, query or \
                 fragment, not even `/`",
            ));
        }
        let origin = Origin::parse(scheme, authority).map_err(problem)?;
        if transport == Transport::Encrypted && !origin.is_encrypted() && !origin.is_loopback() {
            return Err(problem(
                "use `https`, or `dangerous_forward_to_http` if the network encrypts the traffic",
            ));
        }
        Ok(origin.kept())
    }

    /// Whether `called` is the same origin.
    pub(crate) fn is(&self, called: &Origin<&str>) -> bool {
        let same_host = match (&self.host, &called.host) {
            (Host::Name(own), Host::Name(name)) => own.eq_ignore_ascii_case(name),
            (Host::V6(own), Host::V6(address)) => own == address,
            (Host::Name(_), Host::V6(_)) | (Host::V6(_), Host::Name(_)) => false,
        };
        same_host && self.scheme == called.scheme && self.port == called.port
    }
}

impl<'u> Origin<&'u str> {
    /// The origin of an absolute URI.
    pub(crate) fn of(uri: &'u Uri) -> Option<Self> {
        Self::parse(uri.scheme_str()?, uri.authority()?.as_str()).ok()
    }

    pub(crate) fn parse(scheme: &str, authority: &'u str) -> Result<Self, &'static str> {
        let scheme = Scheme::parse(scheme).ok_or("use the scheme `https`")?;
        if authority.contains('@') {
            return Err("remove the user information before the `@`");
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or("close the bracket")?;
                let address = address.parse().map_err(|_| "correct the IPv6 address")?;
                (Host::V6(address), port)
            }
            None => {
                let end = authority.find(':').unwrap_or(authority.len());
                let (name, port) = authority.split_at(end);
                (Host::Name(name), port)
            }
        };
        if let Host::Name(name) = host {
            check_name(name)?;
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => scheme.default_port(),
            digits => digits.and_then(parse_port).ok_or("correct the port")?,
        };
        Ok(Self { scheme, host, port })
    }

    /// Names are case-insensitive (RFC 3986 section 3.2.2) and are kept in lower case.
    fn kept(&self) -> Origin {
        Origin {
            scheme: self.scheme,
            host: match self.host {
                Host::Name(name) => Host::Name(name.to_ascii_lowercase().into()),
                Host::V6(address) => Host::V6(address),
            },
            port: self.port,
        }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// Whether the host is this machine, by name or address.
    pub(crate) fn is_loopback(&self) -> bool {
        match self.host {
            Host::Name(name) => {
                let address: Option<Ipv4Addr> = name.parse().ok();
                name.eq_ignore_ascii_case("localhost")
                    || address.is_some_and(|address| address.is_loopback())
            }
            Host::V6(address) => address.is_loopback(),
        }
    }

    /// Whether the host is, by its name or address, on this machine or on a network that the public
    /// internet does not reach. Names are not resolved.
    #[cfg_attr(not(feature = "reqwest"), allow(dead_code))] // used for discovered URLs only
    pub(crate) fn is_local(&self) -> bool {
        match self.host {
            Host::Name(name) => is_local_name(name),
            Host::V6(address) => is_local_v6(address),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Origin<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme.as_str())?;
        f.write_str("://")?;
        match &self.host {
            Host::Name(name) => name.fmt(f)?,
            Host::V6(address) => write!(f, "[{address}]")?,
        }
        if self.port == self.scheme.default_port() {
            return Ok(());
        }
        write!(f, ":{}", self.port)
    }
}

impl<T: fmt::Display> fmt::Debug for Origin<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Scheme ===

impl Scheme {
    fn parse(scheme: &str) -> Option<Self> {
        [Self::Http, Self::Https]
            .into_iter()
            .find(|own| scheme.eq_ignore_ascii_case(own.as_str()))
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Accepts letters, digits, `-`, `.` and `_`. Wildcards, escapes, and characters that a resolver
/// may fold are rejected.
fn check_name(name: &str) -> Result<(), &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    match name {
        "" => Err("add the host name"),
        name if name.contains('*') => Err("wildcards are not supported: list every origin"),
        name if name.bytes().all(is_plain) => Ok(()),
        _ => Err("write the host in ASCII, an international name in punycode"),
    }
}

/// Names that the public DNS does not have: one label alone, the special names of RFC 6761, 6762
/// and 8375, and `.internal`, which ICANN reserves for private networks.
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    if let Ok(address) = name.parse() {
        return is_local_v4(address);
    }
    let ends_in = |suffix: &str| {
        let start = name.len().checked_sub(suffix.len());
        let end = start.and_then(|start| name.get(start..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    match name.rsplit_once('.') {
        None => true,
        Some((_, last)) => {
            is_number(last)
                || [".localhost", ".local", ".internal", ".home.arpa"]
                    .into_iter()
                    .any(ends_in)
        }
    }
}

/// Besides the private ranges: 0.0.0.0/8 (RFC 1122 section 3.2.1.3), 100.64.0.0/10 (RFC 6598),
/// 192.0.0.0/24 (RFC 6890) and the address of the Azure platform, where clouds serve metadata.
fn is_local_v4(address: Ipv4Addr) -> bool {
    let octets = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || matches!(octets, [0, ..] | [100, 64..=127, ..] | [192, 0, 0, _])
        || octets == [168, 63, 129, 16]
}

fn is_local_v6(address: Ipv6Addr) -> bool {
    let v4 = |high: u16, low: u16| {
        let bits = u32::from(high) << 16 | u32::from(low);
        is_local_v4(Ipv4Addr::from_bits(bits))
    };
    match address.segments() {
        // `::` and `::1`; mapped, translated (RFC 7915) and the older compatible addresses.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => true,
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0, 0, 0, 0, 0, 0, high, low] => v4(high, low),
        // NAT64 (RFC 6052), its prefix for local use (RFC 8215), and 6to4 (RFC 3056).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 1, ..] => true,
        [0x2002, high, low, ..] => v4(high, low),
        // Unique local, link-local, and site-local (RFC 3879), which was never reassigned.
        [first, ..] => matches!(first, 0xfc00..=0xfdff | 0xfe80..=0xfeff),
    }
}

/// Whether a URL parser reads a host with this last label as an IPv4 address (`127.1`,
/// `0x7f000001`: WHATWG URL, "ends in a number").
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or(label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// `u16::from_str` alone accepts a sign.
fn parse_port(digits: &str) -> Option<u16> {
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

/// A URL for an error message, without user information, which may be a password, and without the
/// query, which may contain a key.
pub(crate) fn without_secrets(url: &str) -> String {
    const CUT: [char; 2] = ['?', '#'];
    let Some((user, rest)) = url.rsplit_once('@') else {
        return url.split(CUT).next().unwrap_or_default().to_owned();
    };
    if user.contains(CUT) {
        // The `@` may be in the query, or the `?` in the password.
        return "(removed)".to_owned();
    }
    let rest = rest.split(CUT).next().unwrap_or_default();
    format!("(user information removed)@{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(url: &str) -> Origin {
        Origin::configured(url, Transport::Encrypted).unwrap()
    }

    #[track_caller]
    fn check(own: &str, called: &str, expected: bool) {
        let uri: Option<Uri> = called.parse().ok();
        let origin = uri.as_ref().and_then(Origin::of);
        let same = origin.is_some_and(|called| configured(own).is(&called));
        assert_eq!(same, expected, "{own} and {called}");
    }

    #[track_caller]
    fn check_refused(url: &str, problem: &str) {
        let error = Origin::configured(url, Transport::Encrypted).unwrap_err();
        assert!(matches!(error, ConfigError::Url { .. }));
        assert!(error.to_string().contains(problem), "{error}");
    }

    #[test]
    fn path_and_default_port_do_not_matter() {
        let own = "https://orders.internal";
        check(own, "https://orders.internal", true);
        check(own, "https://orders.internal/v1?x=https://evil", true);
        check(own, "https://orders.internal:443/", true);
        check("https://orders.internal:443", own, true);
        check("https://a:8443", "https://a:8443/x", true);
        check("http://127.0.0.1", "http://127.0.0.1:80", true);
        check("http://127.0.0.1:3000", "http://127.0.0.1:3000/x", true);
    }

    #[test]
    fn case_does_not_matter() {
        check("https://Orders.Internal", "https://orders.internal", true);
        check("HTTPS://orders.internal", "https://ORDERS.internal", true);
        assert_eq!(
            configured("https://Orders.Internal:443").to_string(),
            "https://orders.internal"
        );
    }

    #[test]
    fn another_scheme_port_or_host_is_another_origin() {
        let own = "https://orders.internal";
        check(own, "http://orders.internal", false);
        check(own, "http://orders.internal:443", false);
        check(own, "https://orders.internal:8443", false);
        check(own, "https://orders.internal:80", false);
        check(own, "https://orders.internal.evil", false);
        check(own, "https://evil-orders.internal", false);
        check(own, "https://a.orders.internal", false);
        check(own, "https://internal", false);
        check(own, "https://orders.internal.", false);
        check(own, "https://orders-internal", false);
        check("https://xn--mnchen-3ya.de", "https://munchen.de", false);
        check("http://127.0.0.1:3000", "http://localhost:3000", false);
        check("http://127.0.0.1:3000", "http://127.0.0.1:3001", false);
    }

    #[test]
    fn an_ambiguous_uri_has_no_origin() {
        let own = "https://orders.internal";
        check(own, "https://orders.internal@evil", false);
        check(own, "https://user:password@orders.internal", false);
        check(own, "https://evil@orders.internal", false);
        check(own, "https://orders.internal:", false);
        check(own, "https://orders.internal%2eevil", false);
        check(own, "https://orders.internal%00.evil", false);
        check(own, "ftp://orders.internal:443", false);
        for relative in ["/orders", "*", "orders.internal:443"] {
            assert!(Origin::of(&relative.parse().unwrap()).is_none());
        }
    }

    #[test]
    fn an_ipv6_address_is_compared_by_value() {
        check("http://[::1]:3000", "http://[0:0:0:0:0:0:0:1]:3000/x", true);
        check("http://[::1]:3000", "http://[::2]:3000", false);
        check("https://[2001:DB8::1]", "https://[2001:db8::1]:443", true);
        assert_eq!(
            configured("http://[0::1]:3000").to_string(),
            "http://[::1]:3000"
        );
        check_refused("https://[::1", "bracket");
        check_refused("https://[::1%25eth0]", "IPv6");
        check_refused("https://[::1]8080", "port");
        check_refused("https://::1", "host");
    }

    #[test]
    fn only_origins_can_be_configured() {
        check_refused("orders.internal", "https://host");
        check_refused("//orders.internal", "https://host");
        check_refused("", "https://host");
        check_refused("https://", "add the host name");
        check_refused("https://:443", "add the host name");
        check_refused("https://orders.internal/", "path");
        check_refused("https://orders.internal/v1", "path");
        check_refused("https://orders.internal?x", "query");
        check_refused("https://orders.internal#x", "fragment");
        check_refused("https://orders.internal\\@evil", "path");
        check_refused("https://orders.internal@evil", "user information");
        check_refused("https://*.internal", "wildcards");
        check_refused("https://münchen.de", "punycode");
        check_refused("https://orders.internal ", "ASCII");
        check_refused("https://orders.internal:", "port");
        check_refused("https://orders.internal:+443", "port");
        check_refused("https://orders.internal:65536", "port");
        check_refused("https://orders.internal:443:443", "port");
        check_refused("ftp://orders.internal", "scheme");
        check_refused("https:https://orders.internal", "scheme");
    }

    #[test]
    fn local_hosts_are_recognized_in_every_spelling() {
        #[track_caller]
        fn check(host: &str, local: bool) {
            let origin = Origin::parse("https", host).unwrap();
            assert_eq!(origin.is_local(), local, "{host}");
        }
        for host in [
            "localhost",
            "LocalHost",
            "localhost.",
            "a.localhost",
            "a.b.LOCALHOST.",
            "127.0.0.1",
            "127.9.9.9",
            "127.0.0.1.",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0X7F.1",
            "0177.0.0.1",
            "127.0.0.1.0x",
            "a.1",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[febf::1]",
            "[fc00::1]",
            "[fdff::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a00:1]",
            "[::ffff:0.0.0.0]",
            "[::10.0.0.1]",
            // Addresses that contain a local IPv4 address.
            "[::ffff:169.254.169.254]",
            "[::ffff:0:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::101:101]",
            "[64:ff9b:1:ffff::1]",
            "[2002:a9fe:a9fe::]",
            "[2002:a00:1::1]",
            "[fec0::1]",
            "[feff::1]",
            // Services of clouds.
            "168.63.129.16",
            "192.0.0.192",
            "metadata.google.internal",
            "METADATA.INTERNAL.",
            // Names that the public DNS does not have.
            "keycloak",
            "notlocalhost",
            "printer.local",
            "keycloak.auth.svc.cluster.local",
            "router.home.arpa",
        ] {
            check(host, true);
            check(&format!("{host}:8443"), true);
        }
        for host in [
            "id.example.com",
            "localhost.example.com",
            "internal.example.com",
            "notinternal.example",
            "a.notlocal",
            "home.arpa.example",
            "arpa.example",
            "127.0.0.1.example.com",
            "10.example",
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.169.0.1",
            "169.253.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "a.1x",
            "a.0xg",
            "[2001:db8::1]",
            "[::ffff:1.1.1.1]",
            "[::ffff:0:1.1.1.1]",
            "[64:ff9b::101:101]",
            "[64:ff9b:2::a00:1]",
            "[2002:101:101::1]",
            "[2003::1]",
            "[ff0e::1]",
            "168.63.129.17",
            "192.0.1.192",
            "[2606:4700::1111]",
        ] {
            check(host, false);
        }
    }

    #[test]
    fn credentials_in_a_url_are_not_repeated() {
        #[track_caller]
        fn check(url: &str, shown: &str) {
            assert_eq!(without_secrets(url), shown, "{url}");
            let error = Origin::configured(url, Transport::Encrypted).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        check("https://me:hunter2@host", "(user information removed)@host");
        check(
            "https://hunter2@host/k?key=hunter2#hunter2",
            "(user information removed)@host/k",
        );
        check("https://host/k?key=hunter2", "https://host/k");
        check("https://host/k#hunter2", "https://host/k");
        check("https://host?to=me@hunter2", "(removed)");
        check("https://me:hunter2?x@host/", "(removed)");
        check("https://me:hunter2#x@host/?y", "(removed)");
        check("hunter2@", "(user information removed)@");
    }

    #[test]
    fn clear_text_needs_loopback_or_dangerous() {
        check_refused("http://orders.internal", "https");
        check_refused("http://127.0.0.1.evil", "https");
        check_refused("http://localhost.evil", "https");
        check_refused("http://10.0.0.1", "https");
        for loopback in ["http://localhost", "http://127.0.0.2", "http://[::1]"] {
            configured(loopback);
        }
        let clear = Origin::configured("http://orders.internal", Transport::DangerousClear);
        assert_eq!(clear.unwrap().to_string(), "http://orders.internal");
    }
}
