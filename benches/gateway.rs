//! The cost of the layers in the gateway: `wrk` against the gateway with all layers, and against
//! the same program without them.
//!
//! `cargo bench --bench gateway` builds a release gateway, starts it several times and measures the
//! processes alternately, so that other load affects all of them equally. The gateways have CPU 0,
//! `wrk` and the upstream CPU 1. It needs Linux with two CPUs, `wrk` and `taskset`. `ROUNDS` and
//! `SECONDS` set the number and the length of the rounds.

#[path = "../tests/support/process.rs"]
#[allow(dead_code)] // Tests use more of it.
mod process;

use std::convert::Infallible;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use portcullis::{Algorithm, Clock, TestIssuer};
use tokio::net::TcpListener;

use process::Running;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// A gateway and its measurements.
struct Candidate {
    name: &'static str,
    process: Running,
    url: String,
    rounds: Vec<Round>,
}

/// The output of one run of `wrk`.
#[derive(Clone, Copy)]
struct Round {
    requests_per_second: f64,
    /// CPU time of the gateway, in microseconds.
    cpu_per_request: f64,
    p99_ms: f64,
}

/// A median with its range, of values or of ratios between rounds.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

const CONNECTIONS: &str = "-c32";
const AUDIENCE: &str = "orders-api";
/// The unit of times in `/proc`, on all supported Linux systems.
const TICK_US: f64 = 10_000.0;

