//! How the keys of many tenants are kept, against a site that knows some of them.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower::service_fn;

use super::PLACES;
use crate::algorithm::Algorithm;
use crate::clock::ManualClock;
use crate::error::ConfigError;
use crate::jwks::testing::keys;
use crate::jwks::{FetchError, FetchJwks, IssuerState, JwksCache, JwksSource, Lookup, LookupMode};

const PATTERN: &str = "https://id.example.com/{tenant}/v2.0";
const COOLDOWN: Duration = Duration::from_secs(30);

/// What a token of a tenant comes to, as the verifying layer sees it.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Verified,
    UnknownKey,
    NoTenant,
    Crowd,
    Unavailable,
}

/// Every tenant whose name begins with `t` has one key, `a`. What others are answered can be changed.
struct Site {
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
    otherwise: Arc<Mutex<FetchError>>,
    hands: ManualClock,
    cache: JwksCache,
}

impl Site {
    fn new(max_tenants: usize) -> Self {
        let asked = Arc::<Mutex<BTreeMap<String, usize>>>::default();
        let otherwise = Arc::new(Mutex::new(FetchError::Status(404)));
        let hands = ManualClock::at(1_800_000_000);
        let (seen, error) = (asked.clone(), otherwise.clone());
        let service = service_fn(move |fetch: FetchJwks| {
            let issuer = fetch.issuer().to_owned();
            let exists = issuer.starts_with("https://id.example.com/t");
            *seen.lock().unwrap().entry(issuer).or_default() += 1;
            let error = error.lock().unwrap().clone();
            async move { if exists { Ok(keys(["a"])) } else { Err(error) } }
        });
        let source = JwksSource::service(PATTERN, service)
            .clock(hands.clone())
            .max_tenants(NonZeroUsize::new(max_tenants).unwrap());
        Self {
            asked,
            otherwise,
            hands,
            cache: JwksCache::new([source]).unwrap(),
        }
    }

    fn issuer(tenant: &str) -> String {
        PATTERN.replace("{tenant}", tenant)
    }

    /// What a genuine token comes to.
    async fn token(&self, tenant: &str) -> Outcome {
        let outcome = self.named(tenant, "a").await;
        if outcome == Outcome::Verified {
            self.cache.mark_verified(&Self::issuer(tenant));
        }
        outcome
    }

    /// What a token comes to whose signature does not hold.
    async fn named(&self, tenant: &str, kid: &str) -> Outcome {
        let issuer = Self::issuer(tenant);
        for mode in [LookupMode::MayWait, LookupMode::Final] {
            match self.cache.find(&issuer, Some(kid), Algorithm::ES256, mode) {
                Lookup::Key(_) => return Outcome::Verified,
                Lookup::Wait(waiter) => waiter.await,
                Lookup::UnknownKey => return Outcome::UnknownKey,
                Lookup::UnknownTenant => return Outcome::NoTenant,
                Lookup::AtCapacity { .. } => return Outcome::Crowd,
                Lookup::Unavailable { retry_after } => {
                    assert!((1..=30).contains(&retry_after.as_secs()), "{retry_after:?}");
                    return Outcome::Unavailable;
                }
                Lookup::NotConfigured => panic!("{issuer} is of the pattern"),
            }
        }
        panic!("it has waited");
    }

    /// How many fetches there were since this was asked last.
    fn fetches(&self) -> usize {
        std::mem::take(&mut *self.asked.lock().unwrap())
            .values()
            .sum()
    }
}

#[tokio::test]
async fn every_tenant_has_keys_of_its_own_from_its_first_token_on() {
    let site = Site::new(10);
    for tenant in ["t1", "t2", "t1", "t2"] {
        assert_eq!(site.token(tenant).await, Outcome::Verified);
    }
    let expected = ["t1", "t2"].map(|tenant| (Site::issuer(tenant), 1));
    assert_eq!(*site.asked.lock().unwrap(), BTreeMap::from(expected));
    let other = "https://id.example.com/t1/v2.1";
    let found = site
        .cache
        .find(other, Some("a"), Algorithm::ES256, LookupMode::Final);
    assert!(matches!(found, Lookup::NotConfigured));
}

