//! The cache over time, against a scripted issuer.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tower::service_fn;

use super::testing::{Answer, Issuer, Signer, keys};
use super::*;
use crate::algorithm::Algorithm;
use crate::clock::ManualClock;
use crate::error::ConfigError;

const ISS: &str = "https://id.example.com/";

/// Whether exactly this key, not another with its kid, would verify a token now.
fn is_still_valid(keys: &Arc<IssuerKeys>, key: &Arc<Key>) -> bool {
    let found = keys.find(key.kid(), Algorithm::ES256, LookupMode::Final);
    matches!(found, Lookup::Key(found) if Arc::ptr_eq(&found, key))
}

struct Bench {
    issuer: Issuer,
    hands: ManualClock,
    cache: JwksCache,
}

impl Bench {
    fn new(answer: Answer) -> Self {
        Self::with(answer, |source| source)
    }

    fn with(answer: Answer, set: impl FnOnce(JwksSource) -> JwksSource) -> Self {
        let (issuer, hands) = (Issuer::new(answer), ManualClock::at(1_800_000_000));
        let source = JwksSource::service(ISS, issuer.clone()).clock(hands.clone());
        let cache = JwksCache::new([set(source)]).unwrap();
        Self {
            issuer,
            hands,
            cache,
        }
    }

    /// Already has these keys.
    async fn warm<const N: usize>(kids: [&str; N]) -> Self {
        let bench = Self::new(Answer::Keys(keys(kids)));
        bench.cache.warm().await.unwrap();
        bench
    }

    fn keys(&self) -> &Arc<IssuerKeys> {
        self.cache.issuer(ISS).unwrap()
    }

    fn find(&self, kid: &str) -> Lookup<Waiter> {
        self.keys()
            .find(Some(kid), Algorithm::ES256, LookupMode::MayWait)
    }

    /// Waits once if the lookup returns `Wait`, as the verifying layer does.
    async fn look(&self, kid: Option<&str>) -> Lookup<Waiter> {
        match self.keys().find(kid, Algorithm::ES256, LookupMode::MayWait) {
            Lookup::Wait(waiter) => {
                waiter.await;
                self.keys().find(kid, Algorithm::ES256, LookupMode::Final)
            }
            found => found,
        }
    }

    #[track_caller]
    fn key(&self, kid: &str) -> Arc<Key> {
        match self.find(kid) {
            Lookup::Key(key) => key,
            other => panic!("{kid}: {other:?}"),
        }
    }

