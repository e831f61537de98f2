//! Removes the token from a request, wherever the layer reads tokens.

use http::header::{AUTHORIZATION, COOKIE, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;

use crate::identity::Bearer;
use crate::rejection::Reason;

/// Where tokens are read in addition to the `Authorization` header.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenSources {
    pub(super) cookie: Option<Box<str>>,
    pub(super) header: Option<HeaderName>,
    pub(super) websocket_protocol: bool,
    pub(super) query: Option<Box<str>>,
}

/// A token, and the change to the response that its source requires.
pub(super) struct Credential {
    pub(super) bearer: Bearer,
    pub(super) reply: SubprotocolReply,
}

/// The answer to a WebSocket client that offered its token as a subprotocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SubprotocolReply {
    #[default]
    None,
    /// Selects [`ANNOUNCEMENT`]. A browser closes the connection if the server selects none of its
    /// subprotocols.
    Bearer,
}

/// The subprotocol that announces a token: the next entry of the list is the token.
const ANNOUNCEMENT: &str = "bearer";

// === impl TokenSources ===

impl TokenSources {
    /// Removes the token from the request and returns it, so that no inner service sees it.
    ///
    /// A request with two tokens is malformed, whatever their sources. Otherwise, an invalid token
    /// would fall through to the next source.
    pub(super) fn take<B>(
        &self,
        request: &mut Request<B>,
        max_bytes: usize,
    ) -> Result<Option<Credential>, Reason> {
        let in_query = match &self.query {
            Some(name) => take_query(request.uri_mut(), name)?,
            None => None,
        };
        let headers = request.headers_mut();
        let mut found = take_authorization(headers, max_bytes)?.map(|bearer| Credential {
            bearer,
            reply: SubprotocolReply::None,
        });
        let mut add = |token: Option<String>, reply| {
            let Some(token) = token else {
                return Ok(());
            };
            let bearer = bearer_of(&token, max_bytes)?;
            let second = found.replace(Credential { bearer, reply });
            second.map_or(Ok(()), |_| Err(Reason::InvalidRequest))
        };
        if let Some(name) = &self.cookie {
            add(take_cookie(headers, name)?, SubprotocolReply::None)?;
        }
        if let Some(name) = &self.header {
            add(take_header(headers, name)?, SubprotocolReply::None)?;
        }
        if self.websocket_protocol {
            add(take_protocol(headers)?, SubprotocolReply::Bearer)?;
        }
        add(in_query, SubprotocolReply::None)?;
        Ok(found)
    }

    /// Removes every credential from the places where tokens are read, well-formed or not. Called
    /// after `take` failed.
    pub(super) fn discard<B>(&self, request: &mut Request<B>) {
        if let Some(name) = &self.query {
            let uri = request.uri_mut();
            if pairs(uri).any(|pair| is_parameter(pair, name)) {
                *uri = without(uri, name).unwrap_or_default();
            }
        }
        let headers = request.headers_mut();
        headers.remove(AUTHORIZATION);
        if let Some(name) = &self.header {
            headers.remove(name);
        }
        if let Some(name) = &self.cookie {
            discard_cookie(headers, name);
        }
        let mut offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let is_announced = offers.any(|line| contains(line, ANNOUNCEMENT));
        if self.websocket_protocol && is_announced {
            headers.remove(SEC_WEBSOCKET_PROTOCOL);
        }
    }
}

// === impl SubprotocolReply ===

impl SubprotocolReply {
    pub(super) fn apply<R>(self, response: &mut Response<R>) {
        if self == Self::Bearer && response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let announced = HeaderValue::from_static(ANNOUNCEMENT);
            let headers = response.headers_mut();
            headers.entry(SEC_WEBSOCKET_PROTOCOL).or_insert(announced);
        }
    }
}

// === Authorization (RFC 6750 section 2.1) ===

