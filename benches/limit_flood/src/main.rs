//! A flood of new keys with one request each, and one client that has used up its quota and keeps
//! trying.
//!
//! `cargo run --release --manifest-path benches/limit_flood/Cargo.toml -- [KEYS]` (10 million by
//! default) runs each limiter in a separate process and prints the time and memory per key, and how
//! often the offender was admitted again. It exits with 1 if one of our limiters exceeds its
//! bounds. The memory is that of the process.

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::pin;
use std::process::{Command, ExitCode};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Response, StatusCode};
use portcullis::{PeerAddr, Quota, RateLimitLayer};
use tower::{Layer, Service, service_fn};

/// Asks a limiter for one permit of an address.
type Admits = Box<dyn FnMut(u32) -> bool>;

const NAMES: [&str; 7] = [
    "no limit, a service alone",
    "portcullis",
    "portcullis, 16 million keys",
    "tower_governor",
    "no limit, a call alone",
    "governor",
    "limitador, 1 million counters",
];

/// The quota of a caller: 100 per day. One permit returns after a quarter of an hour, long after
/// the flood.
const PERMITS: u32 = 100;

const DAY: Duration = Duration::from_secs(86_400);

/// An address that does not occur in the flood.
const OFFENDER: u32 = u32::MAX;

/// The number of keys between two requests of the offender.
const BETWEEN: u32 = 10_000;

struct Seen {
    /// Time per request in the flood, and per second request of each key in another order.
    nanos: [f64; 2],
    refused: u32,
    kilobytes: u64,
    offender: [u32; 2],
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let keys = |text: Option<&String>| text.map_or(Some(10_000_000), |text| text.parse().ok());
    match arguments.as_slice() {
        [one, name, count] if one == "one" => match (limiter(name), keys(Some(count))) {
            (Some(limiter), Some(keys)) => run(name, limiter, keys),
            _ => ExitCode::from(2),
        },
        [] | [_] => match keys(arguments.first()) {
            Some(keys) => run_all(keys),
            None => ExitCode::from(2),
        },
        _ => ExitCode::from(2),
    }
}

fn run_all(keys: u32) -> ExitCode {
    let Ok(program) = std::env::current_exe() else {
        return ExitCode::from(2);
    };
    println!(
        "{keys} keys, {PERMITS} permits a day for each; the offender has used up its own before"
    );
    println!(
        "{:32} {:>9} {:>9} {:>9} {:>8} {:>8}   offender admitted again",
        "", "ns first", "ns again", "refused", "MB", "B a key"
    );
    let mut is_well = true;
    for name in NAMES {
        let child = Command::new(&program)
            .args(["one", name, &keys.to_string()])
            .status();
        is_well &= child.is_ok_and(|status| status.success());
    }
    ExitCode::from(u8::from(!is_well))
}

fn run(name: &str, mut admits: Admits, keys: u32) -> ExitCode {
    let before = resident();
    let seen = flood(&mut admits, keys, before);
    let [admitted, asked] = seen.offender;
    println!(
        "{name:32} {:9.0} {:9.0} {:9} {:8.1} {:8.1}   {admitted} of {asked}",
        seen.nanos[0],
        seen.nanos[1],
        seen.refused,
        seen.kilobytes as f64 / 1000.0,
        seen.kilobytes as f64 * 1000.0 / f64::from(keys),
    );
    // The documented memory, and one megabyte for the process itself.
    let bytes = match name {
        "portcullis" => 17 * 1_000_000,
        "portcullis, 16 million keys" => 17 * 16_000_000,
        _ => return ExitCode::SUCCESS,
    };
    let is_well = admitted == 0 && seen.kilobytes * 1000 <= bytes + 1_000_000;
    ExitCode::from(u8::from(!is_well))
}

