//! Authorization, behind authentication by a remembered token, which the first line measures alone.

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{Algorithm, RequireRoleLayer, Rule};
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
            RequireRoleLayer::any(["auditor", "owner", "admin"]),
        ),
        ("a nested rule", RequireRoleLayer::rule(nested)),
        ("none of 100 roles", RequireRoleLayer::any(many)),
    ] {
        let builder = ServiceBuilder::new().layer(site.auth()).layer(layer);
        let mut service = builder.service(service_fn(inner));
        criterion.bench_function(&format!("require/{name}"), |bencher| {
            call(bencher, &mut service, &request);
        });
    }
}

criterion_group!(benches, rules);
criterion_main!(benches);