/// Takes the credential of the scheme `Bearer`.
///
/// Returns `None` if there is no `Authorization` header, or if it has another scheme; that
/// credential stays in the request. The characters of the token are not checked here: a cached
/// token is known to be valid, and decoding checks any other token strictly.
fn take_authorization(headers: &mut HeaderMap, max_bytes: usize) -> Result<Option<Bearer>, Reason> {
    let lines = headers.len();
    // Removes all lines of the header and returns the first.
    let Some(value) = headers.remove(AUTHORIZATION) else {
        return Ok(None);
    };
    if lines - headers.len() > 1 {
        return Err(Reason::InvalidRequest);
    }
    let Some(token) = after_scheme(value.as_bytes()) else {
        headers.insert(AUTHORIZATION, value);
        return Ok(None);
    };
    let token = token.strip_prefix(b" ").ok_or(Reason::InvalidRequest)?;
    let token = trim_start(token);
    if token.len() > max_bytes {
        return Err(Reason::TokenTooLarge);
    }
    if token.is_empty() {
        return Err(Reason::InvalidRequest);
    }
    let has_one_space = value.len() == Bearer::SCHEME.len() + token.len();
    let rebuilt = (!has_one_space).then(|| [Bearer::SCHEME.as_bytes(), token].concat());
    let rebuilt = rebuilt.and_then(|value| HeaderValue::from_bytes(&value).ok());
    Ok(Some(Bearer::new(rebuilt.unwrap_or(value))))
}

/// The token of the only `Authorization` header, which stays in the request.
pub(super) fn peek(headers: &HeaderMap) -> Option<&[u8]> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (line, None) = (lines.next()?, lines.next()) else {
        return None;
    };
    after_scheme(line.as_bytes())?.strip_prefix(b" ")
}

/// What follows the scheme, if the scheme is `Bearer` in any case.
fn after_scheme(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_first_chunk::<6>()?;
    let ends = match rest.first() {
        Some(b' ') | None => true,
        Some(byte) => !is_token_char(*byte),
    };
    let is_bearer = scheme == b"Bearer" || scheme.eq_ignore_ascii_case(b"bearer");
    (ends && is_bearer).then_some(rest)
}

fn trim_start(mut token: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = token {
        token = rest;
    }
    token
}

/// A character of RFC 9110's `token` (section 5.6.2).
fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110's `token68` (section 11.2).
pub(super) fn is_token68(token: &[u8]) -> bool {
    let bare = token.trim_ascii_end();
    let end = bare.iter().rposition(|byte| *byte != b'=');
    let body = end.and_then(|end| bare.get(..=end)).unwrap_or_default();
    bare.len() == token.len()
        && !body.is_empty()
        && body
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte))
}

/// A token from another source than `Authorization`.
fn bearer_of(token: &str, max_bytes: usize) -> Result<Bearer, Reason> {
    if token.len() > max_bytes {
        return Err(Reason::TokenTooLarge);
    }
    if !is_token68(token.as_bytes()) {
        return Err(Reason::InvalidRequest);
    }
    let value = HeaderValue::try_from([Bearer::SCHEME, token].concat());
    Ok(Bearer::new(value.map_err(|_| Reason::InvalidRequest)?))
}

// === other headers ===

/// All lines of a header as text.
fn lines<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Vec<&'h str>, Reason> {
    let lines = headers.get_all(name).iter();
    lines
        .map(|line| line.to_str().map_err(|_| Reason::InvalidRequest))
        .collect()
}

/// Replaces all lines of a header by one line, or by none if the line is empty.
fn put_back(headers: &mut HeaderMap, name: HeaderName, rest: &str) {
    headers.remove(&name);
    if let (false, Ok(value)) = (rest.is_empty(), HeaderValue::from_str(rest)) {
        headers.insert(name, value);
    }
}

/// Takes a cookie. An empty cookie is no token, because servers delete a cookie by setting it to
/// the empty string.
fn take_cookie(headers: &mut HeaderMap, name: &str) -> Result<Option<String>, Reason> {
    // Cookies in other encodings are an error only if the request has this one.
    let mut cookies = headers.get_all(COOKIE).iter();
    if !cookies.any(|line| contains(line, name)) {
        return Ok(None);
    }
    let mut found = None;
    let mut rest = Vec::new();
    for pair in lines(headers, &COOKIE)?
        .iter()
        .flat_map(|line| line.split(';'))
    {
        match pair.trim().split_once('=') {
            Some((own, value)) if own.trim_end() == name => {
                if found.replace(value.trim().to_owned()).is_some() {
                    return Err(Reason::InvalidRequest);
                }
            }
            _ => rest.push(pair.trim()),
        }
    }
    let rest = rest.join("; ");
    if found.is_some() {
        put_back(headers, COOKIE, &rest);
    }
    Ok(found.filter(|token| !token.is_empty()))
}

fn contains(line: &HeaderValue, text: &str) -> bool {
    let mut parts = line.as_bytes().windows(text.len());
    parts.any(|part| part == text.as_bytes())
}

