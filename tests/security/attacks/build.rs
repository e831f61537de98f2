//! Configuration mistakes: rejected when a layer is built, otherwise at the first request.

use std::time::Duration;

use http::StatusCode;
use portcullis::propagate::IdentityField;
use portcullis::{
    Algorithm, ConfigError, IdentityHeadersLayer, Issuer, JwksCache, JwksSource, JwtAuthLayer,
    ManualClock, Mode, PeerAddr, Quota, RateLimitLayer, RequireRoleLayer, TokenPropagationLayer,
};

use super::board::Board;
use super::site::{AUDIENCE, Site, attempt, present, request, stack};
use crate::forge::{EdForge, Forge, pem};

const ISS: &str = "https://id.example.com/";

pub(crate) async fn mount(board: &mut Board) {
    policies(board);
    keys(board);
    tenants(board);
    urls(board);
    names(board);
    origins(board);
    stacks(board).await;
}

/// The name of the error, such as `ConfigError::Url`, or `built`.
fn refusal<T>(built: Result<T, ConfigError>) -> String {
    match built {
        Ok(_) => "built".to_owned(),
        Err(error) => {
            let name = format!("{error:?}");
            let end = name.find([' ', '(']).unwrap_or(name.len());
            format!("ConfigError::{}", &name[..end])
        }
    }
}

fn policies(board: &mut Board) {
    let good = || Issuer::new(ISS).audience(AUDIENCE);
    let secret = || {
        Issuer::new(ISS)
            .with_secret(&[7; 32])
            .unwrap()
            .audience(AUDIENCE)
    };
    assert_eq!(refusal(JwtAuthLayer::new([good()])), "built", "control");
    assert_eq!(refusal(JwtAuthLayer::new([secret()])), "built", "control");
    for (id, issuers) in [
        ("no-issuer", vec![]),
        ("no-audience", vec![Issuer::new(ISS)]),
        (
            "one-issuer-with-two-policies",
            vec![good(), good().leeway(Duration::ZERO)],
        ),
        (
            "public-keys-and-a-shared-secret",
            vec![good().algorithms([Algorithm::RS256, Algorithm::HS256])],
        ),
        (
            "an-hour-of-leeway",
            vec![good().leeway(Duration::from_secs(3600))],
        ),
        (
            "roles-read-from-the-audience",
            vec![good().roles_claim("aud")],
        ),
    ] {
        board.row(id, refusal(JwtAuthLayer::new(issuers)));
    }
    let elsewhere = || JwksCache::from_issuer("https://id.example.com").unwrap();
    let mixed = JwtAuthLayer::new([good().with_keys(elsewhere())]);
    board.row("keys-of-the-issuer-without-its-slash", refusal(mixed));
}

fn keys(board: &mut Board) {
    let good = Forge::new().pem();
    let read = |pem: &str| refusal(Issuer::new(ISS).with_public_key_pem(pem));
    assert_eq!(read(&good), "built", "control");
    let private = good.replace("PUBLIC", "PRIVATE");
    board.row("private-key-for-a-public-one", read(&private));
    // SubjectPublicKeyInfo of an Ed25519 key (RFC 8410 section 4).
    let head = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    let ed25519 = |key: &[u8]| pem("PUBLIC KEY", &[&head, key].concat());
    assert_eq!(read(&ed25519(&EdForge::new().point())), "built", "control");
    let mut neutral = [0; 32];
    neutral[0] = 1;
    board.row(
        "key-file-that-everybody-can-sign-for",
        read(&ed25519(&neutral)),
    );
    board.row(
        "secret-of-31-bytes",
        refusal(Issuer::new(ISS).with_secret(&[7; 31])),
    );

    let source = || JwksSource::discover(ISS).unwrap();
    let cache = |sources: Vec<JwksSource>| refusal(JwksCache::new(sources));
    assert_eq!(cache(vec![source()]), "built", "control");
    let restless = source().min_ttl(Duration::ZERO);
    board.row("fetch-for-every-token", cache(vec![restless]));
}

