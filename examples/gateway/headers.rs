//! Rewrites headers between client and upstream.

use std::net::IpAddr;

use axum::http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    SEC_WEBSOCKET_PROTOCOL, TE, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use portcullis::client_address::{AddressSource, ClientAddress};

use crate::config::model::UpstreamHost;

/// What the gateway itself knows about the client.
pub(crate) struct ClientSide {
    pub(crate) client: ClientAddress,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// The authority of an HTTP/2 request. HTTP/1.1 sends it in `Host`.
    pub(crate) host: Option<HeaderValue>,
}

/// Route settings that affect the client's headers.
pub(crate) struct Rewriting<'a> {
    pub(crate) host: UpstreamHost,
    /// The name of the cookie that carries tokens.
    pub(crate) cookie: Option<&'a str>,
}

/// Hop-by-hop headers, whether or not `Connection` lists them (RFC 9110 section 7.6.1), and headers
/// meant for this gateway.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers that the gateway sets. A trusted proxy's values are extended, all others replaced.
const SET_HERE: [HeaderName; 4] = [
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
];

/// Headers that upstreams may believe to carry the client's address, name or certificate, or to
/// override the path, method, host or scheme.
const NEVER_PASSED: [&str; 46] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-cert",
    "client-cert-chain",
    "client-ip",
    "fastly-client-ip",
    "forwarded",
    "forwarded-for",
    "forwarded-host",
    "forwarded-proto",
    "front-end-https",
    "proxy",
    "proxy-client-ip",
    "remote-addr",
    "remote-user",
    "ssl-client-cert",
    "ssl-client-s-dn",
    "ssl-client-verify",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-amzn-mtls-clientcert",
    "x-appengine-user-ip",
    "x-arr-clientcert",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-cert",
    "x-client-dn",
    "x-client-ip",
    "x-client-verify",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-forwarded",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-originating-ip",
    "x-override-url",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-remote-user",
    "x-rewrite-url",
    "x-url-scheme",
];

/// Prefixes of such headers.
const NEVER_PASSED_FROM: [&str; 4] = ["x-amzn-mtls-", "x-forwarded-", "x-original-", "x-ssl-"];

/// Whether a header of this name is removed on the way to the upstream.
pub(crate) fn is_never_passed(name: &str) -> bool {
    let begins = |own: &&str| {
        name.get(..own.len())
            .is_some_and(|start| is_same_name(own, start))
    };
    NEVER_PASSED.iter().any(|own| is_same_name(own, name)) || NEVER_PASSED_FROM.iter().any(begins)
}

/// Turns the client's headers into the headers for the upstream.
pub(crate) fn rewrite(headers: &mut HeaderMap, side: ClientSide, how: &Rewriting<'_>) {
    let takes_trailers = list(headers, &TE).any(|coding| coding == "trailers");
    remove_hop_by_hop(headers);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // On public routes no layer has removed it. Only propagation, which runs after this, sets it
    // again.
    headers.remove(AUTHORIZATION);
    // Upgrades are rejected, so this header could only carry a token.
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    join_cookies(headers, how.cookie);

    let host = headers.remove(HOST).or(side.host);
    let is_behind_proxy = side.client.is_behind_proxy();
    let received = SET_HERE.map(|name| headers.get_all(name).iter().cloned().collect::<Vec<_>>());
    remove_all(headers, is_never_passed);
    let [mut forwarded, mut hops, hosts, schemes] =
        received.map(|values| if is_behind_proxy { values } else { vec![] });
    // A proxy writes one of the two headers and passes the client's value of the other on,
    // including host and scheme.
    if !hops.is_empty() {
        forwarded.clear();
    }
    // These entries do not lead to the client.
    if let AddressSource::Forwarded | AddressSource::Disputed = side.client.source() {
        hops.clear();
    }
    let for_peer = format!("for={}", quoted(side.client));
    append(
        headers,
        FORWARDED,
        &forwarded,
        (!forwarded.is_empty()).then_some(for_peer),
    );
    // A proxy that sends only `Forwarded` has identified the client, too.
    let client = side.client.ip().to_string();
    let peer = side.client.peer().to_string();
    let hop = if hops.is_empty() && client != peer {
        format!("{client}, {peer}")
    } else {
        peer
    };
    append(headers, X_FORWARDED_FOR, &hops, Some(hop));
    let scheme = HeaderValue::from_static(side.scheme);
    headers.insert(
        X_FORWARDED_PROTO,
        schemes.into_iter().next_back().unwrap_or(scheme),
    );
    // If there are several lines, the proxy added the last one.
    if let Some(host) = hosts.into_iter().next_back().or_else(|| host.clone()) {
        headers.insert(X_FORWARDED_HOST, host);
    }
    // If the header is missing, the HTTP client adds the upstream's own host.
    if let (UpstreamHost::Client, Some(host)) = (how.host, host) {
        headers.insert(HOST, host);
    }
}