/// Removes the cookie. Other cookies stay, unless the header is not text and cookies cannot be
/// separated.
fn discard_cookie(headers: &mut HeaderMap, name: &str) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if !cookies.any(|line| contains(line, name)) {
        return;
    }
    let rest = lines(headers, &COOKIE).unwrap_or_default();
    let rest = rest.iter().flat_map(|line| line.split(';')).map(str::trim);
    let is_other = |pair: &&str| pair.split('=').next().map(str::trim_end) != Some(name);
    let rest = rest.filter(is_other).collect::<Vec<_>>().join("; ");
    put_back(headers, COOKIE, &rest);
}

fn take_header(headers: &mut HeaderMap, name: &HeaderName) -> Result<Option<String>, Reason> {
    let found = match lines(headers, name)?.as_slice() {
        [] => None,
        [token] => Some((*token).to_owned()),
        _ => return Err(Reason::InvalidRequest),
    };
    headers.remove(name);
    Ok(found)
}

/// Removes `bearer, <token>` from the list of subprotocols. Neither entry is a subprotocol of the
/// server.
fn take_protocol(headers: &mut HeaderMap) -> Result<Option<String>, Reason> {
    let mut offered: Vec<&str> = lines(headers, &SEC_WEBSOCKET_PROTOCOL)?
        .iter()
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect();
    let Some(at) = offered.iter().position(|name| *name == ANNOUNCEMENT) else {
        return Ok(None);
    };
    offered.remove(at);
    if at >= offered.len() || offered.contains(&ANNOUNCEMENT) {
        return Err(Reason::InvalidRequest);
    }
    let token = offered.remove(at).to_owned();
    let rest = offered.join(", ");
    put_back(headers, SEC_WEBSOCKET_PROTOCOL, &rest);
    Ok(Some(token))
}

// === query (RFC 6750 section 2.3) ===

/// Takes `name=<token>`. The rest of the query keeps its bytes.
fn take_query(uri: &mut Uri, name: &str) -> Result<Option<String>, Reason> {
    // Another reader of the query may find a token in such a pair that differs from the verified
    // token.
    if pairs(uri).any(|pair| is_disguised(pair, name)) {
        return Err(Reason::InvalidRequest);
    }
    let tokens: Vec<&str> = pairs(uri).filter_map(|pair| value(pair, name)).collect();
    let token = match tokens.as_slice() {
        [] => return Ok(None),
        [token] => (*token).to_owned(),
        _ => return Err(Reason::InvalidRequest),
    };
    *uri = without(uri, name).ok_or(Reason::InvalidRequest)?;
    Ok(Some(token))
}

fn without(uri: &Uri, name: &str) -> Option<Uri> {
    let rest: Vec<&str> = pairs(uri)
        .filter(|pair| !is_parameter(pair, name))
        .collect();
    let separator = if rest.is_empty() { "" } else { "?" };
    let path_and_query = format!("{}{separator}{}", uri.path(), rest.join("&"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse().ok()?);
    Uri::from_parts(parts).ok()
}

fn pairs(uri: &Uri) -> impl Iterator<Item = &str> {
    uri.query().into_iter().flat_map(|query| query.split('&'))
}

fn value<'p>(pair: &'p str, name: &str) -> Option<&'p str> {
    pair.strip_prefix(name)?.strip_prefix('=')
}

/// Whether other readers find the parameter in this pair although the pair does not begin with its
/// name. The name may have escapes, or follow a `;`, which some form decoders read as `&`.
fn is_disguised(pair: &str, name: &str) -> bool {
    pair.split(';').enumerate().any(|(at, part)| {
        let (own, _) = part.split_once('=').unwrap_or((part, ""));
        (at > 0 || own.contains('%')) && percent_decode_str(own).eq(name.bytes())
    })
}

