//! Tokens, their parts, secrets and private keys must not occur in logs, responses or `Debug`
//! output.
//!
//! The attacks record the credentials that they send. These tests run all attacks and record every
//! event of every crate, at every level.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::{self, Write};
use std::sync::Once;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Request;
use portcullis::revoke::Revocation;
use portcullis::{
    Algorithm, Caller, IdentityHeadersLayer, Issuer, JwksCache, JwksCacheLayer, JwksSource,
    JwtAuthLayer, KeyRing, KeySet, Quota, RateLimitLayer, RequireRoleLayer, Revocations,
    TokenPropagationLayer,
};
use serde_json::json;
use tower::{Layer, service_fn};

use super::site::{AUDIENCE, NOW, Site, request};
use crate::forge::hs256;

thread_local! {
    static LEDGER: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Shorter words also occur in texts that are not secret.
const LONG: usize = 32;

/// Writes to the log of this thread.
struct Log;

/// Records the credentials of a request before it is sent.
pub(crate) fn note(request: &Request<Body>) {
    let values = request.headers().values().map(|value| value.as_bytes());
    let values = values.chain(request.uri().query().map(str::as_bytes));
    for value in values {
        let found = words(&String::from_utf8_lossy(value));
        LEDGER.with_borrow_mut(|ledger| ledger.extend(found));
    }
}

/// Fails if a text contains a recorded credential or a part of one.
#[track_caller]
pub(crate) fn assert_no_secrets(text: &str) {
    let found = LEDGER.with_borrow(|ledger| leak(text, ledger));
    assert_eq!(found, None);
}

/// The parts that consist of at least `LONG` characters of base64url.
fn words(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let words = text
        .split(|c| !is_word(c))
        .filter(|word| word.len() >= LONG);
    words.map(str::to_owned).collect()
}

fn leak(text: &str, secrets: &BTreeSet<String>) -> Option<String> {
    let words = words(text);
    let is_in = |secret: &&String| words.iter().any(|word| word.contains(&**secret));
    // A header or a payload, possibly truncated: `{"` in base64url.
    let is_json = |word: &&String| word.contains("eyJ");
    secrets
        .iter()
        .find(is_in)
        .or(words.iter().find(is_json))
        .cloned()
}

/// The bytes in all usual text forms.
fn spellings(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{secret:?}");
    vec![
        String::from_utf8_lossy(secret).into_owned(),
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        hex.to_ascii_uppercase(),
        hex,
        list.trim_matches(['[', ']']).to_owned(),
    ]
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Crates that do not use `tracing`.
impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let (target, text) = (record.target(), record.args());
        writeln!(Self, "{target}: {text}").unwrap();
    }

    fn flush(&self) {}
}

/// Records the events of this thread until the guard is dropped.
fn listen() -> tracing::subscriber::DefaultGuard {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Log).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(|| Log)
        .finish();
    tracing::subscriber::set_default(subscriber)
}

fn heard() -> String {
    String::from_utf8(LOG.take()).unwrap()
}

#[tokio::test]
async fn attacks_leave_no_secret_in_logs() {
    let guard = listen();
    super::execute_everything().await;
    drop(guard);
    let log = heard();
    for target in ["portcullis", "hyper_util", "reqwest"] {
        assert!(log.contains(target), "{target} was not listened to");
    }
    let noted = LEDGER.with_borrow(BTreeSet::len);
    assert!(noted > 500, "only {noted} secrets");
    println!("{noted} secrets, {} bytes of log", log.len());
    assert_no_secrets(&log);
}

