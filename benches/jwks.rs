//! Keys: parsing a set, and sharing the cache with the layers below.

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{Algorithm, JwksCacheLayer, KeySet};
use serde_json::{Value, json};
use support::{Site, call, inner, request};
use tower::{Layer, service_fn};

fn reading(criterion: &mut Criterion) {
    let site = Site::new(Algorithm::RS256);
    let set: Value = serde_json::from_str(&site.ring.jwks()).unwrap();
    for count in [1, 16, 256] {
        let named = |at: usize| {
            let mut key = set["keys"][0].clone();
            key["kid"] = at.to_string().into();
            key
        };
        let keys: Vec<Value> = (0..count).map(named).collect();
        let text = json!({ "keys": keys }).to_string();
        criterion.bench_function(&format!("jwks/read {count} RSA keys"), |bencher| {
            bencher.iter(|| KeySet::from_json(text.as_bytes()));
        });
    }
}

fn layer(criterion: &mut Criterion) {
    let site = Site::new(Algorithm::ES256);
    let mut service = JwksCacheLayer::new(site.keys).layer(service_fn(inner));
    criterion.bench_function("jwks/layer", |bencher| {
        call(bencher, &mut service, &request())
    });
}

criterion_group!(benches, reading, layer);
criterion_main!(benches);