    /// Advances the clock and lets background tasks end.
    async fn advance(&self, seconds: u64) {
        self.hands.advance(Duration::from_secs(seconds));
        settle().await;
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

fn published(keys: &[serde_json::Value]) -> Answer {
    let set = serde_json::json!({ "keys": keys }).to_string();
    Answer::Keys(KeySet::from_json(set.as_bytes()).unwrap())
}

macro_rules! assert_found {
    ($found:expr, $pattern:pat $(if $guard:expr)?) => {{
        let found = $found;
        assert!(matches!(&found, $pattern $(if $guard)?), "{found:?}");
    }};
}

// === construction ===

#[test]
fn construction_needs_no_runtime_and_fetches_nothing() {
    let bench = Bench::new(Answer::Keys(keys(["a"])));
    assert_eq!(bench.state(), IssuerState::Cold);
    assert_found!(bench.find("a"), Lookup::Unavailable { .. });
    assert_eq!(bench.issuer.fetches(), 0);
}

#[test]
fn unsafe_settings_are_refused() {
    #[track_caller]
    fn refused(sources: Vec<JwksSource>) -> ConfigError {
        JwksCache::new(sources).unwrap_err()
    }
    let source = |issuer: &str| JwksSource::keys(issuer, keys(["a"]));
    assert_eq!(refused(vec![]), ConfigError::MissingIssuer);
    assert_eq!(refused(vec![source("")]), ConfigError::MissingIssuer);
    let issuer = ISS.to_owned();
    assert_eq!(
        refused(vec![source(ISS), source(ISS)]),
        ConfigError::DuplicateIssuer { issuer }
    );
    let second = Duration::from_secs(1);
    let (too_short, week) = (second - Duration::from_nanos(1), 7 * 24 * 3600 * second);
    for (source, named) in [
        (source(ISS).cooldown(too_short), "cooldown"),
        (source(ISS).timeout(Duration::ZERO), "timeout"),
        (source(ISS).min_ttl(too_short), "min_ttl"),
        (
            source(ISS).min_ttl(second * 10).max_ttl(second * 9),
            "min_ttl",
        ),
        (source(ISS).max_ttl(week + second), "max_ttl"),
        (source(ISS).max_stale(week + second), "max_stale"),
        (source(ISS).max_stale(Duration::MAX), "max_stale"),
    ] {
        let ConfigError::Setting { setting, .. } = refused(vec![source]) else {
            panic!("{named}")
        };
        assert_eq!(setting, format!("jwks {named}"));
    }
    let least = source(ISS).min_ttl(second).max_ttl(second).cooldown(second);
    let most = source(ISS).max_ttl(week).max_stale(week);
    for source in [least.max_stale(Duration::ZERO), most] {
        assert!(JwksCache::new([source]).is_ok());
    }
    assert!(JwksCache::new([source("https://a/"), source("https://A/")]).is_ok());
}

#[test]
fn cache_and_waiter_are_send() {
    fn anywhere<T: Send + Sync + Clone + 'static>() {}
    fn movable<T: Send + Unpin + Future<Output = ()> + 'static>() {}
    anywhere::<JwksCache>();
    anywhere::<JwksCacheLayer>();
    movable::<Waiter>();
}

#[tokio::test]
async fn fixed_keys_are_valid_forever() {
    let hands = ManualClock::at(0);
    let source = JwksSource::keys(ISS, keys(["a"])).clock(hands.clone());
    let cache = JwksCache::new([source]).unwrap();
    cache.warm().await.unwrap();
    hands.advance(Duration::from_secs(10_000_000));
    let issuer = cache.issuer(ISS).unwrap();
    let find = |kid| issuer.find(Some(kid), Algorithm::ES256, LookupMode::MayWait);
    assert_found!(find("a"), Lookup::Key(_));
    assert_found!(find("b"), Lookup::UnknownKey);
    assert_eq!(cache.status()[0].state, IssuerState::Fixed);
    assert!(cache.purge(ISS, "a"));
    assert_found!(find("a"), Lookup::UnknownKey);
}

#[tokio::test]
async fn status_has_the_reasons_for_skipped_keys() {
    let good = Signer::fresh().jwk("a");
    let (oct, encryption) = (
        serde_json::json!({"kty": "oct", "k": ""}),
        Signer::fresh().jwk("b"),
    );
    let mut encryption = encryption;
    encryption["use"] = "enc".into();
    let bench = Bench::new(published(&[oct, good, encryption]));
    assert_eq!(bench.cache.status()[0].skipped, []);
    bench.cache.warm().await.unwrap();
    let status = &bench.cache.status()[0];
    assert_eq!(
        (status.keys, &*status.skipped),
        (1, &[Skipped::Symmetric, Skipped::Use][..])
    );
}

// === cold ===

#[tokio::test]
async fn first_requests_share_one_fetch() {
    let bench = Bench::new(Answer::Keys(keys(["a"])));
    let gate = bench.issuer.close();
    let waiters: Vec<_> = (0..100)
        .map(|_| match bench.find("a") {
            Lookup::Wait(waiter) => waiter,
            other => panic!("{other:?}"),
        })
        .collect();
    gate.notify_one();
    for waiter in waiters {
        waiter.await;
    }
    bench.key("a");
    assert_eq!(
        (bench.issuer.fetches(), bench.state()),
        (1, IssuerState::Fresh)
    );
}

#[tokio::test]
async fn disconnected_client_cancels_no_fetch() {
    let bench = Bench::new(Answer::Keys(keys(["a"])));
    let gate = bench.issuer.close();
    drop(bench.find("a"));
    settle().await;
    gate.notify_one();
    settle().await;
    bench.key("a");
    assert_eq!(bench.issuer.fetches(), 1);
}

#[tokio::test]
async fn token_without_kid_waits_for_first_keys() {
    let bench = Bench::new(Answer::Keys(keys(["a"])));
    assert_found!(bench.look(None).await, Lookup::Key(_));
}

#[tokio::test]
async fn cold_cache_recovers_by_itself() {
    let bench = Bench::new(Answer::Status(500));
    assert_found!(bench.look(Some("a")).await, Lookup::Unavailable { .. });
    assert_eq!(bench.cache.status()[0].last_error, Some("status"));
    for _ in 0..100 {
        assert_found!(bench.look(Some("a")).await, Lookup::Unavailable { .. });
    }
    assert_eq!(bench.issuer.fetches(), 1, "the backoff holds");
    bench.issuer.publishes(["a"]);
    bench.advance(2).await;
    assert_found!(bench.look(Some("a")).await, Lookup::Key(_));
    assert_eq!(bench.cache.status()[0].last_error, None);
}

#[tokio::test]
async fn attempts_are_one_to_sixty_seconds_apart() {
    let bench = Bench::new(Answer::Status(500));
    for _ in 0..600 {
        if let Lookup::Unavailable { retry_after } = bench.look(Some("a")).await {
            assert!((1..=60).contains(&retry_after.as_secs()), "{retry_after:?}");
        }
        bench.advance(1).await;
    }
    let fetches = bench.issuer.fetches();
    assert!((10..=25).contains(&fetches), "{fetches}");
}

#[tokio::test]
async fn fetch_that_panics_is_a_failure() {
    let bench = Bench::new(Answer::Panic);
    assert_found!(bench.look(Some("a")).await, Lookup::Unavailable { .. });
    assert_eq!(bench.cache.status()[0].last_error, Some("abandoned"));
    bench.issuer.publishes(["a"]);
    bench.advance(2).await;
    assert_found!(bench.look(Some("a")).await, Lookup::Key(_));
}

#[tokio::test(start_paused = true)]
async fn fetch_has_a_time_limit() {
    let service = service_fn(|_: FetchJwks| pending::<Result<KeySet, FetchError>>());
    let cache = JwksCache::new([JwksSource::service(ISS, service)]).unwrap();
    let error = cache.warm().await.unwrap_err();
    assert_eq!(
        (error.issuer.as_str(), error.source.as_str()),
        (ISS, "timed_out")
    );
}

#[tokio::test]
async fn cache_survives_the_shutdown_of_a_runtime() {
    let bench = Bench::new(Answer::Keys(keys(["a"])));
    let keys = bench.keys().clone();
    let gate = bench.issuer.close();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            assert_found!(
                keys.find(None, Algorithm::ES256, LookupMode::MayWait),
                Lookup::Wait(_)
            )
        });
    })
    .join()
    .unwrap();
    bench.advance(2).await;
    gate.notify_one();
    assert_found!(bench.look(Some("a")).await, Lookup::Key(_));
}