/// Whether any reader finds the parameter in this pair.
fn is_parameter(pair: &str, name: &str) -> bool {
    value(pair, name).is_some() || is_disguised(pair, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> TokenSources {
        TokenSources {
            cookie: Some("__Host-token".into()),
            header: Some(HeaderName::from_static("x-token")),
            websocket_protocol: true,
            query: Some("access_token".into()),
        }
    }

    /// Compares the token that is taken and the headers that are left.
    #[track_caller]
    fn check(
        given: &[(&str, &str)],
        expected: Result<Option<&str>, Reason>,
        left: &[(&str, &str)],
    ) {
        let mut request = Request::new(());
        for (name, value) in given {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let taken = sources().take(&mut request, 16);
        let headers = request.headers();
        let taken = taken.map(|found| {
            found.map(|found| String::from_utf8(found.bearer.token().to_vec()).unwrap())
        });
        assert_eq!(
            taken.as_ref().map(|t| t.as_deref()).map_err(|r| *r),
            expected,
            "{given:?}"
        );
        if taken.is_ok() {
            let rest: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
                .collect();
            assert_eq!(rest, left, "{given:?}");
        }
    }

    #[test]
    fn takes_the_token_out_of_each_source() {
        check(&[], Ok(None), &[]);
        check(&[("authorization", "Bearer a.b.c")], Ok(Some("a.b.c")), &[]);
        check(&[("x-token", "a.b.c")], Ok(Some("a.b.c")), &[]);
        check(&[("cookie", "__Host-token=a.b.c")], Ok(Some("a.b.c")), &[]);
        check(
            &[("cookie", "a=1; __Host-token=a.b.c;b=2")],
            Ok(Some("a.b.c")),
            &[("cookie", "a=1; b=2")],
        );
        check(
            &[("cookie", "a=1"), ("cookie", "__Host-token=a.b.c")],
            Ok(Some("a.b.c")),
            &[("cookie", "a=1")],
        );
        check(
            &[("sec-websocket-protocol", "bearer, a.b.c")],
            Ok(Some("a.b.c")),
            &[],
        );
        check(
            &[("sec-websocket-protocol", "chat, bearer, a.b.c, v2")],
            Ok(Some("a.b.c")),
            &[("sec-websocket-protocol", "chat, v2")],
        );
    }

    #[test]
    fn leaves_other_headers_alone() {
        for given in [
            [("cookie", "a=1; b=2")],
            [("cookie", "x__Host-token=a.b.c")],
            [("cookie", "__host-token=a.b.c")],
            [("sec-websocket-protocol", "chat, v2")],
            [("authorization", "Basic YTpi")],
        ] {
            check(&given, Ok(None), &given);
        }
        check(&[("cookie", "__Host-token=")], Ok(None), &[]);
    }

    #[test]
    fn two_tokens_are_a_malformed_request() {
        let mapping = [
            ("authorization", "Bearer a.b.c"),
            ("x-token", "a.b.c"),
            ("cookie", "__Host-token=a.b.c"),
            ("sec-websocket-protocol", "bearer, a.b.c"),
        ];
        for first in mapping {
            for second in mapping {
                check(&[first, second], Err(Reason::InvalidRequest), &[]);
            }
        }
        check(
            &[("cookie", "__Host-token=a; __Host-token=")],
            Err(Reason::InvalidRequest),
            &[],
        );
    }

    #[test]
    fn a_malformed_token_does_not_fall_through() {
        for given in [
            ("cookie", "__Host-token=\"a.b.c\""),
            ("cookie", "__Host-token=a b"),
            ("cookie", "__Host-token=a=b"),
            ("x-token", ""),
            ("x-token", "Bearer a.b.c"),
            ("sec-websocket-protocol", "bearer"),
            ("sec-websocket-protocol", "bearer, "),
            ("sec-websocket-protocol", "bearer, bearer, a.b.c"),
        ] {
            check(&[given], Err(Reason::InvalidRequest), &[]);
        }
        check(
            &[("x-token", "01234567890123456")],
            Err(Reason::TokenTooLarge),
            &[],
        );
    }

    #[test]
    fn takes_the_token_out_of_the_query() {
        #[track_caller]
        fn check(uri: &str, expected: Result<Option<&str>, Reason>, left: &str) {
            let mut request = Request::get(uri).body(()).unwrap();
            let taken = sources().take(&mut request, 16);
            let token = taken.map(|found| found.map(|found| found.bearer.token().to_vec()));
            assert_eq!(
                token,
                expected.map(|token| token.map(|token| token.as_bytes().to_vec())),
                "{uri}"
            );
            assert_eq!(request.uri(), left);
        }
        check("/a?access_token=a.b.c", Ok(Some("a.b.c")), "/a");
        check(
            "/a?x=%2F&access_token=a.b.c&&y",
            Ok(Some("a.b.c")),
            "/a?x=%2F&&y",
        );
        check(
            "http://h/a?access_token=a.b.c",
            Ok(Some("a.b.c")),
            "http://h/a",
        );
        check("/a?Access_token=a.b.c", Ok(None), "/a?Access_token=a.b.c");
        check("/a?access_token", Ok(None), "/a?access_token");
        check("/a", Ok(None), "/a");
        check("/a?access_token=", Err(Reason::InvalidRequest), "/a");
        check("/a?access_token=a%2Eb", Err(Reason::InvalidRequest), "/a");
        for escaped in [
            "/a?access%5Ftoken=a",
            "/a?%61ccess_token",
            "/a?access_token=a.b.c&access%5ftoken=b",
            // Some form decoders separate parameters at `;`.
            "/a?a=b;access_token=c",
            "/a?access_token=a.b.c&x;access_token=b&y",
            "/a?x;%61ccess_token=b",
            "/a?access_token=a.b.c;access_token=b",
        ] {
            check(escaped, Err(Reason::InvalidRequest), escaped);
        }
        for other in ["/a?access%5ftokens=a&%61=%61", "/a?a=1;b=2;access_tokens=3"] {
            check(other, Ok(None), other);
        }
        let twice = "/a?access_token=a&access_token=b";
        check(twice, Err(Reason::InvalidRequest), twice);
    }

    #[test]
    fn discards_only_what_may_be_a_token() {
        #[track_caller]
        fn check(uri: &str, left: &str) {
            let mut request = Request::connect(uri).body(()).unwrap();
            sources().discard(&mut request);
            assert_eq!(request.uri(), left);
        }
        check("/a?access_token=a&b&access_token=", "/a?b");
        check("http://h/a?access%5Ftoken=a&b=%61", "http://h/a?b=%61");
        check("/a?x;access_token=a&b;c", "/a?b;c");
        for other in ["/a?access_tokens=a&access_token", "/a?", "*", "h:443"] {
            check(other, other);
        }
    }

    #[test]
    fn selects_the_subprotocol_when_protocols_switch() {
        let mut response = Response::new(());
        SubprotocolReply::Bearer.apply(&mut response);
        assert!(response.headers().is_empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        SubprotocolReply::None.apply(&mut response);
        assert!(response.headers().is_empty());
        SubprotocolReply::Bearer.apply(&mut response);
        assert_eq!(response.headers()["sec-websocket-protocol"], "bearer");
    }

    #[track_caller]
    fn check_authorization(values: &[&[u8]], expected: Result<Option<&[u8]>, Reason>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        let taken = take_authorization(&mut headers, 16);
        let token = taken.as_ref().map(|b| b.as_ref().map(Bearer::token));
        assert_eq!(token, expected.as_ref().map(|b| *b));
        let left: Vec<_> = headers.values().map(HeaderValue::as_bytes).collect();
        match taken {
            Ok(None) => assert_eq!(left, values, "another scheme's credential stays"),
            _ => assert!(left.is_empty(), "the credential is moved, not copied"),
        }
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        for value in [
            "Bearer a.b.c",
            "bearer a.b.c",
            "BEARER a.b.c",
            "Bearer   a.b.c",
        ] {
            check_authorization(&[value.as_bytes()], Ok(Some(b"a.b.c")));
        }
        check_authorization(&[b"Bearer a-_~+/=="], Ok(Some(b"a-_~+/==")));
    }

    #[test]
    fn leaves_other_schemes_alone() {
        check_authorization(&[], Ok(None));
        for value in [
            "Basic YTpi",
            "",
            "Bearerx a.b.c",
            "Foo Bearer a.b.c",
            "DPoP a.b.c",
            "Bear",
        ] {
            check_authorization(&[value.as_bytes()], Ok(None));
        }
    }

    #[test]
    fn two_credentials_are_a_malformed_request() {
        check_authorization(
            &[b"Bearer a.b.c", b"Bearer a.b.c"],
            Err(Reason::InvalidRequest),
        );
        check_authorization(
            &[b"Basic YTpi", b"Bearer a.b.c"],
            Err(Reason::InvalidRequest),
        );
    }

    #[test]
    fn a_malformed_credential_is_a_malformed_request() {
        for value in ["Bearer", "Bearer ", "Bearer   ", "Bearer\ta.b.c"] {
            check_authorization(&[value.as_bytes()], Err(Reason::InvalidRequest));
        }
    }

    #[test]
    fn token68_has_few_characters() {
        for token in ["a", "a-_~+/==", "a.b.c"] {
            assert!(is_token68(token.as_bytes()), "{token}");
        }
        for token in ["", "=", "a b", "a=b", "a, b", "a ", "a\t", "ä"] {
            assert!(!is_token68(token.as_bytes()), "{token}");
        }
    }

    #[test]
    fn large_token_is_refused_before_reading() {
        check_authorization(&[b"Bearer 01234567890123456"], Err(Reason::TokenTooLarge));
        check_authorization(&[b"Bearer 0123456789012345"], Ok(Some(b"0123456789012345")));
    }
}
