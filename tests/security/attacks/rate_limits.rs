//! Clients that try to be counted as another client, or not at all.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, Uri};
use portcullis::{ManualClock, Quota, RateLimitLayer, TestIssuer};

use tower::ServiceExt;

use super::board::Board;
use super::site::{NOW, Site, Stack, attempt, auth, from, policy, request, send, stack, with};

pub(crate) async fn mount(board: &mut Board) {
    by_address(board).await;
    in_disguise(board).await;
    behind_proxies(board).await;
    elsewhere(board).await;
    by_subject(board).await;
    over_time(board).await;
    memory(board).await;
}

fn once() -> RateLimitLayer {
    RateLimitLayer::new(Quota::per_hour(1)).clock(ManualClock::at(NOW))
}

/// The answer to the second of two requests of one client whose quota is one request.
async fn second(stack: &Stack, first: Request<Body>, second: Request<Body>) -> String {
    assert_eq!(attempt(stack, first).await, "200", "control");
    attempt(stack, second).await
}

async fn by_address(board: &mut Board) {
    let plain = || request(None);
    for (id, name, value) in [
        ("forwarded-for-made-up", "x-forwarded-for", "198.51.100.1"),
        ("real-ip-made-up", "x-real-ip", "198.51.100.1"),
        ("forwarded-made-up", "forwarded", "for=198.51.100.1"),
    ] {
        let disguised = with(&[(name, value)]);
        board.row(id, second(&stack(once()), plain(), disguised).await);
    }
    let (v6, next) = (
        from(plain(), "[2001:db8:1:2::1]:9"),
        from(plain(), "[2001:db8:1:2:ffff::1]:9"),
    );
    board.row(
        "another-address-of-one-ipv6-network",
        second(&stack(once()), v6, next).await,
    );
    let mapped = from(plain(), "[::ffff:203.0.113.7]:9");
    board.row(
        "ipv4-address-written-as-ipv6",
        second(&stack(once()), plain(), mapped).await,
    );

    let limit = once();
    let (one, other) = (stack(limit.clone()), stack(limit));
    assert_eq!(attempt(&one, plain()).await, "200", "control");
    let mut elsewhere = plain();
    *elsewhere.uri_mut() = Uri::from_static("/invoices");
    *elsewhere.method_mut() = Method::POST;
    board.row(
        "another-route-of-one-limit",
        attempt(&other, elsewhere).await,
    );

    let victim = from(plain(), "203.0.113.8:1");
    let lasting = stack(once());
    assert_eq!(attempt(&lasting, plain()).await, "200");
    for _ in 0..100 {
        let framed = with(&[("x-forwarded-for", "203.0.113.8")]);
        assert_eq!(attempt(&lasting, framed).await, "429 rate_limited");
    }
    board.row(
        "quota-used-up-in-a-victims-name",
        attempt(&lasting, victim).await,
    );
}

async fn in_disguise(board: &mut Board) {
    let limited = stack(once());
    assert_eq!(attempt(&limited, at_home(0)).await, "200", "control");
    let mut admitted = 0;
    for at in 1..=1_000 {
        admitted += u32::from(attempt(&limited, at_home(at)).await == "200");
    }
    let outcome = format!("{admitted} of 1000 admitted");
    board.row("thousand-disguises", outcome);
}

/// A request from one IPv6 network that claims another address.
fn at_home(at: u32) -> Request<Body> {
    let made_up = format!("198.51.{}.{}", at / 256, at % 256);
    let standard = format!("for={made_up}");
    let disguised = with(&[
        ("x-forwarded-for", &made_up),
        ("x-real-ip", &made_up),
        ("true-client-ip", &made_up),
        ("forwarded", &standard),
    ]);
    from(disguised, &format!("[2001:db8:1:2:{at:x}::{at:x}]:9"))
}

