//! Identity headers of incoming requests, and the caller's token in outgoing ones.

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{Algorithm, IdentityHeadersLayer, TokenPropagationLayer};
use support::{Site, call, inner};
use tower::{ServiceBuilder, service_fn};

fn both_ways(criterion: &mut Criterion) {
    let site = Site::new(Algorithm::ES256);
    let mut request = site.request();
    let mut alone = ServiceBuilder::new()
        .layer(site.auth())
        .service(service_fn(inner));
    criterion.bench_function("propagate/authentication alone", |bencher| {
        call(bencher, &mut alone, &request);
    });
    let builder = ServiceBuilder::new()
        .layer(site.auth())
        .layer(IdentityHeadersLayer::new());
    let mut headers = builder.service(service_fn(inner));
    criterion.bench_function("propagate/identity headers", |bencher| {
        call(bencher, &mut headers, &request);
    });
    *request.uri_mut() = "https://inventory.internal/items".parse().unwrap();
    let forward = TokenPropagationLayer::forward_to(["https://inventory.internal"]);
    let builder = ServiceBuilder::new()
        .layer(site.auth())
        .layer(forward.unwrap());
    let mut forwarding = builder.service(service_fn(inner));
    criterion.bench_function("propagate/forward", |bencher| {
        call(bencher, &mut forwarding, &request);
    });
}

criterion_group!(benches, both_ways);
criterion_main!(benches);
