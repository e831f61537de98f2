//! Stacked layers, for a caller with a cached token.

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{Algorithm, IdentityHeadersLayer, RateLimitLayer, RequireRoleLayer};
use support::{Site, call, inner, quota};
use tower::{ServiceBuilder, service_fn};

fn stacks(criterion: &mut Criterion) {
    let site = Site::new(Algorithm::RS256);
    let request = site.request();
    let mut bare = service_fn(inner);
    criterion.bench_function("stack/nothing", |bencher| {
        call(bencher, &mut bare, &request)
    });
    let mut auth = ServiceBuilder::new()
        .layer(site.auth())
        .service(service_fn(inner));
    criterion.bench_function("stack/JwtAuth", |bencher| {
        call(bencher, &mut auth, &request)
    });
    let roles = || RequireRoleLayer::any(["auditor", "owner", "admin"]);
    let mut chain = ServiceBuilder::new()
        .layer(site.auth())
        .layer(RateLimitLayer::new(quota()).by_subject())
        .layer(roles())
        .service(service_fn(inner));
    criterion.bench_function("stack/JwtAuth, RateLimit, RequireRole", |bencher| {
        call(bencher, &mut chain, &request);
    });
    let mut gateway = ServiceBuilder::new()
        .layer(RateLimitLayer::new(quota()).by_address().without_fields())
        .layer(site.auth())
        .layer(IdentityHeadersLayer::new())
        .layer(RateLimitLayer::new(quota()).by_subject())
        .layer(roles())
        .service(service_fn(inner));
    criterion.bench_function("stack/all of a gateway", |bencher| {
        call(bencher, &mut gateway, &request);
    });
}

criterion_group!(benches, stacks);
criterion_main!(benches);
