//! Which keys a restart restores, and which it must not restore.

use std::time::Duration;

use serde_json::{Value, json};

use super::RestoreError;
use crate::algorithm::Algorithm;
use crate::clock::ManualClock;
use crate::jwks::testing::{Answer, Issuer, Signer, keys};
use crate::jwks::{IssuerState, JwksCache, JwksSource, KeySet, Lookup, LookupMode, Waiter};

const ISS: &str = "https://id.example.com/";
const TENANTS: &str = "https://login.example.com/{tenant}";
const NOW: u64 = 1_800_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// A process: its clock, its cache and its issuer.
struct Process {
    issuer: Issuer,
    hands: ManualClock,
    cache: JwksCache,
}

impl Process {
    fn start(at: u64, answer: Answer) -> Self {
        let (issuer, hands) = (Issuer::new(answer), ManualClock::at(at));
        let sources = [ISS, TENANTS].map(|name| {
            let source = JwksSource::service(name, issuer.clone());
            source.clock(hands.clone())
        });
        Self {
            cache: JwksCache::new(sources).unwrap(),
            issuer,
            hands,
        }
    }

    /// The document saved by a process with these keys, `age` before [`NOW`].
    async fn saved<const N: usize>(kids: [&str; N], age: Duration) -> Vec<u8> {
        let before = Self::start(NOW - age.as_secs(), Answer::Keys(keys(kids)));
        before.cache.warm().await.unwrap();
        before.cache.save()
    }

    fn find(&self, issuer: &str, kid: &str) -> Lookup<Waiter> {
        self.cache
            .find(issuer, Some(kid), Algorithm::ES256, LookupMode::MayWait)
    }

    fn has(&self, kid: &str) -> bool {
        matches!(self.find(ISS, kid), Lookup::Key(_))
    }

    fn state(&self) -> IssuerState {
        self.cache.status()[0].state
    }
}

async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn saved_keys_are_used_while_the_issuer_is_down() {
    let saved = Process::saved(["a", "b"], HOUR).await;
    let process = Process::start(NOW, Answer::Status(503));
    assert_eq!(process.cache.restore(&saved, 2 * HOUR), Ok(1));
    assert_eq!(
        (process.state(), process.cache.status()[0].age),
        (IssuerState::Stale, Some(HOUR))
    );
    assert!(process.has("a") && process.has("b"), "at once");
    settle().await;
    assert_eq!(process.issuer.fetches(), 1, "and a fetch has been started");

    process.issuer.publishes(["b"]);
    process.hands.advance(Duration::from_secs(2));
    assert!(process.has("a"), "until a fetch succeeds");
    settle().await;
    assert!(!process.has("a") && process.has("b"));
    assert_eq!(
        (process.state(), process.cache.status()[0].age),
        (IssuerState::Fresh, Some(Duration::ZERO))
    );
}

#[tokio::test]
async fn saved_keys_are_valid_until_their_max_age() {
    let saved = Process::saved(["a"], HOUR).await;
    let process = Process::start(NOW, Answer::Status(503));
    assert_eq!(process.cache.restore(&saved, 2 * HOUR), Ok(1));
    process.hands.advance(HOUR - Duration::from_secs(1));
    assert!(process.has("a"));
    let again = process.cache.save();
    process.hands.advance(Duration::from_secs(1));
    assert!(!process.has("a"));
    assert_eq!(process.state(), IssuerState::Expired);

    // Saving them again did not reset their age.
    let next = Process::start(NOW + 3600, Answer::Status(503));
    assert_eq!(next.cache.restore(&again, 2 * HOUR), Ok(0));
    let expired: Value = serde_json::from_slice(&process.cache.save()).unwrap();
    assert_eq!(expired["sets"], json!([]));
}

#[tokio::test]
async fn old_and_future_keys_are_skipped() {
    let second = Duration::from_secs(1);
    for (age, max_age, expected) in [
        (HOUR, HOUR + second, 1),
        (HOUR, HOUR, 0),
        (WEEK - second, Duration::MAX, 1),
        (WEEK, Duration::MAX, 0),
        (Duration::ZERO, Duration::ZERO, 0),
    ] {
        let saved = Process::saved(["a"], age).await;
        let process = Process::start(NOW, Answer::Status(503));
        assert_eq!(
            process.cache.restore(&saved, max_age),
            Ok(expected),
            "{age:?} {max_age:?}"
        );
        assert_eq!(process.has("a"), expected == 1);
    }
    let saved = Process::saved(["a"], Duration::ZERO).await;
    for (now, expected) in [(NOW, 1), (NOW - 1, 0), (0, 0)] {
        let process = Process::start(now, Answer::Status(503));
        assert_eq!(process.cache.restore(&saved, HOUR), Ok(expected), "{now}");
    }
}