#[test]
fn runtime_without_time_fails_the_fetch() {
    let bench = Bench::new(Answer::Keys(keys(["a"])));
    let timeless = tokio::runtime::Builder::new_current_thread().build();
    let found = timeless.unwrap().block_on(bench.look(Some("a")));
    assert_found!(found, Lookup::Unavailable { .. });
    assert_eq!(bench.cache.status()[0].last_error, Some("abandoned"));
}

#[test]
fn waiter_polled_outside_of_a_runtime_starts_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let (bench, waiter) = runtime.block_on(async {
        let bench = Bench::warm(["a"]).await;
        let gate = bench.issuer.close();
        assert_found!(bench.find("junk"), Lookup::Wait(_));
        let Lookup::Wait(waiter) = bench.find("b") else {
            panic!()
        };
        gate.notify_one();
        settle().await;
        (bench, waiter)
    });
    // It would fetch once more for its kid.
    assert_eq!(waiter.now_or_never(), Some(()));
    runtime.block_on(async {
        bench.issuer.open();
        bench.issuer.publishes(["a", "b"]);
        assert_found!(bench.look(Some("b")).await, Lookup::Key(_));
    });
}

#[tokio::test]
async fn fetch_does_not_keep_the_cache_alive() {
    let bench = Bench::new(Answer::Keys(keys(["a"])));
    let gate = bench.issuer.close();
    assert_found!(bench.find("a"), Lookup::Wait(_));
    let weak = Arc::downgrade(bench.keys());
    drop(bench.cache);
    assert!(weak.upgrade().is_none());
    gate.notify_one();
    settle().await;
}

