//! Authentication: cached, uncached and rejected tokens.

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use portcullis::Algorithm;
use support::{Site, call, call_for, inner, request};
use tower::{Layer, service_fn};

fn accepted(criterion: &mut Criterion) {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let site = Site::new(algorithm);
        let request = site.request();
        let mut hit = site.auth().layer(service_fn(inner));
        criterion.bench_function(&format!("jwt/seen before/{algorithm}"), |bencher| {
            call(bencher, &mut hit, &request);
        });
        let mut miss = site.auth().token_cache(0).layer(service_fn(inner));
        criterion.bench_function(&format!("jwt/never seen/{algorithm}"), |bencher| {
            call(bencher, &mut miss, &request);
        });
    }
}

fn refused(criterion: &mut Criterion) {
    let site = Site::new(Algorithm::RS256);
    let mut service = site.auth().layer(service_fn(inner));
    let mut check = |name: &str, credential: &str, status: StatusCode| {
        let mut request: Request<()> = request();
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, credential.parse().unwrap());
        criterion.bench_function(&format!("jwt/refused/{name}"), |bencher| {
            call_for(status, bencher, &mut service, &request);
        });
    };
    check(
        "another scheme",
        "Basic YWxpY2U6c2VjcmV0",
        StatusCode::UNAUTHORIZED,
    );
    check("no token at all", "Bearer x", StatusCode::UNAUTHORIZED);
    let mut token = site.token();
    token.replace_range(token.len() - 20..token.len() - 10, "AAAAAAAAAA");
    check(
        "bad signature",
        &format!("Bearer {token}"),
        StatusCode::UNAUTHORIZED,
    );
    check(
        "8 KiB of dots",
        &format!("Bearer {}", ".".repeat(8_000)),
        StatusCode::UNAUTHORIZED,
    );
}

criterion_group!(benches, accepted, refused);
criterion_main!(benches);