async fn behind_proxies(board: &mut Board) {
    let trusting = || stack(once().trusted_proxies(["10.0.0.0/8"]).unwrap());
    let lines = |lines: &[&str]| {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("x-forwarded-for", *line))
            .collect();
        from(with(&lines), "10.0.0.1:1")
    };
    let control = second(
        &trusting(),
        lines(&["198.51.100.1"]),
        lines(&["198.51.100.2"]),
    )
    .await;
    assert_eq!(control, "200");
    for (id, disguise) in [
        (
            "forwarded-for-grown-on-the-left",
            &["6.6.6.6, 198.51.100.1"][..],
        ),
        (
            "forwarded-for-on-a-line-before",
            &["6.6.6.6", "198.51.100.1"],
        ),
        (
            "forwarded-for-with-garbage-on-the-left",
            &["\u{ff}, 198.51.100.1"],
        ),
        ("forwarded-for-with-a-port", &["198.51.100.1:4711"]),
    ] {
        let first = lines(&["198.51.100.1"]);
        board.row(id, second(&trusting(), first, lines(disguise)).await);
    }
}

/// The answer to the second of two requests that came through a proxy.
async fn through_a_proxy(first: &[(&str, &str)], then: &[(&str, &str)]) -> String {
    let trusting = stack(once().trusted_proxies(["10.0.0.0/8"]).unwrap());
    let request = |lines| from(with(lines), "10.0.0.1:1");
    second(&trusting, request(first), request(then)).await
}