#[tokio::test]
async fn readiness_check_starts_the_fetches() {
    let bench = Bench::new(Answer::Status(503));
    for _ in 0..100 {
        assert!(!bench.cache.is_ready());
        settle().await;
    }
    assert_eq!(bench.issuer.fetches(), 1, "within the backoff");
    bench.issuer.publishes(["a"]);
    bench.advance(2).await;
    assert!(!bench.cache.is_ready(), "the fetch has only started");
    settle().await;
    assert!(bench.cache.is_ready());
    bench.issuer.answers(Answer::Status(503));
    bench.advance(600 + 3600).await;
    assert!(!bench.cache.is_ready(), "expired");
}

#[cfg(feature = "serde")]
#[tokio::test]
async fn status_is_serialized() {
    let bench = Bench::new(published(&[
        serde_json::json!({"kty": "oct", "k": ""}),
        Signer::fresh().jwk("a"),
    ]));
    bench.cache.warm().await.unwrap();
    bench.hands.advance(Duration::from_millis(7_900));
    let status = serde_json::to_value(bench.cache.status()).unwrap();
    let expected = serde_json::json!([{
        "issuer": ISS, "state": "fresh", "keys": 1, "skipped": ["a shared secret"], "age": 7,
        "last_error": null, "tenants": [],
    }]);
    assert_eq!(status, expected);
    assert_eq!("on_demand".parse(), Ok(IssuerState::OnDemand));
}

// === refresh ===

#[tokio::test]
async fn refresh_starts_at_three_quarters_of_the_ttl() {
    let bench = Bench::warm(["a"]).await;
    for _ in 0..400 {
        bench.key("a");
        bench.advance(1).await;
    }
    assert_eq!(bench.issuer.fetches(), 1);
    bench.advance(100).await;
    let gate = bench.issuer.close();
    bench.key("a");
    settle().await;
    assert_eq!(
        bench.issuer.fetches(),
        2,
        "a lookup starts it, and does not wait"
    );
    for _ in 0..100 {
        bench.key("a");
    }
    gate.notify_one();
    settle().await;
    assert_eq!(bench.issuer.fetches(), 2);
    assert_eq!(bench.cache.status()[0].age, Some(Duration::ZERO));
}

#[tokio::test]
async fn ttl_is_the_limited_max_age() {
    async fn check(max_age: Option<u64>, fresh_for: u64) {
        let set = keys(["a"]);
        let set = match max_age {
            Some(seconds) => set.max_age(Duration::from_secs(seconds)),
            None => set,
        };
        let bench = Bench::new(Answer::Keys(set));
        bench.cache.warm().await.unwrap();
        bench.advance(fresh_for - 1).await;
        assert_eq!(bench.state(), IssuerState::Fresh, "{max_age:?}");
        bench.advance(1).await;
        assert_eq!(bench.state(), IssuerState::Stale, "{max_age:?}");
    }
    check(None, 600).await;
    check(Some(0), 60).await;
    check(Some(61), 61).await;
    check(Some(1_000_000_000_000), 3600).await;
}

