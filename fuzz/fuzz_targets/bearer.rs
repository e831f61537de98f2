//! A request, line by line: its target, then header fields. `$A` and `$B` are replaced by accepted
//! tokens.
//!
//! All token sources are enabled.
#![no_main]

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use futures_util::FutureExt;
use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use libfuzzer_sys::fuzz_target;
use portcullis::{Caller, JwtAuthLayer};
use portcullis_fuzz::{honest, issuer, layer};
use tower::{Layer, ServiceExt, service_fn};

const COOKIE_NAME: &str = "__Host-token";
const FIELD: &str = "x-access-token";
const PARAMETER: &str = "access_token";

static LAYER: LazyLock<JwtAuthLayer> = LazyLock::new(|| {
    let layer = layer([issuer()]).websocket_protocol();
    let layer = layer.cookie(COOKIE_NAME).unwrap().header(FIELD).unwrap();
    layer.dangerous_query_parameter(PARAMETER).unwrap()
});
static TOKENS: LazyLock<[String; 2]> = LazyLock::new(|| [honest("alice"), honest("bob")]);

/// The request that the inner service received.
struct Seen {
    caller: Caller,
    request: Request<()>,
}

fuzz_target!(|data: &[u8]| {
    let Some(request) = request(data) else {
        return;
    };
    let may_be_grpc = (request.headers().get("content-type"))
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    for layer in [LAYER.clone(), LAYER.clone().optional()] {
        let service = layer.layer(service_fn(|mut request: Request<()>| {
            let caller = request.extensions_mut().remove::<Caller>().unwrap();
            let mut response = Response::new(());
            response
                .extensions_mut()
                .insert(Arc::new(Seen { caller, request }));
            std::future::ready(Ok::<_, Infallible>(response))
        }));
        let copy = copy(&request);
        let answer = service
            .oneshot(copy)
            .now_or_never()
            .expect("no key is fetched");
        let mut response = answer.unwrap();
        let Some(seen) = response.extensions_mut().remove::<Arc<Seen>>() else {
            let grpc = response.headers().get("grpc-status");
            let status = response.status().as_u16();
            let is_fair = match grpc {
                Some(code) => may_be_grpc && status == 200 && (code == "3" || code == "16"),
                None => status == 400 || status == 401,
            };
            assert!(is_fair, "{status} {:?}", response.headers());
            continue;
        };
        check(&request, &seen);
    }
});

fn check(request: &Request<()>, seen: &Seen) {
    let offered = credentials(request);
    if let Caller::Verified(identity) = &seen.caller {
        let at = ["alice", "bob"]
            .iter()
            .position(|name| identity.subject() == *name);
        assert_eq!(
            offered,
            [TOKENS[at.unwrap()].as_str()],
            "one token, and this one"
        );
    } else {
        assert!(offered.is_empty(), "a bad token passed: {offered:?}");
    }
    assert!(
        credentials(&seen.request).is_empty(),
        "a credential is moved"
    );
    // All other headers must be unchanged.
    let others = |headers: &HeaderMap| {
        let mut others = headers.clone();
        for name in [
            AUTHORIZATION.as_str(),
            COOKIE.as_str(),
            SEC_WEBSOCKET_PROTOCOL.as_str(),
            FIELD,
        ] {
            others.remove(name);
        }
        others
    };
    assert_eq!(others(request.headers()), others(seen.request.headers()));
    assert_eq!(request.uri().path(), seen.request.uri().path());
    let others = |request| parameters(request, "a");
    assert_eq!(others(request), others(&seen.request));
}

/// Every credential of a request, by a simple reading.
fn credentials(request: &Request<()>) -> Vec<String> {
    let lines = |name: &str| {
        let lines = request.headers().get_all(name).iter();
        lines
            .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
            .collect::<Vec<_>>()
    };
    let mut found = parameters(request, PARAMETER);
    for line in lines("authorization") {
        let scheme: String = line
            .chars()
            .take_while(|c| !" \t,;:=/\"()<>?@[\\]{}".contains(*c) && c.is_ascii_graphic())
            .collect();
        if scheme.eq_ignore_ascii_case("bearer") {
            found.push(line[scheme.len()..].trim_start().to_owned());
        }
    }
    for pair in lines("cookie").iter().flat_map(|line| line.split(';')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name.trim() == COOKIE_NAME && !value.trim().is_empty() {
            found.push(value.trim().to_owned());
        }
    }
    found.extend(lines(FIELD));
    let offered = lines("sec-websocket-protocol").join(",");
    let offered: Vec<&str> = offered.split(',').map(str::trim).collect();
    for (at, name) in offered.iter().enumerate() {
        if *name == "bearer" {
            found.push(offered.get(at + 1).copied().unwrap_or_default().to_owned());
        }
    }
    found
}

fn parameters(request: &Request<()>, name: &str) -> Vec<String> {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let pairs = pairs.filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(own, _)| *own == name)
        .map(|(_, value)| value.to_owned())
        .collect()
}

fn request(data: &[u8]) -> Option<Request<()>> {
    let text = std::str::from_utf8(data).ok()?;
    let text = text.replace("$A", &TOKENS[0]).replace("$B", &TOKENS[1]);
    let mut lines = text.lines();
    let mut request = Request::get(lines.next()?).body(()).ok()?;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name: HeaderName = name.parse().ok()?;
        request
            .headers_mut()
            .append(name, HeaderValue::from_bytes(value.trim().as_bytes()).ok()?);
    }
    Some(request)
}

fn copy(request: &Request<()>) -> Request<()> {
    let mut copy = Request::new(());
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