/// Combines all lines into one (RFC 9110 section 5.3), since some servers read only the first or
/// only the last.
fn append(headers: &mut HeaderMap, name: HeaderName, values: &[HeaderValue], more: Option<String>) {
    let values = values.iter().map(HeaderValue::as_bytes);
    let values: Vec<_> = values.chain(more.as_deref().map(str::as_bytes)).collect();
    if values.is_empty() {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&values.join(&b", "[..])) {
        headers.insert(name, joined);
    }
}

/// Formats an address for `Forwarded` (RFC 7239 section 6).
fn quoted(client: ClientAddress) -> String {
    match client.peer() {
        IpAddr::V4(peer) => peer.to_string(),
        IpAddr::V6(peer) => format!("\"[{peer}]\""),
    }
}

/// Removes hop-by-hop headers and the headers that `Connection` lists, except end-to-end headers
/// that a client must not be able to remove.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let is_for_all = |name: &str| name == HOST || SET_HERE.iter().any(|own| own == name);
    let nominated: Vec<_> = list(headers, &CONNECTION)
        .filter(|name| !is_for_all(name))
        .collect();
    for name in nominated {
        headers.remove(name.as_str());
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// An offer of HTTP/2 (`h2c`) may be ignored. For any other upgrade the client would wait.
pub(crate) fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    list(headers, &UPGRADE).any(|protocol| protocol != "h2c")
}

/// Joins cookies that HTTP/2 has split into several fields, which HTTP/1.1 does not allow (RFC 9113
/// section 8.2.3), and removes the token cookie.
fn join_cookies(headers: &mut HeaderMap, token: Option<&str>) {
    let is_token = |cookie: &&[u8]| {
        let name = cookie
            .split(|byte| *byte == b'=')
            .next()
            .unwrap_or_default();
        token.is_some_and(|token| name.trim_ascii() == token.as_bytes())
    };
    let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let cookies = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    let cookies: Vec<_> = cookies.map(<[u8]>::trim_ascii).collect();
    let is_alone = headers.get_all(COOKIE).iter().nth(1).is_none();
    if is_alone && !cookies.iter().any(is_token) {
        return;
    }
    let kept: Vec<_> = cookies
        .into_iter()
        .filter(|cookie| !is_token(cookie))
        .collect();
    match HeaderValue::from_bytes(&kept.join(&b"; "[..])) {
        Ok(joined) if !joined.is_empty() => drop(headers.insert(COOKIE, joined)),
        _ => drop(headers.remove(COOKIE)),
    }
}

fn remove_all(headers: &mut HeaderMap, is_unwanted: impl Fn(&str) -> bool) {
    let names = headers.keys().filter(|name| is_unwanted(name.as_str()));
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Compares names as servers do that map all separators to one: they read `x_forwarded.for` as
/// `X-Forwarded-For`.
fn is_same_name(own: &str, name: &str) -> bool {
    let fold = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            byte
        } else {
            b'-'
        }
    };
    own.bytes().eq(name.bytes().map(fold))
}

/// The elements of a list header over all its lines, in lower case.
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
