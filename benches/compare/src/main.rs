//! The cost of the layers and of comparable crates, measured alternately in one process.

mod chart;
mod fixture;
mod growth;
mod measure;
mod others;
mod ours;
mod report;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use clap::Parser;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};

use fixture::{Algorithm, Keys, Requests};
use measure::Effort;
use report::Report;

#[global_allocator]
static ALLOCATOR: alloc_tracker::Allocator<std::alloc::System> = alloc_tracker::Allocator::system();

#[derive(Parser)]
#[command(about)]
struct Arguments {
    /// Fewer rounds: half a minute.
    #[arg(long)]
    quick: bool,
    /// Write one JSON object a line to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw a chart into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// The service behind every layer. It responds with one header, as real services do.
fn trivial(request: Request<Body>) -> Ready<Result<Response<Body>, Infallible>> {
    drop(black_box(request));
    let mut response = Response::new(Body::empty());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    ready(Ok(response))
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let effort = Effort {
        rounds: if arguments.quick { 101 } else { 401 },
        sample: Duration::from_micros(1_500),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let _entered = runtime.enter();
    let keys = Keys::generate();

    let tokens = keys.tokens(Algorithm::RS256, 10_000);
    let strangers = Requests::new(&tokens[..ours::STRANGERS]);
    let known = Requests::new(&tokens[..1]);
    let auth = ours::auth(&runtime, &keys, Algorithm::RS256);
    let mut cases = vec![
        ours::bare("floor/service/1", &known),
        ours::bare("floor/service/1024", &strangers),
        others::bare_router("floor/router/1", &known),
    ];
    for algorithm in Algorithm::ALL {
        let tokens = keys.tokens(algorithm, ours::STRANGERS);
        let strangers = Requests::new(&tokens);
        let known = Requests::new(&tokens[..1]);
        let auth = ours::auth(&runtime, &keys, algorithm);
        cases.push(others::raw(&keys, algorithm, &tokens));
        cases.extend(ours::tokens(&auth, algorithm, &known, &strangers));
        let another = ours::auth(&runtime, &keys, algorithm);
        cases.push(ours::chain(another, algorithm, &known));
        cases.push(others::jwt_authorizer(&runtime, &keys, algorithm, &known));
        cases.push(others::tower_oauth2_resource_server(
            &runtime, &keys, algorithm, &known,
        ));
        cases.push(others::axum_jwt_auth(&keys, algorithm, &known));
        if algorithm == Algorithm::RS256 {
            cases.push(others::aliri_tower(&keys, &known));
        }
    }
    let another = ours::auth(&runtime, &keys, Algorithm::RS256);
    cases.push(ours::counted_hit(another, &known));
    cases.push(ours::require(&auth, &known));
    cases.extend(ours::crowd(&keys, &known, &strangers));
    cases.extend(ours::limits(&known));
    cases.extend(others::tower_governor(&known));
    cases.push(others::governor());
    let rows = measure::measure(cases, effort);
    let mut report = Report {
        rows,
        scalings: Vec::new(),
    };

    report.rows.push(growth::remembered(&auth, &tokens));
    let many = Requests::new(&tokens);
    let rounds = effort.rounds / 5;
    let mut scale = |what, name: &str, auth, requests| {
        report
            .scalings
            .push(growth::scale(what, name, auth, requests, rounds));
    };
    scale(
        "10,000 tokens",
        "portcullis/hit-{}-threads-10000-tokens/RS256",
        Some(&auth),
        &many,
    );
    scale(
        "one hot token",
        "portcullis/hit-{}-threads-one-token/RS256",
        Some(&auth),
        &known,
    );
    scale(
        "no layer",
        "floor/service-{}-threads-10000-tokens/1",
        None,
        &many,
    );

    report.print()?;
    if let Some(path) = arguments.json {
        report.write_json(&path)?;
    }
    if let Some(path) = arguments.svg {
        std::fs::write(path, chart::draw(&report))?;
    }
    Ok(())
}
