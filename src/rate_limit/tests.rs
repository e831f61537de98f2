use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_test::mock;

use super::key::tests::user;
use super::*;
use crate::body::ResponseBody;
use crate::client_address::PeerAddr;
use crate::clock::ManualClock;
use crate::error::ConfigError;
use crate::identity::Caller;
use crate::rejection::{Reason, Rejection};

type Answer = Response<ResponseBody<String>>;

const ALICE: &str = "203.0.113.7";
const BOB: &str = "203.0.113.8";

fn layer(quota: Quota) -> (RateLimitLayer, ManualClock) {
    let clock = ManualClock::at(1_800_000_000);
    (RateLimitLayer::new(quota).clock(clock.clone()), clock)
}

fn from(address: &str) -> Request<String> {
    let address: IpAddr = address.parse().unwrap();
    let mut request = Request::new(String::new());
    request
        .extensions_mut()
        .insert(PeerAddr((address, 1).into()));
    request
}

fn by(caller: Caller) -> Request<String> {
    let mut request = Request::new(String::new());
    request.extensions_mut().insert(caller);
    request
}

fn forwarded(peer: &str, client: &'static str) -> Request<String> {
    let mut request = from(peer);
    let headers = request.headers_mut();
    headers.insert("x-forwarded-for", client.parse().unwrap());
    request
}

async fn hello(_: Request<String>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(String::from("hello")))
}

async fn send(layer: &RateLimitLayer, request: Request<String>) -> Answer {
    let stack = ServiceBuilder::new().layer(layer).service_fn(hello);
    stack.oneshot(request).await.unwrap()
}

async fn status(layer: &RateLimitLayer, request: Request<String>) -> u16 {
    send(layer, request).await.status().as_u16()
}