#[tokio::test]
async fn invalid_documents_are_not_restored() {
    let saved = Process::saved(["a"], HOUR).await;
    let document: Value = serde_json::from_slice(&saved).unwrap();
    let with = |pointer: &str, value: Value| {
        let mut document = document.clone();
        *document.pointer_mut(pointer).unwrap() = value;
        document.to_string()
    };
    let process = Process::start(NOW, Answer::Status(503));
    let restore = |text: &str| process.cache.restore(text.as_bytes(), 2 * HOUR);
    for text in [
        String::new(),
        "{}".to_owned(),
        r#"{"keys":[]}"#.to_owned(),
        document.to_string().replace("sets", "set"),
        document.to_string() + "x",
        with("/version", json!(2)),
        with("/sets/0/fetched_at", json!(-1)),
        with("/sets/0/issuer", json!(7)),
    ] {
        assert_eq!(restore(&text), Err(RestoreError), "{text}");
    }
    let secret = json!({"keys": [{"kty": "oct", "kid": "a", "k": "c2VjcmV0"}]});
    let mut private = Signer::fresh().jwk("a");
    private["d"] = json!("c2VjcmV0");
    for text in [
        with("/sets/0/issuer", json!("https://id.example.com")),
        with("/sets/0/issuer", json!(TENANTS)),
        with("/sets/0/issuer", json!("https://login.example.com/../evil")),
        with("/sets/0/place", json!("https://id.example.com/keys")),
        with("/sets/0/jwks", json!({"keys": []})),
        with("/sets/0/jwks", json!([])),
        with("/sets/0/jwks", secret),
        with("/sets/0/jwks", json!({"keys": [private]})),
    ] {
        assert_eq!(restore(&text), Ok(0), "{text}");
    }
    assert_eq!(process.state(), IssuerState::Cold);
    assert_eq!(restore(&document.to_string()), Ok(1), "control");
}

#[tokio::test]
async fn existing_keys_are_not_replaced() {
    let saved = Process::saved(["a"], HOUR).await;
    let process = Process::start(NOW, Answer::Keys(keys(["b"])));
    process.cache.warm().await.unwrap();
    assert_eq!(process.cache.restore(&saved, 2 * HOUR), Ok(0));
    assert!(process.has("b") && !process.has("a"));
    let given = JwksCache::new([JwksSource::keys(ISS, keys(["b"]))]).unwrap();
    assert_eq!(given.restore(&saved, WEEK), Ok(0));
}

#[tokio::test]
async fn purged_key_is_neither_saved_nor_restored() {
    let pair = ["a", "b"].map(|kid| Signer::fresh().jwk(kid));
    let jwks = json!({ "keys": pair }).to_string();
    let published = KeySet::from_json(jwks.as_bytes()).unwrap();
    let before = Process::start(NOW - 60, Answer::Keys(published));
    before.cache.warm().await.unwrap();
    let saved = before.cache.save();
    let process = Process::start(NOW, Answer::Status(503));
    process.cache.purge(ISS, "a");
    assert_eq!(process.cache.restore(&saved, 2 * HOUR), Ok(1));
    assert!(!process.has("a") && process.has("b"));
    process.cache.purge(ISS, "b");
    let text = String::from_utf8(process.cache.save()).unwrap();
    assert!(!text.contains("kid"), "{text}");
}

#[tokio::test]
async fn verified_tenants_are_restored() {
    let acme = TENANTS.replace("{tenant}", "acme");
    let before = Process::start(NOW - 60, Answer::Keys(keys(["a"])));
    for tenant in ["acme", "globex"] {
        let issuer = TENANTS.replace("{tenant}", tenant);
        let Lookup::Wait(waiter) = before.find(&issuer, "a") else {
            panic!("{tenant}")
        };
        waiter.await;
    }
    before.cache.mark_verified(&acme);
    let saved = before.cache.save();

    let process = Process::start(NOW, Answer::Status(503));
    assert_eq!(
        process.cache.restore(&saved, HOUR),
        Ok(1),
        "of whom a token was verified"
    );
    assert!(matches!(process.find(&acme, "a"), Lookup::Key(_)));
    let tenants = &process.cache.status()[1].tenants;
    assert_eq!((tenants.len(), &tenants[0].issuer), (1, &acme));
}

#[tokio::test]
async fn pem_keys_are_not_saved() {
    let keys = KeySet::from_pem(&Signer::of(Algorithm::ES256).pem()).unwrap();
    let process = Process::start(NOW, Answer::Keys(keys));
    process.cache.warm().await.unwrap();
    assert!(process.has("any"));
    let saved: Value = serde_json::from_slice(&process.cache.save()).unwrap();
    assert_eq!(saved["sets"], json!([]));
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn saved_keys_are_bound_to_their_url() {
    let jwks = crate::jwks::testing::json(["a"]);
    let app = axum::Router::new().fallback(move || std::future::ready(jwks.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let hands = ManualClock::at(NOW);
    let cache = |source: JwksSource| {
        let source = source.clock(hands.clone());
        JwksCache::new([source]).unwrap()
    };
    let uri = |path: &str| cache(JwksSource::uri(ISS, format!("{origin}{path}")).unwrap());
    let before = uri("/keys?key=hunter2");
    before.warm().await.unwrap();
    let saved = before.save();
    assert!(!String::from_utf8_lossy(&saved).contains("hunter2"));
    assert_eq!(uri("/keys?key=hunter3").restore(&saved, HOUR), Ok(1));
    assert_eq!(uri("/other").restore(&saved, HOUR), Ok(0));
    let discovered = cache(JwksSource::discover(ISS).unwrap());
    assert_eq!(discovered.restore(&saved, HOUR), Ok(0));
    let other = cache(JwksSource::service(ISS, Issuer::new(Answer::Status(503))));
    assert_eq!(other.restore(&saved, HOUR), Ok(0));

    // Keys of a service have no URL. Discovered keys have the URL of the metadata.
    let service = || {
        cache(JwksSource::service(
            ISS,
            Issuer::new(Answer::Keys(keys(["a"]))),
        ))
    };
    let before = service();
    before.warm().await.unwrap();
    let saved = before.save();
    assert_eq!(service().restore(&saved, HOUR), Ok(1));
    let discovered = cache(JwksSource::discover(ISS).unwrap());
    assert_eq!(discovered.restore(&saved, HOUR), Ok(0));
}