fn flood(admits: &mut Admits, keys: u32, before: u64) -> Seen {
    for _ in 0..PERMITS {
        admits(OFFENDER);
    }
    let mut offender = [0, 0];
    let mut refused = 0;
    let mut pass = |order: fn(u32, u32) -> u32| {
        let mut spent = Duration::ZERO;
        let mut start = Instant::now();
        for at in 0..keys {
            if at % BETWEEN == BETWEEN - 1 {
                spent += start.elapsed();
                offender[0] += u32::from(admits(OFFENDER));
                offender[1] += 1;
                start = Instant::now();
            }
            refused += u32::from(!admits(order(at, keys)));
        }
        spent += start.elapsed();
        spent.as_nanos() as f64 / f64::from(keys)
    };
    let first = pass(|at, _| at);
    // The same keys in another order: 7,654,321 is a prime.
    let again = pass(|at, keys| (u64::from(at) * 7_654_321 % u64::from(keys)) as u32);
    Seen {
        nanos: [first, again],
        refused,
        kilobytes: resident().saturating_sub(before),
        offender,
    }
}

fn limiter(name: &str) -> Option<Admits> {
    Some(match name {
        "no limit, a service alone" => calling(service_fn(trivial)),
        "portcullis" => calling(ours().layer(service_fn(trivial))),
        "portcullis, 16 million keys" => {
            let layer = ours().max_keys(NonZeroUsize::new(16_000_000)?);
            calling(layer.layer(service_fn(trivial)))
        }
        "tower_governor" => {
            let config = tower_governor::governor::GovernorConfigBuilder::default()
                .period(DAY / PERMITS)
                .burst_size(PERMITS)
                .finish()?;
            calling(tower_governor::GovernorLayer::new(config).layer(service_fn(trivial)))
        }
        "no limit, a call alone" => Box::new(|address| black_box(address) != 1),
        "governor" => {
            let quota = governor::Quota::with_period(DAY / PERMITS)?;
            let quota = quota.allow_burst(NonZeroU32::new(PERMITS)?);
            let limiter = governor::RateLimiter::<u32, _, _>::dashmap(quota);
            Box::new(move |address| limiter.check_key(&address).is_ok())
        }
        "limitador, 1 million counters" => limitador(),
        _ => return None,
    })
}

fn ours() -> RateLimitLayer {
    RateLimitLayer::new(Quota::per(PERMITS, DAY)).without_fields()
}

fn limitador() -> Admits {
    let limiter = limitador::RateLimiter::new(1_000_000);
    let variable = "address".try_into().expect("an expression");
    let limit = limitador::limit::Limit::new(
        "flood",
        PERMITS.into(),
        DAY.as_secs(),
        vec![],
        vec![variable],
    );
    limiter.add_limit(limit);
    let flood = "flood".into();
    Box::new(move |address| {
        let address = Ipv4Addr::from(address).to_string();
        let values = std::collections::HashMap::from([("address".to_owned(), address)]);
        let limited = limiter.check_rate_limited_and_update(&flood, &values.into(), 1);
        !limited.expect("memory answers").limited
    })
}

fn trivial(request: Request<Body>) -> Ready<Result<Response<Body>, Infallible>> {
    drop(black_box(request));
    ready(Ok(Response::new(Body::empty())))
}

/// Sends a request from the address through the service.
fn calling<S, R>(mut service: S) -> Admits
where
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible> + 'static,
{
    Box::new(move |address| {
        let peer = SocketAddr::from((Ipv4Addr::from(address), 50_000));
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(PeerAddr(peer));
        request.extensions_mut().insert(ConnectInfo(peer));
        let mut context = Context::from_waker(Waker::noop());
        let ready = pin!(poll_fn(|cx| service.poll_ready(cx))).poll(&mut context);
        assert!(ready.is_ready());
        match pin!(service.call(request)).poll(&mut context) {
            Poll::Ready(Ok(response)) => response.status() == StatusCode::OK,
            _ => unreachable!("nothing here has a reason to wait"),
        }
    })
}

/// The memory of this process, in kilobytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kilobytes.unwrap_or(0)
}
