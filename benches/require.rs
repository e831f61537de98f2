//! Authorization behind authentication with a cached token. The first case measures authentication
//! alone.

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::require::Predicate;
use portcullis::{Algorithm, RequireLayer, RequireRoleLayer, Rule};
use support::{Site, call, inner};
use tower::{ServiceBuilder, service_fn};

fn rules(criterion: &mut Criterion) {
    let site = Site::new(Algorithm::ES256);
    let request = site.request();
    let mut alone = ServiceBuilder::new()
        .layer(site.auth())
        .service(service_fn(inner));
    criterion.bench_function("require/authentication alone", |bencher| {
        call(bencher, &mut alone, &request);
    });
    let nested = Rule::all([
        Rule::any([Rule::role("auditor"), Rule::role("admin")]),
        Rule::scope("orders:write"),
        Rule::not(Rule::client("batch")),
    ]);
    let many = (0..100).map(|at| format!("role-{at}"));
    for (name, layer) in [
        (
            "one of three roles",
            RequireRoleLayer::any(["auditor", "owner", "admin"]).into(),
        ),
        ("a nested rule", RequireLayer::new(nested)),
        ("none of 100 roles", RequireRoleLayer::any(many).into()),
    ] {
        let layer: RequireLayer = layer;
        let builder = ServiceBuilder::new().layer(site.auth()).layer(layer);
        let mut service = builder.service(service_fn(inner));
        criterion.bench_function(&format!("require/{name}"), |bencher| {
            call(bencher, &mut service, &request);
        });
    }
}

/// The decision alone, in nanoseconds.
fn ten_atoms(criterion: &mut Criterion) {
    let site = Site::new(Algorithm::ES256);
    let caller = site.auth().verify_now(&site.token()).unwrap();
    // All ten are evaluated: the last one of `any` matches, and each of `all` matches.
    let role = Rule::role("auditor") | Rule::role("owner") | Rule::role("admin");
    let scope = Rule::scope("invoices:write") | Rule::scope("orders:write");
    let invoices = Rule::permission("invoice:write") | Rule::permission_pattern("invoice:*");
    let person = Rule::subject("nobody") | Rule::client("web");
    let rule = role & scope & invoices & person & !Rule::client("batch");
    let claim = Rule::claim("jti", Predicate::exists());
    for (name, rule) in [("ten leaves", rule), ("one claim", claim)] {
        criterion.bench_function(&format!("require/a rule of {name}"), |bencher| {
            bencher.iter(|| assert!(black_box(&rule).holds(black_box(&caller))));
        });
    }
}

criterion_group!(benches, rules, ten_atoms);
criterion_main!(benches);
