//! The keys of many tenants, fetched from a site that has some of them.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower::service_fn;

use super::PLACES;
use crate::algorithm::Algorithm;
use crate::clock::ManualClock;
use crate::error::ConfigError;
use crate::jwks::testing::{Signer, keys};
use crate::jwks::{
    FetchError, FetchJwks, IssuerState, JwksCache, JwksSource, KeySet, Lookup, LookupMode,
};

const PATTERN: &str = "https://id.example.com/{tenant}/v2.0";
const COOLDOWN: Duration = Duration::from_secs(30);

/// The result of looking up the key of a tenant's token.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Verified,
    UnknownKey,
    UnknownTenant,
    AtCapacity,
    Unavailable,
}

/// Every tenant whose name begins with `t` has one key, `a`. The error for other tenants can be
/// changed.
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

    /// Looks up the key of a valid token.
    async fn token(&self, tenant: &str) -> Outcome {
        let outcome = self.named(tenant, "a").await;
        if outcome == Outcome::Verified {
            self.cache.mark_verified(&Self::issuer(tenant));
        }
        outcome
    }

    /// Looks up the key of a token whose signature is invalid.
    async fn named(&self, tenant: &str, kid: &str) -> Outcome {
        let issuer = Self::issuer(tenant);
        for mode in [LookupMode::MayWait, LookupMode::Final] {
            match self.cache.find(&issuer, Some(kid), Algorithm::ES256, mode) {
                Lookup::Key(_) => return Outcome::Verified,
                Lookup::Wait(waiter) => waiter.await,
                Lookup::UnknownKey => return Outcome::UnknownKey,
                Lookup::UnknownTenant => return Outcome::UnknownTenant,
                Lookup::AtCapacity { .. } => return Outcome::AtCapacity,
                Lookup::Unavailable { retry_after } => {
                    assert!((1..=30).contains(&retry_after.as_secs()), "{retry_after:?}");
                    return Outcome::Unavailable;
                }
                Lookup::NotConfigured => panic!("{issuer} matches the pattern"),
            }
        }
        panic!("it has waited");
    }

    /// The number of fetches since the last call.
    fn fetches(&self) -> usize {
        std::mem::take(&mut *self.asked.lock().unwrap())
            .values()
            .sum()
    }
}