#[tokio::test]
async fn refreshes_of_many_processes_spread_out() {
    let mut early = 0;
    for _ in 0..64 {
        let bench = Bench::warm(["a"]).await;
        bench.advance(404).await;
        bench.key("a");
        settle().await;
        assert_eq!(bench.issuer.fetches(), 1, "before 67.5 %");
        bench.advance(46).await;
        bench.key("a");
        settle().await;
        early += bench.issuer.fetches() - 1;
        bench.advance(46).await;
        bench.key("a");
        settle().await;
        assert_eq!(bench.issuer.fetches(), 2, "after 82.5 %");
    }
    assert!((8..=56).contains(&early), "{early}");
}

#[tokio::test]
async fn refresh_keeps_unchanged_keys_and_removes_others() {
    let bench = Bench::warm(["a", "b"]).await;
    let (a, b) = (bench.key("a"), bench.key("b"));
    bench.issuer.publishes(["b", "c"]);
    bench.cache.warm().await.unwrap();
    assert!(Arc::ptr_eq(&b, &bench.key("b")));
    assert!(is_still_valid(bench.keys(), &b) && !is_still_valid(bench.keys(), &a));
    assert_found!(bench.look(Some("a")).await, Lookup::UnknownKey);
}

#[tokio::test]
async fn stale_keys_are_valid_for_max_stale() {
    let bench = Bench::warm(["a"]).await;
    let a = bench.key("a");
    bench.issuer.answers(Answer::Status(503));
    for _ in 0..(600 + 3600) / 10 {
        bench.key("a");
        assert!(is_still_valid(bench.keys(), &a));
        bench.advance(10).await;
    }
    assert_eq!(bench.state(), IssuerState::Expired);
    assert!(!is_still_valid(bench.keys(), &a));
    assert_found!(bench.look(Some("a")).await, Lookup::Unavailable { .. });
    bench.issuer.publishes(["a"]);
    bench.advance(61).await;
    assert_found!(bench.look(Some("a")).await, Lookup::Key(_));
}

#[tokio::test]
async fn failed_refresh_removes_nothing() {
    let bench = Bench::warm(["a"]).await;
    bench.issuer.answers(Answer::Status(200));
    assert!(bench.cache.warm().await.is_err());
    bench.key("a");
    assert_eq!(bench.state(), IssuerState::Fresh);
}

// === unknown kids ===

#[tokio::test]
async fn new_key_is_found_by_one_fetch() {
    let bench = Bench::warm(["a"]).await;
    bench.issuer.publishes(["a", "b"]);
    assert_found!(bench.look(Some("b")).await, Lookup::Key(_));
    assert_eq!(bench.issuer.fetches(), 2);
}

#[tokio::test]
async fn unknown_kids_cause_two_fetches_per_cooldown() {
    let bench = Bench::warm(["a"]).await;
    for kid in 0..1000 {
        assert_found!(
            bench.look(Some(&format!("junk-{kid}"))).await,
            Lookup::UnknownKey
        );
        bench.key("a");
    }
    assert_eq!(bench.issuer.fetches(), 1 + 2);
    bench.advance(29).await;
    assert_found!(bench.look(Some("junk")).await, Lookup::UnknownKey);
    assert_eq!(bench.issuer.fetches(), 1 + 2);
    bench.advance(1).await;
    for kid in 0..1000 {
        assert_found!(
            bench.look(Some(&format!("more-{kid}"))).await,
            Lookup::UnknownKey
        );
    }
    assert_eq!(bench.issuer.fetches(), 1 + 4);
}

