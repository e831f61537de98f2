//! Repeats one case, so that callgrind can count its instructions: `instructions CASE TIMES`.
//!
//! Token and key are in files, created once with a key that no longer exists. Runs therefore differ
//! only in the seeds of hash tables.

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::{
    Issuer, JwksCache, JwksSource, JwtAuthLayer, KeySet, PeerAddr, Quota, RateLimitLayer,
    RequireRoleLayer, Rule,
};
use tower::{Layer, Service, ServiceBuilder, service_fn};

const KEYS: &str = include_str!("keys.json");
const TOKEN: &str = include_str!("token.txt");
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const ISSUER: &str = "https://auth.example.com/realms/main";
const AUDIENCE: &str = "orders-api";

/// Work to count.
type Work = Box<dyn FnMut()>;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let case = arguments.next().unwrap_or_default();
    let times = arguments.next().and_then(|times| times.parse().ok());
    let (Some(mut work), Some(times)) = (work(&case), times) else {
        eprintln!(
            "instructions (floor|hit|hit-counted|chain|limit|fields|refused|floor-miss|miss|nothing|rule) TIMES"
        );
        std::process::exit(2);
    };
    let mut warm = || (0..8).for_each(|_| work());
    if case == "hit" {
        warm();
    } else {
        // Counters bind to the first recorder, so this case needs a separate process.
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, warm);
    }
    measured(&mut work, times);
}

/// Callgrind counts only inside this function, which it finds by name.
#[inline(never)]
fn measured(work: &mut Work, times: u32) {
    for _ in 0..times {
        work();
    }
}

fn work(case: &str) -> Option<Work> {
    let accepted = StatusCode::OK;
    Some(match case {
        "floor" => calling(service_fn(trivial), request(TOKEN), accepted),
        "hit" | "hit-counted" => {
            calling(auth().layer(service_fn(trivial)), request(TOKEN), accepted)
        }
        "chain" => calling(chain(), request(TOKEN), accepted),
        "limit" => {
            let limit = limit().by_address().without_fields();
            calling(limit.layer(service_fn(trivial)), request(TOKEN), accepted)
        }
        "fields" => {
            let limit = limit().by_address();
            calling(limit.layer(service_fn(trivial)), request(TOKEN), accepted)
        }
        "refused" => {
            let mut stranger = request(TOKEN);
            stranger.headers_mut().remove(AUTHORIZATION);
            let service = auth().layer(service_fn(trivial));
            calling(service, stranger, StatusCode::UNAUTHORIZED)
        }
        "floor-miss" => {
            // The signature alone.
            let token = signed_by_secret();
            let mut call = calling(service_fn(trivial), request(&token), accepted);
            let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
            let (message, tag) = token.rsplit_once('.')?;
            let (message, tag) = (message.to_owned(), BASE64URL.decode(tag).ok()?);
            Box::new(move || {
                assert!(hmac::verify(&key, black_box(message.as_bytes()), black_box(&tag)).is_ok());
                call();
            })
        }
        "miss" => {
            let issuer = Issuer::new(ISSUER)
                .with_secret(SECRET)
                .ok()?
                .audience(AUDIENCE);
            let auth = JwtAuthLayer::new([issuer]).ok()?.token_cache(0);
            calling(
                auth.layer(service_fn(trivial)),
                request(&signed_by_secret()),
                accepted,
            )
        }
        "nothing" => Box::new(|| {
            black_box(());
        }),
        "rule" => {
            let caller = auth().verify_now(TOKEN).ok()?;
            let rule = ten_leaves();
            Box::new(move || assert!(black_box(&rule).holds(black_box(&caller))))
        }
        _ => return None,
    })
}

/// All ten are evaluated: the last one of `any` matches, and each of `all` matches.
fn ten_leaves() -> Rule {
    let role = Rule::role("auditor") | Rule::role("owner") | Rule::role("admin");
    let scope = Rule::scope("invoices:write") | Rule::scope("orders:write");
    let invoices = Rule::permission("invoice:write") | Rule::permission_pattern("invoice:*");
    let person = Rule::subject("nobody") | Rule::client("web");
    role & scope & invoices & person & !Rule::client("batch")
}

fn auth() -> JwtAuthLayer {
    let keys = KeySet::from_json(KEYS.as_bytes()).expect("a key set");
    let keys = JwksCache::new([JwksSource::keys(ISSUER, keys)]).expect("one issuer");
    let issuer = Issuer::new(ISSUER).audience(AUDIENCE).with_keys(keys);
    JwtAuthLayer::new([issuer]).expect("an audience and keys")
}

/// Authentication, authorization and a limit by subject, with fields.
fn chain() -> impl Service<Request<()>, Response = Response<impl Sized>, Error = Infallible> {
    ServiceBuilder::new()
        .layer(auth())
        .layer(RequireRoleLayer::any(["auditor", "owner", "admin"]))
        .layer(limit().by_subject())
        .service(service_fn(trivial))
}

/// A limit that is never reached.
fn limit() -> RateLimitLayer {
    RateLimitLayer::new(Quota::per_second(10_000_000))
}

/// Responds with one header, as real services do.
fn trivial(request: Request<()>) -> Ready<Result<Response<()>, Infallible>> {
    drop(black_box(request));
    let mut response = Response::new(());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    ready(Ok(response))
}

fn request(token: &str) -> Request<()> {
    Request::builder()
        .uri("/orders/42")
        .header("host", "api.example.com")
        .header("user-agent", "bench/1.0")
        .header("accept", "application/json")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .extension(PeerAddr(SocketAddr::from(([203, 0, 113, 7], 443))))
        .body(())
        .expect("a request")
}

fn signed_by_secret() -> String {
    let (_, rest) = TOKEN.split_once('.').expect("a token");
    let (claims, _) = rest.split_once('.').expect("a token");
    let header = BASE64URL.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let message = format!("{header}.{claims}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let tag = BASE64URL.encode(hmac::sign(&key, message.as_bytes()));
    format!("{message}.{tag}")
}

/// Sends a copy of `request` through the service each time.
fn calling<S, R>(mut service: S, request: Request<()>, expected: StatusCode) -> Work
where
    S: Service<Request<()>, Response = Response<R>, Error = Infallible> + 'static,
{
    Box::new(move || {
        let mut context = Context::from_waker(Waker::noop());
        let ready = pin!(poll_fn(|cx| service.poll_ready(cx))).poll(&mut context);
        assert!(ready.is_ready());
        let response = pin!(service.call(black_box(request.clone())));
        match response.poll(&mut context) {
            Poll::Ready(Ok(response)) => assert_eq!(response.status(), expected),
            _ => unreachable!("nothing here has a reason to wait"),
        }
    })
}
