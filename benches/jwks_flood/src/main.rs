//! Two attacks on the key cache: a flood of tokens with unknown keys, and an issuer that stops
//! answering when its keys are due.
//!
//! Ten thousand unknown kids per second for ten seconds, together with a thousand valid tokens per
//! second, each with a signature to verify; before and after, the valid tokens alone. It fails
//! unless this crate sends at most two requests to the issuer, verifies valid tokens within twice
//! the time of the quiet seconds (99th percentile) and never uses more than 8 MiB for it; and
//! unless valid tokens take at most twice their time while the issuer accepts connections without
//! answering. jwks_client_rs runs under the same load, for comparison.
//!
//! `cargo run --release --manifest-path benches/jwks_flood/Cargo.toml`, on an idle machine with at
//! least two processors, one of which generates the flood.

#[allow(dead_code)] // shared with the comparison, which uses more of it
#[path = "../../compare/src/fixture.rs"]
mod fixture;

use std::convert::Infallible;
use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http::{Request, Response};
use jwks_client_rs::JwksClient;
use jwks_client_rs::source::WebSource;
use portcullis::{Issuer, JwksCache, JwksSource, JwtAuthLayer};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tower::{Layer, ServiceExt, service_fn};

use fixture::{AUDIENCE, Algorithm, ISSUER, Keys};

const QUIET: Duration = Duration::from_secs(5);
const FLOOD: Duration = Duration::from_secs(10);
const JUNK_A_SECOND: u64 = 10_000;
const GOOD_A_SECOND: u64 = 1_000;
/// The cooldown is 30 seconds, so that the flood is over before the next.
const MAX_FETCHES: u64 = 2;
const MAX_GROWTH: u64 = 8 << 20;
/// How long keys are fresh, in the flood and before the silence.
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_secs(1);
/// The timeout of a request.
const LONGEST: Duration = Duration::from_secs(5);

/// Whether a token is accepted.
type Verdict = Pin<Box<dyn Future<Output = bool> + Send>>;
type Verify = Arc<dyn Fn(String) -> Verdict + Send + Sync>;

/// The results of a flood or of a silence.
struct Outcome {
    before: Vec<Duration>,
    during: Vec<Duration>,
    after: Vec<Duration>,
    /// The number of answered junk tokens.
    junk: u64,
    fetches: u64,
    /// The peak memory, minus the memory before the flood.
    growth: u64,
}

/// An issuer that responds slowly and counts requests.
struct Site {
    uri: String,
    fetches: Arc<AtomicU64>,
    is_silent: Arc<AtomicBool>,
}

