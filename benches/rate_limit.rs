//! Limits by address: without fields, with fields, and rejected.

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use http::StatusCode;
use portcullis::{Quota, RateLimitLayer};
use support::{call_for, inner, quota, request};
use tower::{Layer, service_fn};

fn by_address(criterion: &mut Criterion) {
    let request = request();
    let (ok, refused) = (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS);
    for (name, status, layer) in [
        (
            "without fields",
            ok,
            RateLimitLayer::new(quota()).without_fields(),
        ),
        ("with fields", ok, RateLimitLayer::new(quota())),
        ("refused", refused, RateLimitLayer::new(Quota::per_hour(0))),
    ] {
        let mut service = layer.by_address().layer(service_fn(inner));
        criterion.bench_function(&format!("rate_limit/{name}"), |bencher| {
            call_for(status, bencher, &mut service, &request);
        });
    }
}

criterion_group!(benches, by_address);
criterion_main!(benches);