async fn text(response: Answer) -> String {
    let body = response.into_body().map_err(|error| error.to_string());
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[track_caller]
fn check_fields(headers: &HeaderMap, name: &str, expected: &[&str]) {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn admitted_responses_have_the_fields() {
    let (layer, clock) = layer(Quota::per_second(50).burst(100));
    let response = send(&layer, from(ALICE)).await;
    assert_eq!(response.status(), StatusCode::OK);
    check_fields(
        response.headers(),
        "ratelimit-policy",
        &[r#""default";q=100;w=2"#],
    );
    check_fields(response.headers(), "ratelimit", &[r#""default";r=99;t=1"#]);
    assert!(!response.headers().contains_key("retry-after"));
    assert_eq!(text(response).await, "hello");
    for left in (0..99).rev() {
        let response = send(&layer, from(ALICE)).await;
        let state = format!(r#""default";r={left};t=1"#);
        check_fields(response.headers(), "ratelimit", &[&state]);
    }
    assert_eq!(status(&layer, from(ALICE)).await, 429);
    clock.advance(Duration::from_millis(20));
    assert_eq!(status(&layer, from(ALICE)).await, 200);
    assert_eq!(status(&layer, from(ALICE)).await, 429);
}

#[tokio::test]
async fn a_rejection_names_the_policy() {
    let (layer, _clock) = layer(Quota::per_minute(2));
    let layer = layer.named("per-address").unwrap();
    for _ in 0..2 {
        assert_eq!(status(&layer, from(ALICE)).await, 200);
    }
    let response = send(&layer, from(ALICE)).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["retry-after"], "30");
    check_fields(headers, "ratelimit-policy", &[r#""per-address";q=2;w=60"#]);
    check_fields(headers, "ratelimit", &[r#""per-address";r=0;t=30"#]);
    assert!(!headers.contains_key("www-authenticate"));
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.reason(), Reason::RateLimited);
    assert_eq!(rejection.retry_after(), Some(Duration::from_secs(30)));
    let expected = concat!(
        r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","#,
        r#""title":"Too Many Requests","status":429,"detail":"too many requests","#,
        r#""code":"rate_limited","retry_after":30,"violated_policies":["per-address"]}"#,
    );
    assert_eq!(text(response).await, expected);
}

#[tokio::test]
async fn a_grpc_rejection_is_trailers_only() {
    let (layer, _clock) = layer(Quota::per_minute(0));
    let mut request = from(ALICE);
    let headers = request.headers_mut();
    headers.insert("content-type", "application/grpc+proto".parse().unwrap());
    let response = send(&layer, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "8");
    assert_eq!(response.headers()["grpc-message"], "too many requests");
    assert_eq!(response.headers()["retry-after"], "60");
    check_fields(response.headers(), "ratelimit", &[r#""default";r=0;t=60"#]);
    assert!(response.body().is_end_stream());
}

#[tokio::test]
async fn retry_after_is_never_zero() {
    let (layer, clock) = layer(Quota::per(1, Duration::from_millis(500)));
    assert_eq!(status(&layer, from(ALICE)).await, 200);
    clock.advance(Duration::from_nanos(499_999_999));
    let response = send(&layer, from(ALICE)).await;
    assert_eq!(response.headers()["retry-after"], "1");
    check_fields(response.headers(), "ratelimit", &[r#""default";r=0;t=1"#]);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(status(&layer, from(ALICE)).await, 200);
}

#[tokio::test]
async fn admits_four_thousand_per_second() {
    let (layer, clock) = layer(Quota::per_second(4000));
    let mut service = layer.layer(service_fn(hello));
    let mut admitted = [0; 2];
    for second in &mut admitted {
        for _ in 0..8000 {
            let response = service.ready().await.unwrap().call(from(ALICE)).await;
            *second += u32::from(response.unwrap().status() == 200);
        }
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(admitted, [4000, 4000]);
}

#[tokio::test]
async fn two_callers_do_not_share() {
    let (layer, _clock) = layer(Quota::per_minute(1));
    assert_eq!(status(&layer, from(ALICE)).await, 200);
    assert_eq!(status(&layer, from(BOB)).await, 200);
    assert_eq!(status(&layer, from(ALICE)).await, 429);

    let layer = layer.by_subject();
    assert_eq!(status(&layer, by(user("a", "joe"))).await, 200);
    assert_eq!(status(&layer, by(user("b", "joe"))).await, 200);
    assert_eq!(status(&layer, by(user("a", "joe"))).await, 429);
}

#[tokio::test]
async fn addresses_of_one_ipv6_prefix_share_a_count() {
    let (layer, _clock) = layer(Quota::per_minute(1));
    assert_eq!(status(&layer, from("2001:db8::1")).await, 200);
    assert_eq!(status(&layer, from("2001:db8::2:3:4:5")).await, 429);
    assert_eq!(status(&layer, from("2001:db8:0:1::1")).await, 200);
}

#[tokio::test]
async fn a_spoofed_header_makes_no_new_caller() {
    let (layer, _clock) = layer(Quota::per_minute(1));
    assert_eq!(status(&layer, forwarded(ALICE, "198.51.100.1")).await, 200);
    assert_eq!(status(&layer, forwarded(ALICE, "198.51.100.2")).await, 429);
}

#[tokio::test]
async fn clients_of_a_trusted_proxy_count_separately() {
    let (layer, _clock) = layer(Quota::per_minute(1));
    let layer = layer.trusted_proxies(["10.0.0.0/8", "fd00::1"]).unwrap();
    assert_eq!(status(&layer, forwarded("10.1.2.3", ALICE)).await, 200);
    assert_eq!(status(&layer, forwarded("fd00::1", BOB)).await, 200);
    assert_eq!(status(&layer, forwarded("10.9.9.9", ALICE)).await, 429);
    let spoofed = forwarded("10.1.2.3", "1.1.1.1, 203.0.113.8");
    assert_eq!(status(&layer, spoofed).await, 429);
}

#[tokio::test]
async fn a_missing_address_or_caller_is_a_misconfiguration() {
    let (layer, _clock) = layer(Quota::per_minute(9));
    let nothing = || Request::new(String::new());
    for layer in [layer.clone(), layer.by_subject()] {
        let response = send(&layer, nothing()).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(text(response).await.contains(r#""code":"not_configured""#));
    }
}

#[tokio::test]
async fn an_anonymous_caller_is_limited_by_address() {
    let (layer, _clock) = layer(Quota::per_minute(1));
    let layer = layer.by_subject();
    let anonymous = |address| {
        let mut request = from(address);
        request.extensions_mut().insert(Caller::Anonymous);
        request
    };
    assert_eq!(status(&layer, anonymous(ALICE)).await, 200);
    assert_eq!(status(&layer, anonymous(BOB)).await, 200);
    assert_eq!(status(&layer, anonymous(ALICE)).await, 429);
}

#[tokio::test]
async fn the_address_is_read_from_another_extension() {
    #[derive(Clone)]
    struct TcpInfo(Option<SocketAddr>);
    let (layer, _clock) = layer(Quota::per_minute(1));
    let layer = layer.peer_from::<TcpInfo>(|info| info.0);
    let with = |address: Option<&str>| {
        let mut request = Request::new(String::new());
        let address = address.map(|address| address.parse().unwrap());
        request.extensions_mut().insert(TcpInfo(address));
        request
    };
    assert_eq!(status(&layer, with(Some("203.0.113.7:1"))).await, 200);
    assert_eq!(status(&layer, with(Some("203.0.113.7:2"))).await, 429);
    assert_eq!(status(&layer, with(None)).await, 500);
}

#[tokio::test]
async fn a_custom_key_is_counted() {
    let (layer, _clock) = layer(Quota::per_minute(1));
    let layer = layer.by_key(|headers, _| headers.get("x-plan").cloned());
    let plan = |plan: &'static str| {
        let mut request = from(ALICE);
        request
            .headers_mut()
            .insert("x-plan", plan.parse().unwrap());
        request
    };
    assert_eq!(status(&layer, plan("pro")).await, 200);
    assert_eq!(status(&layer, plan("free")).await, 200);
    assert_eq!(status(&layer, plan("pro")).await, 429);
    assert_eq!(status(&layer, from(ALICE)).await, 200);
    assert_eq!(status(&layer, from(ALICE)).await, 429);
}

#[tokio::test]
async fn clones_and_services_count_together() {
    let (layer, _clock) = layer(Quota::per_minute(2));
    let clone = layer.clone();
    let mut one = layer.layer(service_fn(hello));
    let mut two = clone.layer(service_fn(hello));
    assert_eq!(one.call(from(ALICE)).await.unwrap().status(), 200);
    assert_eq!(two.call(from(ALICE)).await.unwrap().status(), 200);
    assert_eq!(one.clone().call(from(ALICE)).await.unwrap().status(), 429);
    assert_eq!(two.call(from(ALICE)).await.unwrap().status(), 429);
}

#[tokio::test]
async fn a_renamed_clone_counts_separately() {
    let (layer, _clock) = layer(Quota::per_minute(1));
    let other = layer.clone().named("other").unwrap();
    let fresh = layer.clone().max_keys(NonZeroUsize::MIN);
    assert_eq!(status(&layer, from(ALICE)).await, 200);
    assert_eq!(status(&other, from(ALICE)).await, 200);
    assert_eq!(status(&fresh, from(ALICE)).await, 200);
    assert_eq!(status(&layer, from(ALICE)).await, 429);
}

#[tokio::test]
async fn routes_of_several_costs_share_one_count() {
    let (cheap, _clock) = layer(Quota::per_minute(10));
    let dear = cheap.clone().cost(NonZeroU32::new(6).unwrap());
    let response = send(&dear, from(ALICE)).await;
    check_fields(response.headers(), "ratelimit", &[r#""default";r=4;t=6"#]);
    let response = send(&dear, from(ALICE)).await;
    assert_eq!(response.headers()["retry-after"], "12");
    check_fields(response.headers(), "ratelimit", &[r#""default";r=4;t=6"#]);
    assert_eq!(status(&cheap, from(ALICE)).await, 200);
}

#[tokio::test]
async fn an_inner_limit_keeps_outer_fields() {
    let (outer, clock) = layer(Quota::per_minute(60));
    let outer = outer.named("outer").unwrap();
    let inner = RateLimitLayer::new(Quota::per_second(1)).clock(clock);
    let stack = ServiceBuilder::new().layer(outer).layer(inner);
    let stack = stack.service_fn(hello);
    for (expected, left) in [(200, 59), (429, 58)] {
        let response = stack.clone().oneshot(from(ALICE)).await.unwrap();
        assert_eq!(response.status(), expected);
        let headers = response.headers();
        let outer = format!(r#""outer";r={left};t=1"#);
        check_fields(headers, "ratelimit", &[r#""default";r=0;t=1"#, &outer]);
        let policies = [r#""default";q=1;w=1"#, r#""outer";q=60;w=60"#];
        check_fields(headers, "ratelimit-policy", &policies);
    }
}

#[tokio::test]
async fn fields_may_be_left_out() {
    let (layer, _clock) = layer(Quota::per_minute(1));
    let layer = layer.without_fields();
    for expected in [200, 429] {
        let response = send(&layer, from(ALICE)).await;
        assert_eq!(response.status(), expected);
        assert!(!response.headers().contains_key("ratelimit"));
        assert!(!response.headers().contains_key("ratelimit-policy"));
        assert_eq!(
            response.headers().contains_key("retry-after"),
            expected == 429
        );
    }
}

#[tokio::test]
async fn a_disabled_layer_admits_every_request() {
    let (layer, _clock) = layer(Quota::per_minute(0));
    let layer = layer.enabled(false);
    let response = send(&layer, Request::new(String::new())).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().is_empty());
}

#[test]
fn invalid_names_and_proxies_are_errors() {
    let layer = || RateLimitLayer::new(Quota::per_second(1));
    for name in ["", "two words", "\"quoted\""] {
        let error = layer().named(name).unwrap_err();
        assert!(matches!(error, ConfigError::Setting { .. }));
    }
    for proxy in ["", "10.0.0.0/33", "proxy.example.com"] {
        let error = layer().trusted_proxies([proxy]).unwrap_err();
        assert!(error.to_string().contains("10.0.0.0/8"), "{error}");
    }
}

#[tokio::test]
async fn only_the_ready_service_is_called() {
    let (mock, mut handle) = mock::pair::<Request<String>, Response<String>>();
    let (layer, _clock) = layer(Quota::per_minute(1));
    let mut service = mock::Spawn::new(layer.layer(mock));

    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    let admitted = tokio::spawn(service.call(from(ALICE)));
    let (_, respond) = handle.next_request().await.unwrap();
    respond.send_response(Response::new(String::new()));
    assert_eq!(admitted.await.unwrap().unwrap().status(), 200);

    // A refusal never reaches the inner service, though it was ready.
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    let refused = service.call(from(ALICE)).await.unwrap();
    assert_eq!(refused.status(), 429);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn an_axum_router_provides_the_address() {
    use axum::extract::ConnectInfo;
    use axum::{Router, body::Body, routing::get};

    let (layer, _clock) = layer(Quota::per_minute(1));
    let app = Router::new()
        .route("/one", get(|| async { "one" }))
        .route("/two", get(|| async { "two" }))
        .layer(layer);
    for (path, expected) in [("/one", 200), ("/two", 429)] {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.parse().unwrap();
        let peer: SocketAddr = "203.0.113.7:50000".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), expected);
    }
}

#[tokio::test]
async fn a_rejected_head_request_has_no_body() {
    let (layer, _clock) = layer(Quota::per_minute(0));
    let mut request = from(ALICE);
    *request.method_mut() = Method::HEAD;
    let response = send(&layer, request).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(response.headers().contains_key("retry-after"));
    assert!(response.body().is_end_stream());
}

#[tokio::test]
async fn several_quotas_are_charged_all_or_none() {
    let (layer, clock) = layer(Quota::per_second(2));
    let layer = layer.named("burst").unwrap();
    let layer = layer.also("daily", Quota::per_day(3)).unwrap();
    let response = send(&layer, from(ALICE)).await;
    let policies = r#""burst";q=2;w=1,"daily";q=3;w=86400"#;
    check_fields(response.headers(), "ratelimit-policy", &[policies]);
    let left = r#""burst";r=1;t=1,"daily";r=2;t=28800"#;
    check_fields(response.headers(), "ratelimit", &[left]);
    assert_eq!(status(&layer, from(ALICE)).await, 200);

    let refused = send(&layer, from(ALICE)).await;
    assert_eq!(refused.headers()["retry-after"], "1");
    let left = r#""burst";r=0;t=1,"daily";r=1;t=28800"#;
    check_fields(refused.headers(), "ratelimit", &[left]);
    assert!(
        text(refused)
            .await
            .contains(r#""violated_policies":["burst"]"#)
    );

    clock.advance(Duration::from_secs(1));
    assert_eq!(status(&layer, from(ALICE)).await, 200);
    // The burst is back, the day is not, and the burst is not charged for it.
    clock.advance(Duration::from_secs(1));
    for _ in 0..3 {
        let refused = send(&layer, from(ALICE)).await;
        assert_eq!(refused.headers()["retry-after"], "28798");
        let left = r#""burst";r=2;t=1,"daily";r=0;t=28798"#;
        check_fields(refused.headers(), "ratelimit", &[left]);
        assert!(
            text(refused)
                .await
                .contains(r#""violated_policies":["daily"]"#)
        );
    }
    let both = send(&layer.cost(NonZeroU32::new(3).unwrap()), from(ALICE)).await;
    let violated = r#""violated_policies":["burst","daily"]"#;
    assert!(text(both).await.contains(violated));
}

#[test]
fn two_quotas_of_one_name_are_an_error() {
    let layer = || RateLimitLayer::new(Quota::per_second(1));
    assert!(layer().also("default", Quota::per_day(1)).is_err());
    assert!(layer().also("two words", Quota::per_day(1)).is_err());
    let named = layer().also("daily", Quota::per_day(1)).unwrap();
    assert!(named.named("daily").is_err());
}

#[tokio::test]
async fn a_request_is_charged_by_its_response() {
    let (layer, clock) = layer(Quota::per_second(1).burst(4));
    let layer = layer.charge_after(|status, headers| match headers.get("x-cost") {
        Some(cost) => cost.to_str().unwrap().parse().unwrap(),
        None => u32::from(status == 404),
    });
    let answer = |status: u16, cost: Option<&'static str>| {
        let service = service_fn(move |_: Request<String>| {
            let mut response = Response::new(String::new());
            *response.status_mut() = status.try_into().unwrap();
            let cost = cost.map(|cost| ("x-cost".parse().unwrap(), cost.parse().unwrap()));
            response
                .headers_mut()
                .extend::<Option<(http::HeaderName, http::HeaderValue)>>(cost);
            std::future::ready(Ok::<_, Infallible>(response))
        });
        layer.layer(service).oneshot(from(ALICE))
    };
    for (status, cost, left) in [
        (200, None, 4),
        (404, None, 3),
        (200, Some("0"), 3),
        (200, Some("2"), 1),
        // One permit is enough to be let in, whatever it then costs.
        (200, Some("3"), 0),
    ] {
        let response = answer(status, cost).await.unwrap();
        assert_eq!(response.status(), status);
        let state = response.headers()["ratelimit"].to_str().unwrap();
        assert!(state.contains(&format!(";r={left};")), "{state}");
    }
    // Six were charged, two more than the burst.
    let refused = answer(200, None).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "3");
    clock.advance(Duration::from_secs(3));
    assert_eq!(answer(200, None).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_dropped_request_costs_its_declared_minimum() {
    // Dropped requests that are admitted, of 50 and with a quota of 20.
    async fn admitted(layer: RateLimitLayer) -> usize {
        let started = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = started.clone();
        let never = service_fn(move |_: Request<String>| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            std::future::pending::<Result<Response<String>, Infallible>>()
        });
        let mut service = layer.layer(never);
        for _ in 0..50 {
            let mut call = std::pin::pin!(service.call(from(ALICE)));
            std::future::poll_fn(|cx| {
                let _ = call.as_mut().poll(cx);
                std::task::Poll::Ready(())
            })
            .await;
        }
        started.load(std::sync::atomic::Ordering::Relaxed)
    }
    let charging = || layer(Quota::per_hour(20)).0.charge_after(|_, _| 20);
    assert_eq!(admitted(charging()).await, 20);
    assert_eq!(admitted(charging().cost_if_dropped(10)).await, 2);
    assert_eq!(admitted(charging().cost_if_dropped(0)).await, 50);
    // Other layers charge requests before, or failures only.
    assert_eq!(admitted(layer(Quota::per_hour(20)).0).await, 20);
    let failures = layer(Quota::per_hour(20)).0.failures_only();
    assert_eq!(admitted(failures).await, 50);
}

#[tokio::test]
async fn a_failed_service_costs_the_declared_minimum_once() {
    let (layer, _clock) = layer(Quota::per_hour(3));
    let layer = layer.charge_after(|_, _| 0);
    let failing = service_fn(|_: Request<String>| async { Err::<Response<String>, _>("timeout") });
    for _ in 0..3 {
        assert!(layer.layer(failing).oneshot(from(ALICE)).await.is_err());
    }
    assert_eq!(status(&layer, from(ALICE)).await, 429);
    // A response has its own cost, and nothing in addition.
    assert_eq!(status(&layer, from(BOB)).await, 200);
    assert_eq!(status(&layer, from(BOB)).await, 200);
    let response = send(&layer, from(BOB)).await;
    check_fields(
        response.headers(),
        "ratelimit",
        &[r#""default";r=3;t=1200"#],
    );
}

#[tokio::test]
async fn an_exempt_request_passes_over_the_quota_only() {
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = asked.clone();
    let (layer, _clock) = layer(Quota::per_hour(1));
    let layer = layer.exempt(move |headers, _| {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        headers.contains_key("known")
    });
    let known = || {
        let mut request = from(ALICE);
        request.headers_mut().insert("known", "1".parse().unwrap());
        request
    };
    assert_eq!(status(&layer, known()).await, 200);
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert_eq!(status(&layer, from(ALICE)).await, 429);
    assert_eq!(status(&layer, known()).await, 200);
    assert_eq!(status(&layer, from(ALICE)).await, 429);
}

#[test]
fn keys_are_read_and_written() {
    for text in [
        "address",
        "subject",
        "client",
        "route",
        "claim:tenant",
        "header:x-tenant",
    ] {
        let key: LimitKey = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json, format!("{text:?}"));
        assert_eq!(serde_json::from_str::<LimitKey>(&json).unwrap(), key);
    }
    for text in ["", "user", "claim", "header:a b", "Address", "address:"] {
        assert!(text.parse::<LimitKey>().is_err(), "{text:?}");
    }
}

#[tokio::test]
async fn request_is_in_flight_until_body_ends() {
    let two = NonZeroU32::new(2).unwrap();
    let (layer, _clock) = layer(Quota::UNLIMITED);
    let layer = layer.max_in_flight(two);
    let first = send(&layer, from(ALICE)).await;
    let policy = r#""in-flight";q=2;qu="concurrent-requests""#;
    check_fields(first.headers(), "ratelimit-policy", &[policy]);
    check_fields(first.headers(), "ratelimit", &[r#""in-flight";r=1"#]);
    let second = send(&layer, from(ALICE)).await;
    let refused = send(&layer, from(ALICE)).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    check_fields(refused.headers(), "ratelimit", &[r#""in-flight";r=0"#]);
    assert!(
        text(refused)
            .await
            .contains(r#""violated_policies":["in-flight"]"#)
    );
    assert_eq!(status(&layer, from(BOB)).await, 200);

    // Read to its end, or dropped.
    let mut body = first.into_body();
    while body.frame().await.is_some() {}
    let third = send(&layer, from(ALICE)).await;
    assert_eq!(third.status(), 200);
    assert_eq!(status(&layer, from(ALICE)).await, 429);
    drop(second);
    assert_eq!(status(&layer, from(ALICE)).await, 200);
    drop(body);
}

#[tokio::test]
async fn a_disconnected_client_frees_its_place() {
    let (layer, _clock) = layer(Quota::per_hour(9));
    let layer = layer.max_in_flight(NonZeroU32::MIN);
    let never = service_fn(|_: Request<String>| {
        std::future::pending::<Result<Response<String>, Infallible>>()
    });
    let mut hanging = tokio_test::task::spawn(layer.layer(never).oneshot(from(ALICE)));
    assert!(hanging.poll().is_pending());
    assert_eq!(status(&layer, from(ALICE)).await, 429);
    drop(hanging);
    let response = send(&layer, from(ALICE)).await;
    // What was refused for being one too many is not charged.
    let state = [r#""default";r=7;t=400"#, r#""in-flight";r=0"#];
    check_fields(response.headers(), "ratelimit", &state);
}

#[tokio::test]
async fn older_fields_are_sent_on_request() {
    let (layer, _clock) = layer(Quota::per_minute(2));
    let layer = layer.header_style(HeaderStyle::Legacy);
    let layer = layer.also("daily", Quota::per_day(100)).unwrap();
    let outer = RateLimitLayer::new(Quota::per_minute(60)).header_style(HeaderStyle::Legacy);
    for (expected, remaining) in [(200, "1"), (200, "0"), (429, "0")] {
        let stack = ServiceBuilder::new().layer(&outer).layer(&layer);
        let response = stack.service_fn(hello).oneshot(from(ALICE)).await.unwrap();
        assert_eq!(response.status(), expected);
        let headers = response.headers();
        check_fields(headers, "x-ratelimit-limit", &["2"]);
        check_fields(headers, "x-ratelimit-remaining", &[remaining]);
        check_fields(headers, "x-ratelimit-reset", &["30"]);
        assert_eq!(headers.get_all("ratelimit").iter().count(), 2);
    }
}

#[tokio::test]
async fn retries_are_spread_over_the_jitter() {
    let (layer, _clock) = layer(Quota::per_minute(0));
    let layer = layer.retry_jitter(Duration::from_secs(30));
    let mut waits = std::collections::BTreeSet::new();
    for host in 0..100 {
        let response = send(&layer, from(&format!("203.0.113.{host}"))).await;
        let wait: u64 = response.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((60..=90).contains(&wait), "{wait}");
        waits.insert(wait);
    }
    assert!(waits.len() > 15, "{waits:?}");
}

#[tokio::test]
async fn quotas_follow_plan_role_or_claim() {
    fn caller(role: &str, payload: &str) -> Caller {
        Caller::Verified(crate::Identity::new(crate::identity::Verified {
            roles: [role].into_iter().collect(),
            payload: payload.as_bytes().to_vec(),
            ..crate::identity::tests::verified()
        }))
    }
    async fn quota(layer: &RateLimitLayer, caller: Caller) -> String {
        let fresh = layer.clone().max_keys(NonZeroUsize::MIN);
        let mut request = by(caller);
        let peer: SocketAddr = "203.0.113.7:1".parse().unwrap();
        request.extensions_mut().insert(PeerAddr(peer));
        let response = send(&fresh, request).await;
        response.headers()["ratelimit-policy"]
            .to_str()
            .unwrap()
            .to_owned()
    }
    let own = || RateLimitLayer::new(Quota::per_minute(7)).by_subject();
    let own_quota = r#""default";q=7;w=60"#;

    let plans = own().plans(
        ["shop", "plan"],
        [
            ("pro", Quota::per_minute(90)),
            ("free", Quota::per_minute(9)),
        ],
    );
    for (claim, expected) in [
        (r#"{"shop":{"plan":"free"}}"#, r#""default";q=9;w=60"#),
        (
            r#"{"shop":{"plan":["free","pro"]}}"#,
            r#""default";q=90;w=60"#,
        ),
        (r#"{"shop":{"plan":"gold"}}"#, own_quota),
        (r#"{"shop":{"plan":{"pro":1}}}"#, own_quota),
        ("{}", own_quota),
    ] {
        assert_eq!(quota(&plans, caller("", claim)).await, expected, "{claim}");
    }
    assert_eq!(quota(&plans, Caller::Anonymous).await, own_quota);

    let roles = own().plans_by_role([("staff", Quota::per_minute(50))]);
    let staff = quota(&roles, caller("staff", "{}")).await;
    assert_eq!(staff, r#""default";q=50;w=60"#);
    assert_eq!(quota(&roles, caller("guest", "{}")).await, own_quota);

    let claimed = own().quota_claim("rpm", Quota::per_minute(600).burst(50));
    for (claim, expected) in [
        (r#"{"rpm":100}"#, r#""default";q=50;w=30"#),
        (r#"{"rpm":20}"#, r#""default";q=20;w=60"#),
        (r#"{"rpm":99999999999}"#, r#""default";q=50;w=5"#),
        (r#"{"rpm":-1}"#, own_quota),
        (r#"{"rpm":1.5}"#, own_quota),
        (r#"{"rpm":"600"}"#, own_quota),
    ] {
        assert_eq!(
            quota(&claimed, caller("", claim)).await,
            expected,
            "{claim}"
        );
    }
    let nothing = own().quota_claim("rpm", Quota::per_minute(600));
    assert_eq!(status(&nothing, by(caller("", r#"{"rpm":0}"#))).await, 429);
}

#[tokio::test]
async fn further_plans_are_prepared_per_request() {
    let (layer, _clock) = layer(Quota::per_minute(1));
    let layer = layer
        .by_subject()
        .quota_claim("rpm", Quota::per_minute(1_000));
    for round in 0..2 {
        for rpm in 2..60 {
            let caller = Caller::Verified(crate::Identity::new(crate::identity::Verified {
                subject: rpm.to_string().into(),
                payload: format!(r#"{{"rpm":{rpm}}}"#).into_bytes(),
                ..crate::identity::tests::verified()
            }));
            let response = send(&layer, by(caller)).await;
            let state = response.headers()["ratelimit"].to_str().unwrap();
            let left = format!(r#""default";r={};"#, rpm - 1 - round);
            assert!(state.starts_with(&left), "{state}");
        }
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn routes_are_counted_by_their_templates() {
    use axum::{Router, body::Body, routing::get};

    let (layer, _clock) = layer(Quota::per_minute(1));
    let app = Router::new()
        .route("/orders/{id}", get(|| async { "order" }))
        .route("/users/{id}", get(|| async { "user" }))
        .layer(layer.by_route());
    for (path, expected) in [
        ("/orders/1", 200),
        ("/users/1", 200),
        ("/orders/2", 429),
        ("/made/up", 404),
        ("/otherwise", 429),
    ] {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.parse().unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), expected, "{path}");
    }
}