fn main() -> ExitCode {
    let keys = Keys::generate();
    let good = Arc::new(keys.tokens(Algorithm::ES256, 4096));
    let jwks = keys.jwks(Algorithm::ES256);

    let runtime = Runtime::new().expect("a runtime");
    let run = |verify: fn(&Site, Duration) -> Verify| {
        let site = Site::open(&jwks);
        let flooded = runtime.block_on(flood(verify(&site, LONG), &site, &good));
        let site = Site::open(&jwks);
        let silent = runtime.block_on(silence(verify(&site, SHORT), &site, &good));
        (flooded, silent)
    };
    let (ours, theirs) = (run(portcullis), run(jwks_client_rs));
    // Does not wait for requests that are still pending.
    runtime.shutdown_background();

    for (title, ours, theirs) in [
        ("flood", &ours.0, &theirs.0),
        ("silence", &ours.1, &theirs.1),
    ] {
        println!(
            "{title:14} {:>11} {:>11} {:>11} {:>11} {:>11} {:>7} {:>13} {:>10}",
            "before: p50",
            "p99",
            "during: p50",
            "p99",
            "after: p99",
            "fetches",
            "junk answered",
            "memory"
        );
        ours.print("portcullis");
        theirs.print("jwks_client_rs");
    }
    let mut failures = ours.0.failures();
    failures.extend(ours.0.failures_of_a_flood());
    failures.extend(ours.1.failures());
    for failure in &failures {
        println!("portcullis: {failure}");
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}

/// The layer as a service with defaults, except that no token is cached.
fn portcullis(site: &Site, ttl: Duration) -> Verify {
    let source = JwksSource::uri(ISSUER, &site.uri).unwrap();
    let keys = JwksCache::new([source.default_ttl(ttl).min_ttl(ttl)]).unwrap();
    let policy = Issuer::new(ISSUER).audience(AUDIENCE).with_keys(keys);
    let layer = JwtAuthLayer::new([policy]).unwrap().token_cache(0);
    let service = layer.layer(service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    Arc::new(move |token| {
        let service = service.clone();
        Box::pin(async move {
            let request =
                Request::get("/orders/42").header("authorization", format!("Bearer {token}"));
            let answer = service
                .oneshot(request.body(Body::empty()).unwrap())
                .await
                .unwrap();
            answer.status().is_success()
        })
    })
}

fn jwks_client_rs(site: &Site, ttl: Duration) -> Verify {
    let source = WebSource::builder()
        .build(site.uri.parse().unwrap())
        .unwrap();
    let client: JwksClient<WebSource> = JwksClient::builder().time_to_live(ttl).build(source);
    Arc::new(move |token| {
        let client = client.clone();
        Box::pin(async move {
            let claims = client
                .decode::<serde_json::Value>(&token, &[AUDIENCE])
                .await;
            claims.is_ok()
        })
    })
}

async fn flood(verify: Verify, site: &Site, good: &Arc<Vec<String>>) -> Outcome {
    let before = honest(&verify, good, QUIET).await;

    let (warm, held) = (site.fetches(), resident());
    let refused = Arc::new(AtomicU64::new(0));
    let junk = junk(Arc::clone(&verify), good[0].clone(), Arc::clone(&refused));
    let peak = tokio::spawn(junk);
    let during = honest(&verify, good, FLOOD).await;
    let growth = peak.await.unwrap().saturating_sub(held);
    let (junk, fetches) = (refused.load(Ordering::Relaxed), site.fetches() - warm);

    // For requests that still wait for the issuer.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = honest(&verify, good, QUIET).await;
    Outcome {
        before,
        during,
        after,
        junk,
        fetches,
        growth,
    }
}

async fn silence(verify: Verify, site: &Site, good: &Arc<Vec<String>>) -> Outcome {
    let before = honest(&verify, good, QUIET).await;
    let (warm, held) = (site.fetches(), resident());
    site.is_silent.store(true, Ordering::Relaxed);
    let during = honest(&verify, good, FLOOD).await;
    let (growth, fetches) = (resident().saturating_sub(held), site.fetches() - warm);
    site.is_silent.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = honest(&verify, good, QUIET).await;
    Outcome {
        before,
        during,
        after,
        junk: 0,
        fetches,
        growth,
    }
}

/// The time per valid token, from its start on the runtime, including queueing. The tokens do not
/// wait for each other.
async fn honest(verify: &Verify, good: &Arc<Vec<String>>, duration: Duration) -> Vec<Duration> {
    let count = duration.as_secs() * GOOD_A_SECOND;
    let mut ticks = interval(Duration::from_micros(1_000_000 / GOOD_A_SECOND));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    // Sends times instead of keeping tasks until they are joined.
    let (times, mut received) = mpsc::unbounded_channel();
    for at in 0..count as usize {
        ticks.tick().await;
        let (verify, good, times) = (Arc::clone(verify), Arc::clone(good), times.clone());
        let start = Instant::now();
        tokio::spawn(async move {
            let verdict = timeout(LONGEST, verify(good[at % good.len()].clone())).await;
            assert!(verdict.unwrap_or(true), "a good token passes");
            times.send(start.elapsed())
        });
    }
    drop(times);
    let mut times = Vec::with_capacity(count as usize);
    while let Some(time) = received.recv().await {
        times.push(time);
    }
    assert_eq!(times.len(), count as usize, "every good token passes");
    times
}

/// Sends tokens like `template` with unknown kids. Returns the peak memory.
async fn junk(verify: Verify, template: String, refused: Arc<AtomicU64>) -> u64 {
    const BATCH: u64 = 10;
    let (_, rest) = template.split_once('.').unwrap();
    let rest: Arc<str> = rest.into();
    let mut ticks = interval(Duration::from_micros(1_000_000 * BATCH / JUNK_A_SECOND));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut peak = 0;
    for at in 0..FLOOD.as_secs() * JUNK_A_SECOND {
        if at % BATCH == 0 {
            ticks.tick().await;
        }
        if at % (JUNK_A_SECOND / 20) == 0 {
            peak = peak.max(resident());
        }
        let (verify, rest, refused) =
            (Arc::clone(&verify), Arc::clone(&rest), Arc::clone(&refused));
        tokio::spawn(async move {
            let header = format!(r#"{{"alg":"ES256","typ":"JWT","kid":"junk-{at}"}}"#);
            let token = format!("{}.{rest}", BASE64URL.encode(header));
            assert!(!verify(token).await, "junk is refused");
            refused.fetch_add(1, Ordering::Relaxed);
        });
    }
    peak.max(resident())
}

/// The resident memory of this process in bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

// === impl Site ===

impl Site {
    fn open(jwks: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}/keys", listener.local_addr().unwrap());
        let fetches = Arc::new(AtomicU64::new(0));
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{jwks}",
            jwks.len()
        );
        let is_silent = Arc::<AtomicBool>::default();
        let (count, silent) = (Arc::clone(&fetches), Arc::clone(&is_silent));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, answer) = (stream.unwrap(), answer.clone());
                let (count, silent) = (Arc::clone(&count), Arc::clone(&silent));
                thread::spawn(move || {
                    let _ = stream.read(&mut [0; 4096]);
                    count.fetch_add(1, Ordering::Relaxed);
                    while silent.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(50));
                    }
                    thread::sleep(Duration::from_millis(50));
                    let _ = stream.write_all(answer.as_bytes());
                });
            }
        });
        Self {
            uri,
            fetches,
            is_silent,
        }
    }

    fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }
}

