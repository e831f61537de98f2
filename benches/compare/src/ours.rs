//! This crate's layers, set up as their documentation does.

use std::convert::Infallible;

use axum::body::Body;
use http::{Request, Response};
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::jwks::FetchJwks;
use portcullis::{
    Issuer, JwksCache, JwksSource, JwtAuthLayer, KeySet, Quota, RateLimitLayer, RequireRoleLayer,
};
use tokio::runtime::Runtime;
use tower::{Layer, Service, ServiceBuilder, service_fn};

use crate::fixture::{AUDIENCE, Algorithm, ISSUER, Keys, Requests};
use crate::measure::{Case, call};
use crate::trivial;

/// More tokens than the cache holds, so that each is a cache miss.
pub const STRANGERS: usize = 1_024;

/// The number of issuers in the case with many.
const CROWD: usize = 1_000;

/// A cache with room for one token per shard.
const SMALL_CACHE: usize = 64 * 4096;

/// Authentication with fetched keys.
pub fn auth(runtime: &Runtime, keys: &Keys, algorithm: Algorithm) -> JwtAuthLayer {
    let set = KeySet::from_json(keys.jwks(algorithm).as_bytes()).unwrap();
    let fetch =
        service_fn(move |_: FetchJwks| std::future::ready(Ok::<_, Infallible>(set.clone())));
    let cache = JwksCache::new([JwksSource::service(ISSUER, fetch)]).unwrap();
    runtime.block_on(cache.warm()).unwrap();
    let issuer = Issuer::new(ISSUER).audience(AUDIENCE).with_keys(cache);
    JwtAuthLayer::new([issuer]).unwrap()
}

/// A cache hit and a cache miss.
pub fn tokens<'c>(
    auth: &JwtAuthLayer,
    algorithm: Algorithm,
    known: &Requests,
    strangers: &Requests,
) -> [Case<'c>; 2] {
    let hit = auth.layer(service_fn(trivial));
    let miss = auth
        .clone()
        .token_cache(SMALL_CACHE)
        .layer(service_fn(trivial));
    let name = |case: &str| format!("portcullis/{case}/{}", algorithm.as_str());
    [
        Case::calling(name("hit"), known.clone(), Body::empty, hit).beyond("floor/service/1"),
        Case::calling(name("miss"), strangers.clone(), Body::empty, miss)
            .beyond("floor/service/1024"),
    ]
}

/// A cache hit and a cache miss with many issuers, of which this is the last.
pub fn crowd<'c>(keys: &Keys, known: &Requests, strangers: &Requests) -> [Case<'c>; 2] {
    let set = KeySet::from_json(keys.jwks(Algorithm::RS256).as_bytes()).unwrap();
    let others = (1..CROWD).map(|at| format!("https://auth.example.com/realms/{at}"));
    let names: Vec<String> = others.chain([ISSUER.to_owned()]).collect();
    let sources = names.iter().map(|name| JwksSource::keys(name, set.clone()));
    let cache = JwksCache::new(sources).unwrap();
    let issuer = |name| {
        Issuer::new(name)
            .audience(AUDIENCE)
            .with_keys(cache.clone())
    };
    let auth = JwtAuthLayer::new(names.iter().map(issuer)).unwrap();
    let [hit, miss] = tokens(&auth, Algorithm::RS256, known, strangers);
    [
        hit.named("portcullis/hit-1000-issuers/RS256"),
        miss.named("portcullis/miss-1000-issuers/RS256"),
    ]
}

/// Authentication, authorization and a limit by subject, with metrics and fields. All clones of a
/// layer share their counters, so no other case may use `auth`.
pub fn chain<'c>(auth: JwtAuthLayer, algorithm: Algorithm, known: &Requests) -> Case<'c> {
    let service = ServiceBuilder::new()
        .layer(auth)
        .layer(RequireRoleLayer::any(["auditor", "owner", "admin"]))
        .layer(RateLimitLayer::new(quota()).by_subject())
        .service(service_fn(trivial));
    let name = format!("portcullis/chain/{}", algorithm.as_str());
    counted(name, service, known, "portcullis_ratelimit_decisions_total")
}

/// A cache hit with metrics. No other case may use `auth`.
pub fn counted_hit<'c>(auth: JwtAuthLayer, known: &Requests) -> Case<'c> {
    let service = auth.layer(service_fn(trivial));
    let name = "portcullis/hit-with-metrics/RS256".to_owned();
    counted(name, service, known, "portcullis_auth_duration_seconds")
}

fn counted<'c, S, R>(name: String, mut service: S, known: &Requests, metric: &str) -> Case<'c>
where
    S: Service<Request<Body>, Response = Response<R>> + 'c,
{
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let request = known.clone().next(Body::empty);
    let again = known.clone().next(Body::empty);
    metrics::with_local_recorder(&recorder, || {
        call(&mut service, request);
        call(&mut service, again);
    });
    assert!(handle.render().contains(metric));
    Case::calling(name, known.clone(), Body::empty, service)
        .beyond("floor/service/1")
        .resting(move || handle.run_upkeep())
}

/// Authorization alone.
pub fn require<'c>(auth: &JwtAuthLayer, known: &Requests) -> Case<'c> {
    let service = ServiceBuilder::new()
        .layer(auth.clone())
        .layer(RequireRoleLayer::any(["auditor", "owner", "admin"]))
        .service(service_fn(trivial));
    Case::calling("portcullis/require/3", known.clone(), Body::empty, service)
        .beyond("portcullis/hit/RS256")
}

/// A limit by address, without and with fields.
pub fn limits<'c>(requests: &Requests) -> [Case<'c>; 2] {
    let with = RateLimitLayer::new(quota()).by_address();
    let without = with.clone().without_fields();
    let case = |name: &str, layer: RateLimitLayer| {
        let service = layer.layer(service_fn(trivial));
        Case::calling(name, requests.clone(), Body::empty, service).beyond("floor/service/1")
    };
    [
        case("portcullis/limit/1", without),
        case("portcullis/limit-with-headers/1", with),
    ]
}

fn quota() -> Quota {
    Quota::per_second(10_000_000)
}

/// For the floor.
pub fn bare<'c>(name: &str, requests: &Requests) -> Case<'c> {
    Case::calling(name, requests.clone(), Body::empty, service_fn(trivial))
}