fn main() -> Fallible<()> {
    for tool in ["wrk", "taskset"] {
        if Command::new(tool).arg("--version").output().is_err() {
            eprintln!("SKIPPED the gateway under wrk: install {tool}");
            return Ok(());
        }
    }
    // Before threads start, because they inherit it.
    pin("1", std::process::id())?;
    let setting = |name, default| std::env::var(name).ok().map_or(Ok(default), |n| n.parse());
    let (rounds, seconds) = (setting("ROUNDS", 5_usize)?, setting("SECONDS", 4_usize)?);
    let runtime = tokio::runtime::Runtime::new()?;
    let (upstream, token, jwks) = runtime.block_on(surroundings())?;

    let folder = std::env::temp_dir().join(format!("portcullis-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("keys.json"), jwks)?;
    let none = format!("[[routes]]\npath = \"/\"\nupstream = \"{upstream}\"\npublic = true\n");
    let all = layers(&upstream);
    let uncached = format!("{all}[token_cache]\nmax_bytes = 0\n");
    let mut candidates = Vec::new();
    for (name, text) in [
        ("no layer of ours", none),
        ("all layers", all),
        ("all, without the token cache", uncached),
    ] {
        candidates.push(Candidate::start(name, &folder, &text, &token)?);
    }
    for round in 0..=rounds {
        // In alternating order, so that a slowdown over time affects all equally.
        let mut in_turn: Vec<_> = candidates.iter_mut().collect();
        if round % 2 == 1 {
            in_turn.reverse();
        }
        for candidate in in_turn {
            let measured = candidate.measure(&token, if round == 0 { 1 } else { seconds })?;
            // The first round warms up.
            if round > 0 {
                candidate.rounds.push(measured);
            }
        }
    }
    report(&candidates);
    drop(candidates);
    fs::remove_dir_all(folder)?;
    Ok(())
}

/// A service that responds at once, a token, and the key that verifies it.
async fn surroundings() -> Fallible<(String, String, String)> {
    let issuer = TestIssuer::start_with(Algorithm::RS256, Clock::System).await?;
    let token = issuer
        .token("alice")
        .audience(AUDIENCE)
        .issued_by("https://id.example.com/")
        .expires_in(Duration::from_secs(24 * 3600))
        .role("reader")
        .scope("orders:read");
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let service = service_fn(|_: Request<Incoming>| async {
                let body = Full::new(Bytes::from_static(br#"{"id":42,"status":"ok"}"#));
                Ok::<_, Infallible>(Response::new(body))
            });
            tokio::spawn(async move {
                let builder = Builder::new(TokioExecutor::new()).http1_only();
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok((url, token.sign(), issuer.jwks()))
}

/// The usual layers of a protected route. No limit is ever reached.
fn layers(upstream: &str) -> String {
    format!(
        r#"
        [[issuers]]
        issuer = "https://id.example.com/"
        jwks_file = "keys.json"
        audiences = ["{AUDIENCE}"]
        [identity_headers]
        x-user-id = "sub"
        x-user-roles = "roles"
        x-user-scopes = "scope"
        [failed_auth_limit]
        requests = 20
        per = "1m"
        [[routes]]
        path = "/"
        upstream = "{upstream}"
        require = {{ all = [{{ role = "reader" }}, {{ scope = "orders:read" }}] }}
        rate_limits = [{{ name = "per-user", key = "subject", requests = 1000000, per = "1s" }}]
        "#
    )
}

// === impl Candidate ===

impl Candidate {
    fn start(name: &'static str, folder: &Path, text: &str, token: &str) -> Fallible<Self> {
        let file = folder.join(format!("{}.toml", name.replace([' ', ','], "-")));
        // Without the access log, which would dominate the measurement.
        fs::write(
            &file,
            format!("listen = \"127.0.0.1:0\"\nlog = \"warn\"\n{text}"),
        )?;
        let file = file.to_str().ok_or("a folder without a name")?;
        let threads = [("TOKIO_WORKER_THREADS".to_owned(), "1".to_owned())];
        let mut process = Running::start_with("gateway", &["--config", file], &threads);
        // After the warnings.
        let url = loop {
            let line = process.line().ok_or("the gateway did not start")?;
            if let Some(url) = line.strip_prefix("listening on ") {
                break url.to_owned();
            }
        };
        pin("0", process.id())?;
        // Checks that authentication is active; the figures would be meaningless otherwise.
        let forged: String = format!("{}{}", &token[..token.len() - 8], "AAAAAAAA");
        let expected = if name == "no layer of ours" {
            "200"
        } else {
            "401"
        };
        for (token, expected) in [(token, "200"), (&forged, expected)] {
            let bearer = format!("Authorization: Bearer {token}");
            let asked = Command::new("curl")
                .args([
                    "-s",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    "-H",
                    &bearer,
                    &url,
                ])
                .output()?;
            let status = String::from_utf8_lossy(&asked.stdout).into_owned();
            if status != expected {
                return Err(format!("{name}: {status} in place of {expected}").into());
            }
        }
        let rounds = Vec::new();
        Ok(Self {
            name,
            process,
            url,
            rounds,
        })
    }

    fn measure(&self, token: &str, seconds: usize) -> Fallible<Round> {
        let before = self.cpu()?;
        let ran = Command::new("wrk")
            .args(["-t1", CONNECTIONS, "--latency", &format!("-d{seconds}s")])
            .args(["-H", &format!("Authorization: Bearer {token}"), &self.url])
            .output()?;
        let output = String::from_utf8_lossy(&ran.stdout);
        let used = self.cpu()? - before;
        if !ran.status.success() || output.contains("Non-2xx") || output.contains("Socket errors") {
            return Err(format!("{}: {output}", self.name).into());
        }
        // `  80001 requests in 4.00s, 10.53MB read`, `    99%    2.26ms`, `Requests/sec:  20000.12`
        let requests: f64 = output
            .lines()
            .find_map(|line| line.split_once(" requests in "))
            .ok_or("wrk printed no result")?
            .0
            .trim()
            .parse()?;
        let p99 = output
            .lines()
            .find_map(|line| line.trim().strip_prefix("99%"));
        let rate = output
            .lines()
            .find_map(|line| line.strip_prefix("Requests/sec:"));
        Ok(Round {
            requests_per_second: rate.ok_or("no rate")?.trim().parse()?,
            cpu_per_request: used / requests,
            p99_ms: milliseconds(p99.ok_or("no latency")?.trim())?,
        })
    }

    /// The CPU time that its threads have used, in microseconds.
    fn cpu(&self) -> Fallible<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The second field is a name in parentheses, and may contain any character.
        let (_, fields) = stat.rsplit_once(") ").ok_or("no such process")?;
        let times = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
        let ticks: f64 = times.sum::<Result<f64, _>>()?;
        Ok(ticks * TICK_US)
    }

    fn all(&self, of: fn(&Round) -> f64) -> Vec<f64> {
        self.rounds.iter().map(of).collect()
    }

    /// Relative to `base` in the same round.
    fn beside(&self, base: &Self, of: fn(&Round) -> f64) -> Spread {
        let pairs = self.rounds.iter().zip(&base.rounds);
        Spread::of(pairs.map(|(own, base)| of(own) / of(base)).collect())
    }
}

// === impl Spread ===

impl Spread {
    fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        let at = |at: usize| all.get(at).copied().unwrap_or(f64::NAN);
        Self {
            least: at(0),
            median: at(all.len() / 2),
            most: at(all.len().saturating_sub(1)),
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            least,
            median,
            most,
        } = self;
        write!(f, "{median:.3} ({least:.3} to {most:.3})")
    }
}

fn milliseconds(text: &str) -> Fallible<f64> {
    for (unit, factor) in [("us", 0.001), ("ms", 1.0), ("s", 1000.0)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * factor);
        }
    }
    Err(format!("{text} is no time").into())
}

/// Applies to all threads of a process.
fn pin(cpu: &str, process: u32) -> Fallible<()> {
    let pinned = Command::new("taskset")
        .args(["-acp", cpu, &process.to_string()])
        .output()?;
    if !pinned.status.success() {
        return Err(String::from_utf8_lossy(&pinned.stderr).into());
    }
    Ok(())
}

fn report(candidates: &[Candidate]) {
    let Some(base) = candidates.first() else {
        return;
    };
    println!(
        "Medians of {} rounds; ratios round by round, with the least and the most:",
        base.rounds.len()
    );
    println!(
        "{:<30} {:>10} {:<24} {:>11} {:<24} {:>7}",
        "", "requests/s", "", "CPU us/req", "", "p99 ms"
    );
    for own in candidates {
        let rate = |round: &Round| round.requests_per_second;
        let cpu = |round: &Round| round.cpu_per_request;
        let p99 = |round: &Round| round.p99_ms;
        println!(
            "{:<30} {:>10.0} {:<24} {:>11.2} {:<24} {:>7.2}",
            own.name,
            Spread::of(own.all(rate)).median,
            own.beside(base, rate).to_string(),
            Spread::of(own.all(cpu)).median,
            own.beside(base, cpu).to_string(),
            Spread::of(own.all(p99)).median,
        );
    }
}