// === impl Outcome ===

impl Outcome {
    fn print(&self, name: &str) {
        let micros =
            |times: &[Duration], share| format!("{} us", percentile(times, share).as_micros());
        println!(
            "{name:14} {:>11} {:>11} {:>11} {:>11} {:>11} {:>7} {:>13} {:>6} KiB",
            micros(&self.before, 50),
            micros(&self.before, 99),
            micros(&self.during, 50),
            micros(&self.during, 99),
            micros(&self.after, 99),
            self.fetches,
            self.junk,
            self.growth >> 10,
        );
    }

    fn failures(&self) -> Vec<&'static str> {
        let quiet = [&*self.before, &*self.after].concat();
        let (quiet, during) = (percentile(&quiet, 99), percentile(&self.during, 99));
        failed([(
            during <= 2 * quiet,
            "good tokens took more than twice as long",
        )])
    }

    fn failures_of_a_flood(&self) -> Vec<&'static str> {
        let junk = FLOOD.as_secs() * JUNK_A_SECOND;
        failed([
            (
                self.fetches <= MAX_FETCHES,
                "more than two fetches in a cooldown",
            ),
            (
                self.fetches > 0,
                "no fetch at all: an unknown key is asked for",
            ),
            (self.growth <= MAX_GROWTH, "memory grew by more than 8 MiB"),
            (
                self.junk >= junk * 99 / 100,
                "not all of the flood was answered",
            ),
        ])
    }
}

fn failed<const N: usize>(checks: [(bool, &'static str); N]) -> Vec<&'static str> {
    let failed = checks.into_iter().filter(|(holds, _)| !holds);
    failed.map(|(_, problem)| problem).collect()
}

fn percentile(times: &[Duration], share: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() * share / 100]
}