fn tenants(board: &mut Board) {
    const PATTERN: &str = "https://id.example.com/{tenant}";
    let trust = |issuer: Issuer| refusal(JwtAuthLayer::new([issuer.audience(AUDIENCE)]));
    let pattern = Issuer::tenants(PATTERN).unwrap();
    assert_eq!(trust(pattern), "built", "control");
    let host = Issuer::tenants("https://{tenant}.example.com/");
    board.row("any-host-for-a-tenant", refusal(host));
    board.row("pattern-in-place-of-an-issuer", trust(Issuer::new(PATTERN)));
}

fn urls(board: &mut Board) {
    let from = |url: &str| refusal(JwksSource::uri(ISS, url));
    assert_eq!(from("https://id.example.com/keys"), "built", "control");
    for (id, url) in [
        ("keys-over-plain-http", "http://id.example.com/keys"),
        (
            "keys-from-a-name-that-only-begins-with-localhost",
            "http://localhost.evil.example/keys",
        ),
    ] {
        board.row(id, from(url));
    }
    let error = JwksSource::uri(ISS, "https://me:hunter2@id.example.com/").unwrap_err();
    let shown = format!("{error} {error:?}").contains("hunter2");
    board.row(
        "password-in-the-error",
        if shown { "shown" } else { "redacted" },
    );
}

fn names(board: &mut Board) {
    let auth = || JwtAuthLayer::new([Issuer::new(ISS).audience(AUDIENCE)]).unwrap();
    let quota = || RateLimitLayer::new(Quota::per_second(1));
    let headers =
        |name: &str| refusal(IdentityHeadersLayer::new().header(name, IdentityField::Client));
    assert_eq!(headers("x-client"), "built", "control");
    for (id, outcome) in [
        (
            "realm-that-ends-its-quotes",
            refusal(auth().realm("a\", error=\"none")),
        ),
        (
            "everybody-is-a-proxy",
            refusal(quota().trusted_proxies(["0.0.0.0/0"])),
        ),
        (
            "identity-in-the-authorization-header",
            headers("authorization"),
        ),
        ("identity-in-a-second-spelling", headers("x_user_id")),
    ] {
        board.row(id, outcome);
    }
}

fn origins(board: &mut Board) {
    let to = |origin: &str| refusal(TokenPropagationLayer::forward_to([origin]));
    assert_eq!(to("https://orders.internal"), "built", "control");
    for (id, origin) in [
        ("tokens-in-clear", "http://orders.internal"),
        ("tokens-to-a-wildcard", "https://*.internal"),
        (
            "tokens-to-what-follows-an-at-sign",
            "https://orders.internal@evil.example",
        ),
    ] {
        board.row(id, to(origin));
    }
}

async fn stacks(board: &mut Board) {
    let site = Site::open().await;
    let token = site.issuer.token("alice").sign();
    let role = stack(RequireRoleLayer::any(["admin"]));
    board.row(
        "rule-without-authentication",
        attempt(&role, request(None)).await,
    );
    let role = stack(RequireRoleLayer::any(["admin"]).mode(Mode::Report));
    board.row(
        "rule-on-trial-without-authentication",
        attempt(&role, request(None)).await,
    );
    let quota = || RateLimitLayer::new(Quota::per_second(100));
    let mut nowhere = request(None);
    nowhere.extensions_mut().remove::<PeerAddr>();
    board.row(
        "limit-without-an-address",
        attempt(&stack(quota()), nowhere).await,
    );

    let keyless = Issuer::new(site.issuer.issuer()).audience(AUDIENCE);
    let keyless = stack(JwtAuthLayer::new([keyless]).unwrap());
    board.row(
        "authentication-without-keys",
        present(&keyless, &token).await,
    );
    let unset = site.auth.clone().clock(ManualClock::at(0));
    let old = site.issuer.token("alice").expired().without("iat").sign();
    board.row(
        "clock-that-was-never-set",
        present(&stack(unset), &old).await,
    );

    let late = site.auth.clone();
    site.issuer.fail_with(StatusCode::BAD_GATEWAY);
    let down = JwksCache::from_issuer(site.issuer.issuer()).unwrap();
    let policy = Issuer::new(site.issuer.issuer()).audience(AUDIENCE);
    let down = JwtAuthLayer::new([policy.with_keys(down)]).unwrap();
    assert_eq!(present(&stack(late), &token).await, "200", "control");
    board.row(
        "started-while-the-issuer-is-down",
        present(&stack(down), &token).await,
    );
}
