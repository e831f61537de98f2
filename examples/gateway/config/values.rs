//! What single values mean: durations, sizes, addresses, names.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use axum::http::{Method, Uri};
use ipnet::IpNet;
use portcullis::{Algorithm, RequireRoleLayer};
use tracing_subscriber::EnvFilter;

use super::document::{Item, Value};
use super::model::ClaimPlace;
use super::section::Fault;

/// Larger than any sensible setting, and small enough for every clock.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 60 * 60);

const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

const DURATIONS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The registry of IANA without CONNECT and PRI, which have no path.
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

/// Makes a reader of texts a reader of items.
pub(super) fn text<T, E: Into<Fault>>(
    read: impl Fn(&str) -> Result<T, E>,
) -> impl Fn(&Item) -> Result<T, Fault> {
    move |item| read(item.text()?).map_err(Into::into)
}

/// A text of at least one character.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("it must not be empty".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn any_text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// A list with at least one element.
pub(super) fn some<T>(
    read: impl Fn(&Item) -> Result<T, Fault>,
) -> impl Fn(&Item) -> Result<Vec<T>, Fault> {
    move |item| match item.all(&read)? {
        list if list.is_empty() => Err(Fault::from("name at least one")),
        list => Ok(list),
    }
}

/// One of a few words.
pub(super) fn choice<T: Clone>(choices: &[(&str, T)]) -> impl Fn(&Item) -> Result<T, Fault> {
    move |item| {
        let text = item.text()?;
        let chosen = choices.iter().find(|(word, _)| *word == text);
        chosen.map(|(_, value)| value.clone()).ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            Fault::from(format!(
                "there is no {text:?}: choose one of {}",
                words.join(", ")
            ))
        })
    }
}

/// A number and its unit, zero included.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let problem = || {
        format!("{text:?} is no duration: give a whole number and ms, s, m, h or d, as in \"30s\"")
    };
    let (number, unit) = number_and_unit(text).ok_or_else(problem)?;
    let unit = DURATIONS.iter().find(|(name, _)| *name == unit);
    let millis = unit.and_then(|(_, millis)| number.checked_mul(*millis));
    let duration = Duration::from_millis(millis.ok_or_else(problem)?);
    if duration > MAX_DURATION {
        return Err(format!("{text:?} is longer than a year"));
    }
    Ok(duration)
}

/// A duration that is not zero.
pub(super) fn period(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("zero leaves no time at all: give some".to_owned()),
        period => Ok(period),
    }
}

/// Bytes: a number, or a number and its unit.
pub(super) fn size(item: &Item) -> Result<u64, Fault> {
    let problem = || Fault::from("give a number of bytes, or a size such as \"2MiB\"");
    if let Value::Integer(number) = item.value {
        return u64::try_from(number).map_err(|_| problem());
    }
    let text = item.text().map_err(|_| problem())?;
    if let Ok(number) = digits(text)
        .ok_or(())
        .and_then(|text| text.parse().map_err(|_| ()))
    {
        return Ok(number);
    }
    let (number, unit) = number_and_unit(text).ok_or_else(problem)?;
    let unit = SIZES.iter().find(|(name, _)| *name == unit);
    let bytes = unit.and_then(|(_, bytes)| number.checked_mul(*bytes));
    bytes.ok_or_else(problem)
}

/// A size that is not zero and fits into memory.
pub(super) fn length(item: &Item) -> Result<usize, Fault> {
    match usize::try_from(size(item)?) {
        Ok(0) => Err(Fault::from("zero leaves no room for anything: give more")),
        Ok(length) => Ok(length),
        Err(_) => Err(Fault::from("this is too large")),
    }
}

/// A number from 1 on.
pub(super) fn count(item: &Item) -> Result<NonZeroU32, Fault> {
    let number = u32::try_from(item.integer()?)
        .ok()
        .and_then(NonZeroU32::new);
    number.ok_or_else(|| Fault::from(format!("give a number between 1 and {}", u32::MAX)))
}

pub(super) fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no address and port, such as \"127.0.0.1:8080\""))
}

/// A network, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || IpAddr::from_str(text).map(IpNet::from);
    IpNet::from_str(text)
        .or_else(|_| address())
        .map_err(|_| format!("{text:?} is no network, such as \"10.0.0.0/8\""))
}

pub(super) fn realm(text: &str) -> Result<String, String> {
    let checked = RequireRoleLayer::all::<&str>([]).realm(text);
    checked
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

/// A level, or directives. A lone word that is no level would silently log nothing.
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
            "{text:?} is no level: choose one of {}",
            LEVELS.join(", ")
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn algorithm(text: &str) -> Result<Algorithm, String> {
    let all = super::issuers::ASYMMETRIC
        .iter()
        .chain(&super::issuers::HMAC);
    let mut all = all.copied();
    all.find(|algorithm| algorithm.name() == text)
        .ok_or_else(|| format!("there is no algorithm {text:?}: choose from HS, RS, PS with 256, 384, 512, ES256, ES384, EdDSA"))
}

/// A name, or a list of the names that lead to the claim.
pub(super) fn claim(item: &Item) -> Result<ClaimPlace, Fault> {
    let is_list = match &item.value {
        Value::List(_) => true,
        Value::Variable(text) => text.trim_start().starts_with('['),
        _ => false,
    };
    if is_list {
        return some(text(name))(item).map(ClaimPlace);
    }
    let text = item
        .text()
        .map_err(|_| Fault::from("give a claim's name, or the list of names that lead to it"))?;
    Ok(ClaimPlace(vec![name(text)?]))
}

pub(super) fn method(text: &str) -> Result<Method, String> {
    let problem =
        || format!("there is no method {text:?} that a route could match; methods are in capitals");
    let known = METHODS.contains(&text);
    known
        .then(|| Method::from_bytes(text.as_bytes()).ok())
        .flatten()
        .ok_or_else(problem)
}

/// A host as a client names it, without a port.
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
            "{text:?} is no host: give one name without scheme, port and wildcard, such as \"api.example.com\""
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// The origin of a service.
pub(super) fn upstream(text: &str) -> Result<Uri, String> {
    let uri: Uri = text
        .parse()
        .map_err(|_| "this is no URL, such as \"http://127.0.0.1:3002\"")?;
    let authority = uri.authority().map(|authority| authority.as_str());
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("give a URL with http or https, such as \"http://127.0.0.1:3002\"".to_owned());
    }
    if authority.is_none_or(|authority| authority.contains('@')) {
        return Err("the host must stand alone: no user, no password".to_owned());
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
        return Err("give the origin alone: paths are passed on as they are".to_owned());
    }
    if uri.host().is_none_or(str::is_empty) || uri.port_u16() == Some(0) {
        return Err("the host or its port is missing".to_owned());
    }
    Ok(uri)
}

/// What a cookie's name may hold (RFC 6265 section 4.1.1).
pub(super) fn cookie(text: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err(format!("{text:?} is no name for a cookie"));
    }
    Ok(text.to_owned())
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

/// `u64::from_str` alone would take a sign.
fn digits(text: &str) -> Option<&str> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(text)
}