#[tokio::test]
async fn one_unknown_kid_spends_one_fetch() {
    let bench = Bench::warm(["a"]).await;
    for _ in 0..100 {
        assert_found!(bench.look(Some("junk")).await, Lookup::UnknownKey);
    }
    assert_eq!(bench.issuer.fetches(), 2);
    bench.issuer.publishes(["a", "b"]);
    assert_found!(bench.look(Some("b")).await, Lookup::Key(_));
}

#[tokio::test]
async fn unknown_kid_is_found_after_a_refresh() {
    let bench = Bench::warm(["a"]).await;
    assert_found!(bench.look(Some("b")).await, Lookup::UnknownKey);
    bench.issuer.publishes(["a", "b"]);
    bench.cache.warm().await.unwrap();
    bench.key("b");
    bench.issuer.publishes(["a"]);
    bench.cache.warm().await.unwrap();
    bench.issuer.publishes(["a", "b"]);
    assert_found!(bench.look(Some("b")).await, Lookup::Key(_));
}

#[tokio::test]
async fn key_published_during_a_fetch_is_found() {
    let bench = Bench::warm(["a"]).await;
    let gate = bench.issuer.close();
    let Lookup::Wait(first) = bench.find("junk") else {
        panic!()
    };
    let Lookup::Wait(second) = bench.find("b") else {
        panic!()
    };
    let second = tokio::spawn(second);
    gate.notify_one();
    first.await;
    settle().await;
    // The fetch that it joined brought the old set, so another fetch has started.
    assert_eq!(bench.issuer.fetches(), 3);
    bench.issuer.publishes(["a", "b"]);
    gate.notify_one();
    second.await.unwrap();
    assert_found!(bench.find("b"), Lookup::Key(_));
}

#[tokio::test]
async fn joined_fetch_is_repeated_only_if_needed() {
    for answer in [Answer::Keys(keys(["a", "b"])), Answer::Status(500)] {
        let bench = Bench::warm(["a"]).await;
        let gate = bench.issuer.close();
        let Lookup::Wait(first) = bench.find("junk") else {
            panic!()
        };
        let Lookup::Wait(second) = bench.find("b") else {
            panic!()
        };
        bench.issuer.answers(answer);
        gate.notify_one();
        first.await;
        second.await;
        assert_eq!(bench.issuer.fetches(), 2);
    }
}

#[tokio::test]
async fn only_unknown_kids_cause_fetches() {
    let bench = Bench::warm(["a", "b"]).await;
    let find = |kid, algorithm| bench.keys().find(kid, algorithm, LookupMode::MayWait);
    assert_found!(find(None, Algorithm::ES256), Lookup::UnknownKey);
    assert_found!(find(None, Algorithm::RS256), Lookup::UnknownKey);
    assert_found!(find(Some("a"), Algorithm::RS256), Lookup::UnknownKey);
    assert_found!(find(Some("a"), Algorithm::HS256), Lookup::UnknownKey);
    settle().await;
    assert_eq!(bench.issuer.fetches(), 1);
}

#[tokio::test]
async fn unknown_kid_is_unavailable_while_fetches_fail() {
    let bench = Bench::warm(["a"]).await;
    bench.issuer.answers(Answer::Status(500));
    assert_found!(bench.look(Some("b")).await, Lookup::Unavailable { .. });
    bench.key("a");
    assert_found!(bench.look(None).await, Lookup::Key(_));
    for _ in 0..100 {
        assert_found!(bench.look(Some("b")).await, Lookup::Unavailable { .. });
    }
    assert_eq!(bench.issuer.fetches(), 2);
    bench.issuer.publishes(["a", "b"]);
    bench.advance(2).await;
    assert_found!(bench.look(Some("b")).await, Lookup::Key(_));
    assert_found!(bench.look(Some("c")).await, Lookup::UnknownKey);
}

