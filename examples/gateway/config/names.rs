//! Readers of addresses, hosts, methods, algorithms and other names.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::http::{Method, Uri};
use ipnet::IpNet;
use portcullis::client_address::TrustedProxies;
use portcullis::{Algorithm, RequireLayer, Rule};
use tracing_subscriber::EnvFilter;

use super::build::problem;
use super::keys::{ASYMMETRIC, HMAC};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The IANA registry without CONNECT and PRI, which have no path.
const METHODS: [&str; 38] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "TRACE",
    "QUERY",
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

pub(super) fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not an address with a port, such as \"127.0.0.1:8080\""))
}

/// A network, or a single address.
pub(super) fn network(text: &str) -> Result<String, String> {
    if IpAddr::from_str(text).is_err() && IpNet::from_str(text).is_err() {
        return Err(format!("{text:?} is not a network, such as \"10.0.0.0/8\""));
    }
    let proxies = TrustedProxies::new([text]);
    proxies.map(|_| text.to_owned()).map_err(problem)
}

pub(super) fn realm(text: &str) -> Result<String, String> {
    let checked = RequireLayer::new(Rule::verified()).realm(text);
    checked.map(|_| text.to_owned()).map_err(problem)
}

/// A log level or directives. An unknown single word is an error, because it would silently disable
/// logging.
pub(super) fn log(text: &str) -> Result<String, String> {
    let is_directive = text.contains('=');
    let is_level = |word: &str| {
        LEVELS
            .iter()
            .any(|own| own.eq_ignore_ascii_case(word.trim()))
    };
    let known = text
        .split(',')
        .all(|part| part.contains('=') || is_level(part));
    if !known || (is_directive && EnvFilter::builder().parse(text).is_err()) {
        return Err(format!(
            "unknown log level {text:?}, expected one of {}",
            LEVELS.join(", ")
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn algorithm(text: &str) -> Result<Algorithm, String> {
    let all = ASYMMETRIC.iter().chain(&HMAC);
    let mut all = all.copied();
    all.find(|algorithm| algorithm.as_str() == text)
        .ok_or_else(|| format!("unknown algorithm {text:?}, expected HS, RS or PS with 256, 384 or 512, ES256, ES384 or EdDSA"))
}

pub(super) fn method(text: &str) -> Result<Method, String> {
    let problem = || format!("unknown method {text:?}; methods are upper case");
    let known = METHODS.contains(&text);
    known
        .then(|| Method::from_bytes(text.as_bytes()).ok())
        .flatten()
        .ok_or_else(problem)
}

/// A host without a port, as clients send it.
pub(super) fn host(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_host = match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !text.is_empty() && text.bytes().all(is_plain),
    };
    if !is_host {
        return Err(format!(
            "{text:?} is not a host: give a name without scheme, port or wildcard, such as \"api.example.com\""
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// The origin of a service.
pub(crate) fn upstream(text: &str) -> Result<Uri, String> {
    let uri: Uri = text
        .parse()
        .map_err(|_| "not a URL: give one such as \"http://127.0.0.1:3002\"")?;
    let authority = uri.authority().map(|authority| authority.as_str());
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("give a URL with http or https, such as \"http://127.0.0.1:3002\"".to_owned());
    }
    if authority.is_none_or(|authority| authority.contains('@')) {
        return Err("remove the user and password from the URL".to_owned());
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
        return Err("remove the path: the path of the request is forwarded unchanged".to_owned());
    }
    let host = uri.host().unwrap_or_default();
    let port = authority.and_then(|authority| authority.strip_prefix(host));
    let has_port = uri.port_u16().is_some_and(|port| port > 0);
    if host.is_empty() || !(port == Some("") || has_port) {
        return Err("the host is missing, or the port is invalid".to_owned());
    }
    Ok(uri)
}

/// The name of a cookie (RFC 6265 section 4.1.1).
pub(super) fn cookie(text: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err(format!("{text:?} is not a cookie name"));
    }
    Ok(text.to_owned())
}
