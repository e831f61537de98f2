//! Scaling with threads and with cached tokens.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use axum::body::Body;
use portcullis::JwtAuthLayer;
use tower::{Layer, service_fn};

use crate::fixture::Requests;
use crate::measure::{Row, call, median, thread_time};
use crate::trivial;

/// The throughput of two threads compared with one.
pub struct Scaling {
    pub what: &'static str,
    pub one: Row,
    pub two: Row,
    /// Throughput of two threads divided by that of one.
    pub ratio: f64,
    /// Valid rounds, and all rounds.
    pub rounds: (usize, usize),
}

/// The result of one thread.
struct Stretch {
    wall: Duration,
    processor: Duration,
}

const REQUESTS: u32 = 20_000;

/// Alternates between one and two threads. `auth` of `None` measures the bare service, which is the
/// machine's limit.
pub fn scale(
    what: &'static str,
    name: &str,
    auth: Option<&JwtAuthLayer>,
    requests: &Requests,
    rounds: usize,
) -> Scaling {
    let (mut ones, mut twos, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (one, two) = (stretch(1, auth, requests), stretch(2, auth, requests));
        if let (Some(one), Some(two)) = (one, two) {
            ones.push(one);
            twos.push(two / 2.0);
            ratios.push(2.0 * one / two);
        }
    }
    let counted = ratios.len();
    let row = |threads: usize, nanos: f64| Row {
        name: name.replace("{}", &threads.to_string()),
        nanos,
        allocations: f64::NAN,
        bytes: f64::NAN,
    };
    Scaling {
        what,
        one: row(1, median(ones)),
        two: row(2, median(twos)),
        ratio: median(ratios),
        rounds: (counted, rounds),
    }
}

/// Wall time per request of a thread in nanoseconds; `None` if other processes used the processors
/// meanwhile.
fn stretch(threads: usize, auth: Option<&JwtAuthLayer>, requests: &Requests) -> Option<f64> {
    let barrier = Barrier::new(threads);
    let run = || {
        // Threads of a server share no buffers, so each has a copy.
        let mut requests = requests.copied();
        match auth {
            Some(auth) => drive(
                &mut auth.layer(service_fn(trivial)),
                &mut requests,
                &barrier,
            ),
            None => drive(&mut service_fn(trivial), &mut requests, &barrier),
        }
    };
    let stretches: Vec<Stretch> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap())
            .collect()
    });
    let undisturbed = |stretch: &Stretch| stretch.processor * 100 > stretch.wall * 97;
    let wall: Duration = stretches.iter().map(|stretch| stretch.wall).sum();
    let each = wall.as_nanos() as f64 / f64::from(REQUESTS) / threads as f64;
    stretches.iter().all(undisturbed).then_some(each)
}

fn drive<S, R>(service: &mut S, requests: &mut Requests, barrier: &Barrier) -> Stretch
where
    S: tower::Service<http::Request<Body>, Response = http::Response<R>>,
{
    for _ in 0..REQUESTS / 10 {
        call(service, requests.next(Body::empty));
    }
    barrier.wait();
    let (wall, processor) = (Instant::now(), thread_time());
    for _ in 0..REQUESTS {
        call(service, requests.next(Body::empty));
    }
    Stretch {
        wall: wall.elapsed(),
        processor: thread_time() - processor,
    }
}

/// The memory per cached token, in addition to the token's own bytes.
pub fn remembered(auth: &JwtAuthLayer, tokens: &[String]) -> Row {
    let auth = auth.clone().token_cache(1 << 30);
    let mut service = auth.layer(service_fn(trivial));
    let mut requests = Requests::new(tokens);
    call(&mut service, requests.next(Body::empty));
    let session = alloc_tracker::Session::new().no_stdout().no_file();
    let operation = session.operation("remember");
    {
        let _span = operation.measure_thread().iterations(1);
        for _ in 1..tokens.len() {
            call(&mut service, requests.next(Body::empty));
        }
    }
    let report = session.to_report();
    let (_, measured) = report
        .operations()
        .next()
        .expect("one operation was measured");
    let held = measured.peak_outstanding_bytes().unwrap_or(f64::NAN);
    Row {
        name: format!("portcullis/remembered-token/{}", tokens.len()),
        nanos: f64::NAN,
        allocations: f64::NAN,
        bytes: held / (tokens.len() - 1) as f64 - tokens.last().map_or(0, String::len) as f64,
    }
}