#[tokio::test]
async fn the_test_finds_a_leak() {
    let site = Site::open().await;
    let token = site.issuer.token("alice").sign();
    note(&request(Some(&token)));
    let parts: Vec<&str> = token.split('.').collect();

    for part in &parts {
        let guard = listen();
        heard(); // of the site
        tracing::trace!(target: "somebody", "sent {:?}", Some(part));
        log::trace!("sent x{part}");
        drop(guard);
        let log = heard();
        assert_eq!(log.lines().count(), 2, "{log}");
        for line in log.lines() {
            let found = LEDGER.with_borrow(|ledger| leak(line, ledger));
            assert!(found.is_some(), "{line}");
        }
    }
    let nobodys = &site.forged("", "")[..60];
    assert!(leak(nobodys, &BTreeSet::new()).is_some());
    assert_no_secrets("sent alice");

    #[derive(Debug)]
    #[allow(dead_code)]
    struct Careless(Vec<u8>, String);
    let secret = b"a secret that is thirty-two bytes";
    let shown = format!("{:?}", Careless(secret.to_vec(), String::new()));
    assert!(
        spellings(secret)
            .iter()
            .any(|spelling| shown.contains(spelling))
    );
}

#[tokio::test]
async fn no_debug_output_shows_a_secret() {
    const SECRET: &[u8] = b"portcullis-keeps-this-one-to-itself";
    const LOGIN: &str = "https://login.example.com/";
    let site = Site::open().await;
    let with_secret = || {
        Issuer::new(LOGIN)
            .with_secret(SECRET)
            .unwrap()
            .audience(AUDIENCE)
    };
    let claims = json!({"iss": LOGIN, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 300});
    let token = hs256(r#"{"alg":"HS256"}"#, &claims.to_string(), SECRET);
    let auth = JwtAuthLayer::new([with_secret()])
        .unwrap()
        .clock(site.clock.clone());
    let identity = auth.verify_now(&token).unwrap();
    let refused = auth.verify_now(&token[..token.len() - 2]).unwrap_err();
    let revocations = Revocations::new();
    let revocation = Revocation::key(
        LOGIN,
        "k1",
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOW),
    );
    revocations.revoke(revocation.clone()).unwrap();
    let keys = KeySet::from_json(site.issuer.jwks().as_bytes()).unwrap();
    let ring = KeyRing::generate(Algorithm::RS256).unwrap();
    let inner = || {
        service_fn(|_: Request<Body>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty()))
        })
    };
    let service = auth.layer(inner());
    let debug: [&dyn Debug; 20] = [
        &with_secret(),
        &Issuer::new(LOGIN).with_secret(&SECRET[..31]).unwrap_err(),
        &Issuer::new(LOGIN)
            .with_public_key_pem(std::str::from_utf8(SECRET).unwrap())
            .unwrap_err(),
        &auth,
        &service,
        &identity,
        &Caller::Verified(identity.clone()),
        &identity.roles(),
        &refused,
        &revocations,
        &revocation,
        &keys,
        &site.keys,
        &JwksCacheLayer::new(site.keys.clone()),
        &JwksSource::keys(LOGIN, keys.clone()),
        &JwksCache::new([JwksSource::uri(
            LOGIN,
            "https://id.example.com/keys?key=portcullis-keeps-this-one-to-itself",
        )
        .unwrap()])
        .unwrap(),
        &ring,
        &site.issuer,
        &site.issuer.token("alice"),
        &(
            RateLimitLayer::new(Quota::per_second(1)).by_subject(),
            RequireRoleLayer::any(["admin"]),
            TokenPropagationLayer::forward_to(["https://orders.example.com"]).unwrap(),
            IdentityHeadersLayer::new(),
        ),
    ];
    // A private key is longer than its name, which is a hash.
    let named: BTreeSet<String> = [ring.signing_kid(), site.issuer.key_ring().signing_kid()].into();
    let token = words(&token);
    for value in debug {
        for shown in [format!("{value:?}"), format!("{value:#?}")] {
            for spelling in spellings(SECRET) {
                assert!(!shown.contains(&spelling), "{shown}");
            }
            assert_eq!(leak(&shown, &token), None, "{shown}");
            let others = words(&shown)
                .into_iter()
                .filter(|word| !named.contains(word));
            assert_eq!(others.collect::<Vec<_>>(), Vec::<String>::new(), "{shown}");
        }
    }
}