/// Behind a proxy, in the header that the proxy does not write; on made-up routes; concurrently.
async fn elsewhere(board: &mut Board) {
    let common = |line| ("x-forwarded-for", line);
    let standard = |line| ("forwarded", line);
    let one = standard("for=198.51.100.1");
    let again = through_a_proxy(&[one], &[one]).await;
    assert_eq!(again, "429 rate_limited", "control");
    let another = through_a_proxy(&[one], &[standard("for=198.51.100.2")]).await;
    assert_eq!(another, "200", "control");

    for (id, first, then) in [
        (
            "forwarded-beside-forwarded-for",
            [common("198.51.100.1"), standard("for=6.6.6.6")],
            [common("198.51.100.1"), standard("for=6.6.6.7")],
        ),
        (
            "forwarded-for-beside-forwarded",
            [common("6.6.6.6"), one],
            [common("6.6.6.7"), one],
        ),
    ] {
        board.row(id, through_a_proxy(&first, &then).await);
    }
    let first = standard(r#"for=198.51.100.1;host="a,for=6.6.6.6;x=""#);
    let then = standard(r#"for=198.51.100.1;host="a,for=6.6.6.7;x=""#);
    let outcome = through_a_proxy(&[first], &[then]).await;
    board.row("forwarded-with-a-quoted-comma", outcome);

    let per_route = stack(once().per_route());
    let at = |path: &'static str| {
        let mut request = request(None);
        *request.uri_mut() = Uri::from_static(path);
        request
    };
    let outcome = second(&per_route, at("/made-up/1"), at("/made-up/2"));
    board.row("route-made-up", outcome.await);

    let one_at_once = RateLimitLayer::new(Quota::UNLIMITED).max_in_flight(NonZeroU32::MIN);
    let one_at_once = stack(one_at_once);
    let unread = one_at_once.clone().oneshot(request(None)).await.unwrap();
    assert_eq!(unread.status(), 200, "control");
    board.row(
        "bodies-read-without-end",
        attempt(&one_at_once, request(None)).await,
    );
    drop(unread);
    assert_eq!(attempt(&one_at_once, request(None)).await, "200", "control");
}

async fn by_subject(board: &mut Board) {
    let site = Site::open().await;
    let limited = || stack((site.auth.clone().optional(), once().by_subject()));
    let token = |subject: &str| site.issuer.token(subject);
    let fresh = limited();
    assert_eq!(
        present_once(&fresh, &token("alice").sign()).await,
        "200",
        "control"
    );
    assert_eq!(
        present_once(&fresh, &token("bob").sign()).await,
        "200",
        "control"
    );
    board.row(
        "new-token-of-one-subject",
        present_once(&fresh, &token("alice").sign()).await,
    );

    let forged = limited();
    for _ in 0..20 {
        let stolen = token("alice").signed_by_stranger().sign();
        assert_eq!(present_once(&forged, &stolen).await, "401 bad_signature");
    }
    let victim = present_once(&forged, &token("alice").sign()).await;
    board.row("forged-tokens-in-a-victims-name", victim);

    let other = TestIssuer::start_with(portcullis::Algorithm::ES256, site.clock.clone());
    let other = other.await.unwrap().with_audience(super::site::AUDIENCE);
    let keys = super::site::cache(&other, &site.clock);
    let both = [
        policy(&site.issuer).with_keys(site.keys.clone()),
        policy(&other).with_keys(keys),
    ];
    let both = portcullis::JwtAuthLayer::new(both).unwrap();
    let both = stack((both.clock(site.clock.clone()), once().by_subject()));
    let namesake = other.token("alice").sign();
    assert_eq!(present_once(&both, &namesake).await, "200");
    assert_eq!(present_once(&both, &namesake).await, "429 rate_limited");
    let alice = present_once(&both, &token("alice").sign()).await;
    board.row("namesake-at-another-issuer", alice);

    let failures = RateLimitLayer::new(Quota::per_hour(3)).failures_only();
    let failures = failures.clock(ManualClock::at(NOW));
    let layers = (
        failures,
        auth(policy(&site.issuer), &site.keys, &site.clock),
    );
    let guessed = stack(layers);
    for _ in 0..3 {
        let guess = token("alice").signed_by_stranger().sign();
        assert_eq!(present_once(&guessed, &guess).await, "401 bad_signature");
    }
    let guess = token("alice").signed_by_stranger().sign();
    board.row(
        "guessing-tokens-without-end",
        present_once(&guessed, &guess).await,
    );
}

async fn present_once(stack: &Stack, token: &str) -> String {
    attempt(stack, request(Some(token))).await
}

async fn over_time(board: &mut Board) {
    let clock = ManualClock::at(NOW);
    let limit = RateLimitLayer::new(Quota::per_minute(10)).clock(clock.clone());
    let edge = stack(limit);
    clock.advance(Duration::from_secs(59));
    for _ in 0..10 {
        assert_eq!(attempt(&edge, request(None)).await, "200", "control");
    }
    clock.advance(Duration::from_secs(2));
    board.row(
        "twice-the-quota-over-a-window-s-edge",
        attempt(&edge, request(None)).await,
    );

    let clock = ManualClock::at(NOW);
    let corrected = stack(once().clock(clock.clone()));
    assert_eq!(attempt(&corrected, request(None)).await, "200", "control");
    clock.set_unix_time(Duration::from_secs(NOW + 86_400));
    board.row(
        "wall-clock-set-forward",
        attempt(&corrected, request(None)).await,
    );

    let quick = Quota::per(1, Duration::from_millis(500));
    let quick = stack(RateLimitLayer::new(quick).clock(ManualClock::at(NOW)));
    assert_eq!(attempt(&quick, request(None)).await, "200", "control");
    let answer = send(&quick, request(None)).await;
    let after = answer.headers["retry-after"].to_str().unwrap();
    let outcome = format!("{}, Retry-After: {after}", answer.outcome());
    board.row("told-to-come-back-at-once", outcome);
}

async fn memory(board: &mut Board) {
    let small = RateLimitLayer::new(Quota::per_hour(10)).clock(ManualClock::at(NOW));
    let small = stack(small.max_keys(NonZeroUsize::new(64).unwrap()));
    for _ in 0..10 {
        assert_eq!(attempt(&small, request(None)).await, "200", "control");
    }
    for at in 0..2_000_u32 {
        let [_, a, b, c] = at.to_be_bytes();
        let stranger = from(request(None), &format!("198.{a}.{b}.{c}:1"));
        let outcome = attempt(&small, stranger).await;
        // 64 callers have 640 permits together. More callers do not get more permits.
        assert!(outcome == "200" || (at > 500 && outcome == "429 rate_limited"));
    }
    board.row(
        "crowd-that-pushes-an-offender-out",
        attempt(&small, request(None)).await,
    );

    let small = stack(once().max_keys(NonZeroUsize::new(64).unwrap()));
    let offender = |at: u32| {
        let [_, a, b, c] = at.to_be_bytes();
        from(request(None), &format!("198.{a}.{b}.{c}:1"))
    };
    for at in 0..1_000 {
        attempt(&small, offender(at)).await;
    }
    let mut admitted = 0;
    for at in 0..1_000 {
        admitted += u32::from(attempt(&small, offender(at)).await == "200");
    }
    let outcome = format!("{admitted} of 1000 admitted");
    board.row("offenders-that-were-pushed-out", outcome);
}
