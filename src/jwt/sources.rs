//! Takes the token out of a request, from the places where it may stand.

use http::header::{AUTHORIZATION, COOKIE, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;

use super::bearer::{self, is_token68};
use crate::identity::Bearer;
use crate::rejection::Reason;

/// Where tokens are read besides the `Authorization` header. Each place is switched on by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    pub(super) cookie: Option<Box<str>>,
    pub(super) header: Option<HeaderName>,
    pub(super) websocket_protocol: bool,
    pub(super) query: Option<Box<str>>,
}

/// A token, and what its source asks of the response.
pub(super) struct Credential {
    pub(super) bearer: Bearer,
    pub(super) echo: Echo,
}

/// What a browser must hear of the protocols that it offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Echo {
    #[default]
    Nothing,
    /// It closes a WebSocket whose server chose none of them.
    WebSocketProtocol,
}

/// The protocol whose name announces a token.
const ANNOUNCEMENT: &str = "bearer";

// === impl Sources ===

impl Sources {
    /// Takes the one token of a request, so that nobody below sees it. Two, wherever they stand, are a malformed request:
    /// a bad one must not fall through to another.
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
        let mut found = bearer::take(headers, max_bytes)?.map(|bearer| Credential {
            bearer,
            echo: Echo::Nothing,
        });
        let mut add = |token: Option<String>, echo| {
            let Some(token) = token else {
                return Ok(());
            };
            let bearer = make(&token, max_bytes)?;
            let second = found.replace(Credential { bearer, echo });
            second.map_or(Ok(()), |_| Err(Reason::InvalidRequest))
        };
        if let Some(name) = &self.cookie {
            add(take_cookie(headers, name)?, Echo::Nothing)?;
        }
        if let Some(name) = &self.header {
            add(take_header(headers, name)?, Echo::Nothing)?;
        }
        if self.websocket_protocol {
            add(take_protocol(headers)?, Echo::WebSocketProtocol)?;
        }
        add(in_query, Echo::Nothing)?;
        Ok(found)
    }

    /// Removes what stands where tokens are read, well-formed or not, after `take` refused it.
    pub(super) fn discard<B>(&self, request: &mut Request<B>) {
        if let Some(name) = &self.query {
            let uri = request.uri_mut();
            if pairs(uri).any(|pair| stands_for(pair, name)) {
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

// === impl Echo ===

impl Echo {
    pub(super) fn apply<R>(self, response: &mut Response<R>) {
        if self == Self::WebSocketProtocol && response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let announced = HeaderValue::from_static(ANNOUNCEMENT);
            let headers = response.headers_mut();
            headers.entry(SEC_WEBSOCKET_PROTOCOL).or_insert(announced);
        }
    }
}

fn make(token: &str, max_bytes: usize) -> Result<Bearer, Reason> {
    if token.len() > max_bytes {
        return Err(Reason::TokenTooLarge);
    }
    if !is_token68(token.as_bytes()) {
        return Err(Reason::InvalidRequest);
    }
    let value = HeaderValue::try_from([Bearer::SCHEME, token].concat());
    Ok(Bearer::new(value.map_err(|_| Reason::InvalidRequest)?))
}

/// Every line of a header as text.
fn lines<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Vec<&'h str>, Reason> {
    let lines = headers.get_all(name).iter();
    lines
        .map(|line| line.to_str().map_err(|_| Reason::InvalidRequest))
        .collect()
}

/// Puts what is left of a list back as one line, or nothing.
fn put_back(headers: &mut HeaderMap, name: HeaderName, rest: &str) {
    headers.remove(&name);
    if let (false, Ok(value)) = (rest.is_empty(), HeaderValue::from_str(rest)) {
        headers.insert(name, value);
    }
}

/// An empty cookie is how one is removed, and no token.
fn take_cookie(headers: &mut HeaderMap, name: &str) -> Result<Option<String>, Reason> {
    // Where our cookie is not named at all, the others are none of our business.
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

/// The other cookies stay, unless nobody can tell where one ends.
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

/// `bearer, <token>`, anywhere in the list. Both are taken out, as neither is a protocol that a server speaks.
fn take_protocol(headers: &mut HeaderMap) -> Result<Option<String>, Reason> {
    let offered: Vec<&str> = lines(headers, &SEC_WEBSOCKET_PROTOCOL)?
        .iter()
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect();
    let mut announced = offered
        .iter()
        .enumerate()
        .filter(|(_, name)| **name == ANNOUNCEMENT);
    let Some((at, _)) = announced.next() else {
        return Ok(None);
    };
    let token = offered.get(at + 1).map(|token| (*token).to_owned());
    let token = token
        .filter(|_| announced.next().is_none())
        .ok_or(Reason::InvalidRequest)?;
    let rest = offered.iter().enumerate();
    let rest: Vec<&str> = rest
        .filter(|(i, _)| *i != at && *i != at + 1)
        .map(|(_, name)| *name)
        .collect();
    let rest = rest.join(", ");
    put_back(headers, SEC_WEBSOCKET_PROTOCOL, &rest);
    Ok(Some(token))
}

/// `name=<token>`, as RFC 6750 section 2.3 has it. The rest of the query stays as it is, byte for byte.
fn take_query(uri: &mut Uri, name: &str) -> Result<Option<String>, Reason> {
    // To whoever reads the query behind us it would be a token, and perhaps another than ours.
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
    let rest: Vec<&str> = pairs(uri).filter(|pair| !stands_for(pair, name)).collect();
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

/// Whether it is the parameter to whoever undoes escapes, and not as it is written.
fn is_disguised(pair: &str, name: &str) -> bool {
    let (own, _) = pair.split_once('=').unwrap_or((pair, ""));
    own.contains('%') && percent_decode_str(own).eq(name.bytes())
}

/// Whether anybody could take it for the token.
fn stands_for(pair: &str, name: &str) -> bool {
    value(pair, name).is_some() || is_disguised(pair, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        Sources {
            cookie: Some("__Host-token".into()),
            header: Some(HeaderName::from_static("x-token")),
            websocket_protocol: true,
            query: Some("access_token".into()),
        }
    }

    /// What is taken, and what is left of the headers.
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
    fn a_token_is_found_in_each_place_and_taken_out_of_it() {
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
    fn what_is_no_token_of_ours_is_left_alone() {
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
    fn two_tokens_are_a_malformed_request_wherever_they_stand() {
        let places = [
            ("authorization", "Bearer a.b.c"),
            ("x-token", "a.b.c"),
            ("cookie", "__Host-token=a.b.c"),
            ("sec-websocket-protocol", "bearer, a.b.c"),
        ];
        for first in places {
            for second in places {
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
    fn a_malformed_token_is_refused_and_never_falls_through() {
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
    fn a_token_in_the_query_is_taken_out_of_it() {
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
        ] {
            check(escaped, Err(Reason::InvalidRequest), escaped);
        }
        let other = "/a?access%5ftokens=a&%61=%61";
        check(other, Ok(None), other);
        let twice = "/a?access_token=a&access_token=b";
        check(twice, Err(Reason::InvalidRequest), twice);
    }

    #[test]
    fn what_could_be_taken_for_a_token_is_discarded_and_nothing_else() {
        #[track_caller]
        fn check(uri: &str, left: &str) {
            let mut request = Request::connect(uri).body(()).unwrap();
            sources().discard(&mut request);
            assert_eq!(request.uri(), left);
        }
        check("/a?access_token=a&b&access_token=", "/a?b");
        check("http://h/a?access%5Ftoken=a&b=%61", "http://h/a?b=%61");
        for other in ["/a?access_tokens=a&access_token", "/a?", "*", "h:443"] {
            check(other, other);
        }
    }

    #[test]
    fn the_announced_protocol_is_echoed_where_protocols_are_switched() {
        let mut response = Response::new(());
        Echo::WebSocketProtocol.apply(&mut response);
        assert!(response.headers().is_empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        Echo::Nothing.apply(&mut response);
        assert!(response.headers().is_empty());
        Echo::WebSocketProtocol.apply(&mut response);
        assert_eq!(response.headers()["sec-websocket-protocol"], "bearer");
    }
}