#[tokio::test]
async fn every_tenant_has_its_own_keys() {
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
async fn invented_tenants_cause_few_fetches_evict_none() {
    let site = Site::new(2);
    assert_eq!(site.token("t1").await, Outcome::Verified);
    assert_eq!(site.token("t2").await, Outcome::Verified);
    site.fetches();
    for round in 0..3 {
        for name in 0..1000 {
            let expected = if name < PLACES {
                Outcome::UnknownTenant
            } else {
                Outcome::AtCapacity
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
        assert_eq!(site.named("x0", "a").await, Outcome::UnknownTenant);
        assert_eq!(site.named("t3", "a").await, Outcome::AtCapacity);
        assert_eq!(site.fetches(), 0);
        site.hands.advance(Duration::from_secs(1));
    }
    assert_eq!(site.token("t2").await, Outcome::Verified);
    assert_eq!(site.fetches(), 0);
}

/// Existing tenants in tokens with invalid signatures.
#[tokio::test]
async fn tenants_without_a_verified_token_stay_unverified() {
    let site = Site::new(2);
    assert_eq!(site.token("t1").await, Outcome::Verified);
    site.fetches();
    for name in 0..100 {
        for kid in ["b", "c", "d", "e", "f"] {
            site.named(&format!("t-{name}"), kid).await;
        }
    }
    assert_eq!(
        site.fetches(),
        3 * PLACES,
        "one first fetch and two for unknown kids"
    );
    assert_eq!(site.token("t1").await, Outcome::Verified);
    assert_eq!(site.fetches(), 0);
    assert_eq!(site.cache.status()[0].tenants.len(), 1);
}

#[tokio::test]
async fn many_honest_tenants_are_all_accepted() {
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
async fn absent_tenant_differs_from_unavailable_one() {
    let site = Site::new(10);
    for (error, expected) in [
        (FetchError::Status(400), Outcome::UnknownTenant),
        (FetchError::Status(404), Outcome::UnknownTenant),
        (FetchError::Status(410), Outcome::UnknownTenant),
        (FetchError::Discovery("of another"), Outcome::UnknownTenant),
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
async fn new_tenants_are_unavailable_while_fetches_fail() {
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
async fn least_used_tenant_is_evicted() {
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
async fn purge_outlasts_evictions() {
    let site = Site::new(2);
    assert!(
        !site.cache.purge(&Site::issuer("t1"), "a"),
        "its keys were not fetched yet"
    );
    assert_eq!(site.token("t2").await, Outcome::Verified);
    assert!(site.cache.purge(&Site::issuer("t2"), "a"));
    for newcomer in 3..10 {
        site.hands.advance(Duration::from_secs(2));
        assert_eq!(site.token(&format!("t{newcomer}")).await, Outcome::Verified);
    }
    assert_eq!(site.token("t1").await, Outcome::UnknownKey);
    assert_eq!(site.token("t2").await, Outcome::UnknownKey);
    assert!(!site.cache.purge(PATTERN, "a"), "no tenant is named");
    assert!(!site.cache.purge("https://id.example.com/t1/", "a"));
}

#[tokio::test]
async fn status_of_the_pattern_contains_its_tenants() {
    let site = Site::new(10);
    let status = &site.cache.status()[0];
    assert_eq!(
        (&*status.issuer, status.state, status.keys),
        (PATTERN, IssuerState::OnDemand, 0)
    );
    assert!(status.state.is_ready(), "no fetch is needed");
    assert_eq!(site.named("x", "a").await, Outcome::UnknownTenant);
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
fn keys_shared_by_all_tenants_are_one_set() {
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
fn duplicate_and_open_patterns_are_refused() {
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
fn tenant_in_url_requires_tenant_in_issuer() {
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

/// Fills every place for new tenants with names that do not exist.
async fn crowd(site: &Site) {
    for name in 0..PLACES {
        site.named(&format!("x{name}"), "a").await;
    }
    assert_eq!(site.named("x-more", "a").await, Outcome::AtCapacity);
}

#[tokio::test]
async fn evicted_tenant_returns_despite_made_up_names() {
    let site = Site::new(2);
    for tenant in 0..10 {
        assert_eq!(site.token(&format!("t{tenant}")).await, Outcome::Verified);
    }
    crowd(&site).await;
    assert_eq!(site.token("t-new").await, Outcome::AtCapacity, "control");
    for _ in 0..3 {
        for tenant in 0..10 {
            let outcome = site.token(&format!("t{tenant}")).await;
            assert_eq!(outcome, Outcome::Verified, "{tenant}");
        }
    }
}

#[tokio::test]
async fn evicted_tenant_is_unavailable_if_too_many_return() {
    let site = Site::new(1);
    for tenant in 0..PLACES + 2 {
        assert_eq!(site.token(&format!("t{tenant}")).await, Outcome::Verified);
    }
    // None of these is verified again, so each keeps its place.
    for tenant in 0..PLACES {
        site.named(&format!("t{tenant}"), "a").await;
    }
    let outcome = site.token(&format!("t{PLACES}")).await;
    assert_eq!(outcome, Outcome::Unavailable);
    site.hands.advance(COOLDOWN);
    let outcome = site.token(&format!("t{PLACES}")).await;
    assert_eq!(outcome, Outcome::Verified);
}

#[tokio::test]
async fn tenant_in_use_outlasts_a_flood_of_others() {
    let site = Site::new(10);
    for _ in 0..60 {
        assert_eq!(site.token("t-used").await, Outcome::Verified);
        site.hands.advance(Duration::from_secs(1));
    }
    site.fetches();
    // All newer, and each used once.
    for other in 0..300 {
        assert_eq!(site.token(&format!("t{other}")).await, Outcome::Verified);
    }
    assert_eq!(site.fetches(), 300);
    assert_eq!(site.token("t-used").await, Outcome::Verified);
    assert_eq!(site.fetches(), 0, "it is still known");
}

#[tokio::test]
async fn key_sets_of_tenants_are_limited_in_bytes() {
    /// A set of RSA keys without `alg`, each of which counts for six algorithms.
    fn rsa_keys(count: usize) -> KeySet {
        let jwk = |at: usize| Signer::of(Algorithm::RS256).jwk(&at.to_string());
        let set = serde_json::json!({ "keys": (0..count).map(jwk).collect::<Vec<_>>() });
        KeySet::from_json(set.to_string().as_bytes()).unwrap()
    }
    let ordinary = rsa_keys(10);
    assert!(
        ordinary.bytes() < super::AVERAGE_BYTES,
        "{}",
        ordinary.bytes()
    );
    let sizes = [("t-large", 90), ("t-too-large", 150)];
    let service = service_fn(move |fetch: FetchJwks| {
        let of = |(name, count): &(&str, usize)| fetch.issuer().contains(name).then_some(*count);
        let count = sizes.iter().find_map(of).unwrap_or(1);
        async move { Ok::<_, FetchError>(rsa_keys(count)) }
    });
    let source = JwksSource::service(PATTERN, service).max_tenants(NonZeroUsize::new(8).unwrap());
    let cache = JwksCache::new([source]).unwrap();
    let token = async |tenant: &str| {
        let issuer = Site::issuer(tenant);
        for mode in [LookupMode::MayWait, LookupMode::Final] {
            match cache.find(&issuer, Some("0"), Algorithm::RS256, mode) {
                Lookup::Wait(waiter) => waiter.await,
                Lookup::Key(_) => {
                    cache.mark_verified(&issuer);
                    return true;
                }
                _ => return false,
            }
        }
        false
    };
    assert!(!token("t-too-large").await);
    for large in 0..8 {
        assert!(token(&format!("t-large{large}")).await);
    }
    let kept = cache.status()[0].tenants.len();
    assert_eq!(kept, 1, "a megabyte in all, for eight tenants");
    for small in 0..8 {
        assert!(token(&format!("t{small}")).await);
    }
    assert_eq!(cache.status()[0].tenants.len(), 8);
}