#[tokio::test]
async fn waiters_are_limited() {
    let cold = Bench::new(Answer::Keys(keys(["a"])));
    cold.issuer.close();
    let waiting: Vec<_> = (0..1024).map(|_| cold.find("a")).collect();
    assert!(waiting.iter().all(|found| matches!(found, Lookup::Wait(_))));
    assert_found!(cold.find("a"), Lookup::Unavailable { .. });
    drop(waiting);
    assert_found!(cold.find("a"), Lookup::Wait(_));

    let warm = Bench::warm(["a"]).await;
    warm.issuer.close();
    let waiting: Vec<_> = (0..1024)
        .map(|kid| warm.find(&format!("junk-{kid}")))
        .collect();
    assert!(waiting.iter().all(|found| matches!(found, Lookup::Wait(_))));
    assert_found!(warm.find("junk"), Lookup::UnknownKey);
    warm.key("a");
}

// === purge ===

#[tokio::test]
async fn purged_key_never_comes_back() {
    let jwk = |kid| Signer::of(Algorithm::ES256).jwk(kid);
    let other = Signer::fresh().jwk("b");
    let bench = Bench::new(published(&[jwk("a"), other.clone()]));
    bench.cache.warm().await.unwrap();
    let (a, b) = (bench.key("a"), bench.key("b"));
    assert!(bench.cache.purge(ISS, "a"));
    assert!(!bench.cache.purge(ISS, "a"), "it was known no longer");
    assert!(!bench.cache.purge("https://other/", "a"));
    assert!(!is_still_valid(bench.keys(), &a) && is_still_valid(bench.keys(), &b));
    assert_found!(bench.look(Some("a")).await, Lookup::UnknownKey);
    assert_eq!(bench.issuer.fetches(), 1, "it is not asked for");
    bench.cache.warm().await.unwrap();
    assert_found!(bench.look(Some("a")).await, Lookup::UnknownKey);
    assert!(Arc::ptr_eq(&b, &bench.key("b")));

    let mut nameless = jwk("");
    nameless.as_object_mut().unwrap().remove("kid");
    let restated = published(&[jwk("c"), nameless, other]);
    bench.issuer.answers(restated);
    bench.cache.warm().await.unwrap();
    assert_found!(bench.look(Some("c")).await, Lookup::UnknownKey);
    assert_found!(bench.look(None).await, Lookup::Key(key) if Arc::ptr_eq(&b, key));
    assert!(Arc::ptr_eq(&b, &bench.key("b")));
}

#[tokio::test]
async fn purge_removes_the_key_under_every_kid() {
    let bench = Bench::warm(["a", "b"]).await;
    assert!(bench.cache.purge(ISS, "a"));
    assert_found!(bench.look(Some("b")).await, Lookup::UnknownKey);
    assert_eq!(bench.cache.status()[0].keys, 0);
}

#[tokio::test]
async fn purge_holds_during_a_refresh() {
    let bench = Bench::warm(["a"]).await;
    let gate = bench.issuer.close();
    assert_found!(bench.find("junk"), Lookup::Wait(_));
    settle().await;
    bench.cache.purge(ISS, "a");
    gate.notify_one();
    settle().await;
    assert_found!(bench.find("a"), Lookup::UnknownKey);
}

// === several issuers ===

#[tokio::test]
async fn issuers_do_not_affect_each_other() {
    let (up, down) = (
        Issuer::new(Answer::Keys(keys(["a"]))),
        Issuer::new(Answer::Status(500)),
    );
    let cache = JwksCache::new([
        JwksSource::service("https://down/", down),
        JwksSource::service("https://up/", up.clone()),
    ])
    .unwrap();
    let error = cache.warm().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"keys of issuer "https://down/": HTTP status 500"#
    );
    let states: Vec<_> = cache
        .status()
        .iter()
        .map(|status| status.state.as_str())
        .collect();
    assert_eq!((states, up.fetches()), (vec!["cold", "fresh"], 1));
    assert!(
        cache.issuer("https://up").is_none(),
        "issuers are compared exactly"
    );
}
