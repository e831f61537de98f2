//! A server that is paused, killed, and restarted empty, under a thousand requests per second.
//!
//! The test measures response times, so the machine should have no other load. `limits` tests the
//! same behavior without measuring times.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use portcullis::Quota;
use portcullis::rate_limit::{OnOutage, RedisStore};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::server::Server;
use crate::{Limited, SECRET, ask, limited, nodes};

/// The quota of a caller. The hot caller sends twice as many requests, the others send few.
const RATE: u32 = 250;

const SLOW: Duration = Duration::from_millis(5);
const TOO_SLOW: Duration = Duration::from_millis(50);
const MOST_SLOW: usize = 50;
const MOST_MEMORY: u64 = 5 << 20;
const MOST_RECOVERY: Duration = Duration::from_secs(1);

const PHASES: [&str; 5] = ["at first", "stopped", "resumed", "killed", "restarted"];

/// The results of the requests of one phase.
#[derive(Default)]
struct Phase {
    hot: AtomicU64,
    others: AtomicU64,
    refused: AtomicU64,
    unavailable: AtomicU64,
    latencies: Mutex<Vec<Duration>>,
}

struct Traffic {
    service: Limited,
    phases: [Phase; PHASES.len()],
    phase: AtomicU64,
}

#[test]
#[ignore = "a long run: 13 s for each policy and mode"]
fn every_policy_holds_under_chaos() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let mut broken = Vec::new();
    for policy in [nodes(2), OnOutage::Open, OnOutage::Closed] {
        for leased in [false, true] {
            let Some(server) = Server::start() else {
                return;
            };
            broken.extend(runtime.block_on(run(server, policy, leased)));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

async fn run(mut server: Server, policy: OnOutage, leased: bool) -> Vec<String> {
    let store = RedisStore::new(&server.url(), SECRET)
        .unwrap()
        .on_outage(policy);
    let store = if leased { store } else { store.exact() };
    let traffic = Arc::new(Traffic {
        service: limited(&store, Quota::per_second(RATE)),
        phases: Default::default(),
        phase: AtomicU64::new(0),
    });
    for phase in &traffic.phases {
        phase.latencies.lock().unwrap().reserve(8_192);
    }
    let driver = tokio::spawn(drive(Arc::clone(&traffic)));
    sleep(Duration::from_secs(2)).await;
    let memory = Memory::watch();

    traffic.enter(1);
    server.pause();
    sleep(Duration::from_secs(4)).await;
    traffic.enter(2);
    server.resume();
    let resumed = until_up(&store).await;
    sleep(Duration::from_secs(2)).await;

    traffic.enter(3);
    server.kill();
    sleep(Duration::from_secs(3)).await;
    server.restart();
    traffic.enter(4);
    let restarted = until_up(&store).await;
    sleep(Duration::from_secs(2)).await;
    driver.abort();
    let grown = memory.grown();

    let mode = if leased { "leased" } else { "exact" };
    println!("\n{policy:?}, {mode}:");
    println!(
        "{:>10}  hot caller  others  429   503   slowest  > 5 ms",
        ""
    );
    let (mut slow, mut slowest) = (0, Duration::ZERO);
    for (number, (name, phase)) in PHASES.iter().zip(&traffic.phases).enumerate() {
        let latencies = phase.latencies.lock().unwrap();
        let slow_here = latencies.iter().filter(|latency| **latency > SLOW).count();
        let slowest_here = latencies.iter().max().copied().unwrap_or_default();
        println!(
            "{name:>10}  {:>10}  {:>6}  {:>4}  {:>4}  {:>6.1}ms  {slow_here}",
            phase.hot.load(Ordering::Relaxed),
            phase.others.load(Ordering::Relaxed),
            phase.refused.load(Ordering::Relaxed),
            phase.unavailable.load(Ordering::Relaxed),
            slowest_here.as_secs_f64() * 1e3,
        );
        // Slow responses before the first fault are caused by the machine.
        if number > 0 {
            slow += slow_here;
            slowest = slowest.max(slowest_here);
        }
    }
    println!(
        "slowest {slowest:.1?}, {slow} slower than 5 ms, memory grew by {} KiB, recovered in {resumed:.1?} and {restarted:.1?}",
        grown >> 10
    );
    println!("{:?}", store.status());

    let mut broken = Vec::new();
    let mut hold = |holds: bool, what: String| {
        if !holds {
            broken.push(format!("{policy:?}, {mode}: {what}"));
        }
    };
    hold(slowest <= TOO_SLOW, format!("slowest {slowest:?}"));
    hold(slow <= MOST_SLOW, format!("{slow} slower than 5 ms"));
    hold(grown <= MOST_MEMORY, format!("memory grew by {grown}"));
    hold(
        resumed <= MOST_RECOVERY,
        format!("recovered in {resumed:?}"),
    );
    hold(
        restarted <= MOST_RECOVERY,
        format!("recovered in {restarted:?}"),
    );
    for (phase, seconds) in [(&traffic.phases[1], 4), (&traffic.phases[3], 3)] {
        let hot = phase.hot.load(Ordering::Relaxed);
        let (rate, burst) = (u64::from(RATE), u64::from(RATE));
        // The permits that the store had granted, and the burst of the fallback.
        let most = match policy {
            OnOutage::LocalFallback { .. } => burst + burst / 2 + rate / 2 * (seconds + 1),
            OnOutage::Open => 500 * (seconds + 1),
            _ => burst + burst / 4,
        };
        hold(hot <= most, format!("{hot} admitted of at most {most}"));
    }
    broken
}

async fn until_up(store: &RedisStore) -> Duration {
    let began = Instant::now();
    while !store.status().is_up && began.elapsed() < 5 * MOST_RECOVERY {
        sleep(Duration::from_millis(2)).await;
    }
    began.elapsed()
}

/// Sends one request per millisecond, without waiting for earlier ones.
async fn drive(traffic: Arc<Traffic>) {
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let others: Vec<String> = (0..50).map(|i| format!("caller {i}")).collect();
    for number in 0_usize.. {
        ticks.tick().await;
        let traffic = Arc::clone(&traffic);
        let is_hot = number.is_multiple_of(2);
        let caller = if is_hot {
            "hot".to_owned()
        } else {
            others[number / 2 % others.len()].clone()
        };
        let sent = Instant::now();
        tokio::spawn(async move {
            // A request counts in the phase in which it was sent.
            let phase = &traffic.phases[traffic.phase.load(Ordering::Relaxed) as usize];
            let status = ask(&traffic.service, &caller).await;
            phase.latencies.lock().unwrap().push(sent.elapsed());
            let count = match status {
                StatusCode::OK if is_hot => &phase.hot,
                StatusCode::OK => &phase.others,
                StatusCode::TOO_MANY_REQUESTS => &phase.refused,
                _ => &phase.unavailable,
            };
            count.fetch_add(1, Ordering::Relaxed);
        });
    }
}

impl Traffic {
    fn enter(&self, phase: u64) {
        self.phase.store(phase, Ordering::Relaxed);
    }
}

/// The peak memory of this process, sampled continuously.
struct Memory {
    first: u64,
    most: Arc<AtomicU64>,
    watcher: tokio::task::JoinHandle<()>,
}

impl Memory {
    fn watch() -> Self {
        let (first, most) = (resident(), Arc::new(AtomicU64::new(0)));
        let seen = Arc::clone(&most);
        let watcher = tokio::spawn(async move {
            loop {
                seen.fetch_max(resident(), Ordering::Relaxed);
                sleep(Duration::from_millis(20)).await;
            }
        });
        Self {
            first,
            most,
            watcher,
        }
    }

    fn grown(self) -> u64 {
        self.watcher.abort();
        self.most.load(Ordering::Relaxed).saturating_sub(self.first)
    }
}

/// In bytes; 0 without `/proc`.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}