#[tokio::test]
async fn names_that_were_made_up_cause_few_fetches_and_push_nobody_out() {
    let site = Site::new(2);
    assert_eq!(site.token("t1").await, Outcome::Verified);
    assert_eq!(site.token("t2").await, Outcome::Verified);
    site.fetches();
    for round in 0..3 {
        for name in 0..1000 {
            let expected = if name < PLACES {
                Outcome::NoTenant
            } else {
                Outcome::Crowd
            };
            assert_eq!(
                site.named(&format!("x{name}"), "a").await,
                expected,
                "{round} {name}"
            );
        }
        assert_eq!(site.token("t1").await, Outcome::Verified);
        assert_eq!(site.fetches(), PLACES);
        site.hands.advance(COOLDOWN - Duration::from_secs(1));
        assert_eq!(site.named("x0", "a").await, Outcome::NoTenant);
        assert_eq!(site.named("t3", "a").await, Outcome::Crowd);
        assert_eq!(site.fetches(), 0);
        site.hands.advance(Duration::from_secs(1));
    }
    assert_eq!(site.token("t2").await, Outcome::Verified);
    assert_eq!(site.fetches(), 0);
}

/// Real tenants can be named by anybody, and their keys are there. No token of theirs holds.
#[tokio::test]
async fn tenants_that_are_named_and_sign_nothing_are_strangers_too() {
    let site = Site::new(2);
    assert_eq!(site.token("t1").await, Outcome::Verified);
    site.fetches();
    for name in 0..100 {
        for kid in ["b", "c", "d", "e", "f"] {
            site.named(&format!("t-{name}"), kid).await;
        }
    }
    assert_eq!(site.fetches(), 3 * PLACES, "once, and for two unknown kids");
    assert_eq!(site.token("t1").await, Outcome::Verified);
    assert_eq!(site.fetches(), 0);
    assert_eq!(site.cache.status()[0].tenants.len(), 1);
}

#[tokio::test]
async fn a_crowd_of_honest_tenants_gets_through() {
    let site = Site::new(1000);
    for tenant in 0..500 {
        assert_eq!(
            site.token(&format!("t{tenant}")).await,
            Outcome::Verified,
            "{tenant}"
        );
    }
    assert_eq!(site.fetches(), 500);
}

#[tokio::test]
async fn a_tenant_that_there_is_not_is_told_from_one_that_is_down() {
    let site = Site::new(10);
    for (error, expected) in [
        (FetchError::Status(400), Outcome::NoTenant),
        (FetchError::Status(404), Outcome::NoTenant),
        (FetchError::Status(410), Outcome::NoTenant),
        (FetchError::Discovery("of another"), Outcome::NoTenant),
        (FetchError::Status(429), Outcome::Unavailable),
        (FetchError::Status(503), Outcome::Unavailable),
        (FetchError::TimedOut, Outcome::Unavailable),
        (FetchError::TooLarge, Outcome::Unavailable),
    ] {
        *site.otherwise.lock().unwrap() = error.clone();
        for _ in 0..3 {
            assert_eq!(site.token("x").await, expected, "{error}");
        }
        assert_eq!(site.fetches(), 1, "{error}");
        site.hands.advance(COOLDOWN);
    }
}

#[tokio::test]
async fn while_fetches_fail_nobody_can_tell_which_tenants_there_are() {
    let site = Site::new(10);
    *site.otherwise.lock().unwrap() = FetchError::Status(503);
    for name in 0..40 {
        let outcome = site.token(&format!("x{name}")).await;
        assert_eq!(outcome, Outcome::Unavailable, "{name}");
    }
    assert_eq!(site.fetches(), PLACES);
    assert_eq!(site.token("t1").await, Outcome::Unavailable);
    site.hands.advance(COOLDOWN);
    assert_eq!(site.token("t1").await, Outcome::Verified);
}

#[tokio::test]
async fn the_tenant_that_was_asked_for_longest_ago_makes_room() {
    let site = Site::new(3);
    for tenant in ["t1", "t2", "t3"] {
        assert_eq!(site.token(tenant).await, Outcome::Verified);
        site.hands.advance(Duration::from_secs(2));
    }
    for newcomer in 4..40 {
        assert_eq!(site.token("t1").await, Outcome::Verified);
        site.hands.advance(Duration::from_secs(2));
        assert_eq!(site.token(&format!("t{newcomer}")).await, Outcome::Verified);
    }
    let asked = site.asked.lock().unwrap();
    assert_eq!(asked[&Site::issuer("t1")], 1, "it is in use");
    assert_eq!(site.cache.status()[0].tenants.len(), 3);
}

#[tokio::test]
async fn a_purge_outlasts_the_tenants_that_come_after() {
    let site = Site::new(2);
    assert!(
        !site.cache.purge(&Site::issuer("t1"), "a"),
        "nobody knows it yet"
    );
    assert_eq!(site.token("t2").await, Outcome::Verified);
    assert!(site.cache.purge(&Site::issuer("t2"), "a"));
    for newcomer in 3..10 {
        site.hands.advance(Duration::from_secs(2));
        assert_eq!(site.token(&format!("t{newcomer}")).await, Outcome::Verified);
    }
    assert_eq!(site.token("t1").await, Outcome::UnknownKey);
    assert_eq!(site.token("t2").await, Outcome::UnknownKey);
    assert!(!site.cache.purge(PATTERN, "a"), "whose?");
    assert!(!site.cache.purge("https://id.example.com/t1/", "a"));
}

#[tokio::test]
async fn the_status_is_one_for_the_pattern_with_its_tenants_inside() {
    let site = Site::new(10);
    let status = &site.cache.status()[0];
    assert_eq!(
        (&*status.issuer, status.state, status.keys),
        (PATTERN, IssuerState::OnDemand, 0)
    );
    assert!(status.state.is_ready(), "there is nothing to wait for");
    assert_eq!(site.named("x", "a").await, Outcome::NoTenant);
    assert_eq!(site.named("t3", "junk").await, Outcome::UnknownKey);
    for tenant in ["t2", "t1"] {
        assert_eq!(site.token(tenant).await, Outcome::Verified);
    }
    let status = &site.cache.status()[0];
    let tenants: Vec<_> = status
        .tenants
        .iter()
        .map(|tenant| &*tenant.issuer)
        .collect();
    assert_eq!(tenants, [Site::issuer("t1"), Site::issuer("t2")]);
    assert_eq!(
        (status.keys, status.tenants[0].state),
        (2, IssuerState::Fresh)
    );
}

#[test]
fn keys_that_all_tenants_have_in_common_are_one_set() {
    let source = JwksSource::keys(PATTERN, keys(["a"]));
    let cache = JwksCache::new([source]).unwrap();
    for tenant in ["t1", "x"] {
        let issuer = Site::issuer(tenant);
        let found = cache.find(&issuer, Some("a"), Algorithm::ES256, LookupMode::Final);
        assert!(matches!(found, Lookup::Key(_)), "{tenant}");
    }
    assert_eq!(cache.status()[0].state, IssuerState::Fixed);
    assert!(cache.purge(&Site::issuer("t1"), "a"));
    assert_eq!(cache.status()[0].keys, 0);
}

#[test]
fn a_pattern_is_set_up_once_and_in_both_places() {
    let source = |issuer: &str| JwksSource::keys(issuer, keys(["a"]));
    let own = source("https://id.example.com/t1/v2.0");
    assert!(JwksCache::new([source(PATTERN), own]).is_ok());
    let twice = JwksCache::new([source(PATTERN), source(PATTERN)]).unwrap_err();
    assert!(matches!(twice, ConfigError::DuplicateIssuer { .. }));
    let open = JwksCache::new([source("https://{tenant}.example.com/")]).unwrap_err();
    assert!(matches!(open, ConfigError::Url { .. }));
}

#[cfg(feature = "reqwest")]
#[test]
fn urls_have_a_place_for_the_tenant_where_the_issuer_has_one() {
    let at = |issuer: &str, uri: &str| {
        let source = JwksSource::uri(issuer, uri);
        source.and_then(|source| JwksCache::new([source])).is_ok()
    };
    assert!(at(PATTERN, "https://id.example.com/{tenant}/keys"));
    assert!(at(PATTERN, "https://id.example.com/common/keys"));
    assert!(!at(
        "https://id.example.com/t1",
        "https://id.example.com/{tenant}/keys"
    ));
    assert!(!at(PATTERN, "https://{tenant}.example.com/keys"));
    assert!(!at(PATTERN, "http://id.example.com/{tenant}/keys"));
    assert!(JwksCache::from_issuer(PATTERN).is_ok());
    assert!(JwksCache::from_issuer("https://id.example.com/{tenantid}").is_err());
}
