//! The printed report, and the saved results.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::fixture::Algorithm;
use crate::growth::Scaling;
use crate::measure::Row;

/// The results of one run.
pub struct Report {
    pub rows: Vec<Row>,
    pub scalings: Vec<Scaling>,
}

/// The versions that were measured.
const LOCKED: &str = include_str!("../Cargo.lock");

const OTHERS: [&str; 6] = [
    "jwt-authorizer",
    "tower-oauth2-resource-server",
    "axum-jwt-auth",
    "aliri_tower",
    "tower_governor",
    "governor",
];

// === impl Report ===

impl Report {
    pub fn find(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The time of the fastest other crate for a request with a token of this algorithm.
    pub fn fastest_other(&self, algorithm: Algorithm) -> Option<&Row> {
        let ending = format!("/request/{}", algorithm.as_str());
        let requests = self.rows.iter().filter(|row| row.name.ends_with(&ending));
        requests.min_by(|a, b| a.nanos.total_cmp(&b.nanos))
    }

    pub fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}\n", machine())?;
        writeln!(
            out,
            "Processor time of one request beyond the bare service (`floor/`); `raw/` is the signature alone.\n"
        )?;
        writeln!(
            out,
            "{:<46} {:>12} {:>12} {:>8}",
            "case", "nanoseconds", "allocations", "bytes"
        )?;
        for row in &self.rows {
            let number = |value: f64, digits| match value {
                value if value.is_nan() => "-".to_owned(),
                value => format!("{value:.digits$}"),
            };
            let (nanos, allocations) = (number(row.nanos, 0), number(row.allocations, 1));
            let bytes = number(row.bytes, 0);
            writeln!(
                out,
                "{:<46} {nanos:>12} {allocations:>12} {bytes:>8}",
                row.name
            )?;
        }
        writeln!(out)?;
        for algorithm in Algorithm::ALL {
            self.print_ratios(algorithm, &mut out)?;
        }
        for scaling in &self.scalings {
            let (counted, all) = scaling.rounds;
            writeln!(
                out,
                "{}: two threads do {:.2} times the work of one ({counted} undisturbed rounds of {all})",
                scaling.what, scaling.ratio
            )?;
        }
        Ok(())
    }

    fn print_ratios(&self, algorithm: Algorithm, out: &mut impl Write) -> io::Result<()> {
        let name = algorithm.as_str();
        let find = |case: &str| self.find(&format!("{case}/{name}"));
        let (hit, miss, raw) = (
            find("portcullis/hit"),
            find("portcullis/miss"),
            find("raw/verify"),
        );
        if let (Some(hit), Some(other)) = (hit, self.fastest_other(algorithm)) {
            let times = other.nanos / hit.nanos;
            writeln!(
                out,
                "{name} seen before: {times:.0} times less than {}",
                other.name
            )?;
        }
        if let (Some(miss), Some(raw)) = (miss, raw) {
            let times = miss.nanos / raw.nanos;
            writeln!(
                out,
                "{name} never seen: {times:.2} times the signature alone"
            )?;
        }
        Ok(())
    }

    /// One JSON object per line. 0 means that nothing was measured.
    pub fn write_json(&self, path: &Path) -> io::Result<()> {
        let number = |value: f64| {
            if value.is_nan() {
                0.0
            } else {
                (value * 100.0).round() / 100.0
            }
        };
        let object = |row: &Row| -> Value {
            json!({
                "name": row.name,
                "ns": number(row.nanos),
                "allocs": number(row.allocations),
                "bytes": number(row.bytes).round() as i64,
            })
        };
        let scaled = self
            .scalings
            .iter()
            .flat_map(|scaling| [&scaling.one, &scaling.two]);
        let lines = self.rows.iter().chain(scaled);
        let lines: Vec<String> = lines.map(|row| object(row).to_string()).collect();
        fs::write(path, lines.join("\n") + "\n")
    }
}

/// The machine, the time and the versions of the measurement.
pub fn machine() -> String {
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |line| {
        line.trim_start_matches([' ', '\t', ':'])
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let date = chrono::Utc::now().format("%Y-%m-%d");
    let others: Vec<String> = OTHERS
        .iter()
        .map(|name| format!("{name} {}", version(name)))
        .collect();
    format!(
        "{date}; {model}, {cores} processors; {} {}; {}\nportcullis {}, aws-lc-rs {}; {}",
        std::env::consts::OS,
        fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim(),
        rustc(),
        version("portcullis"),
        version("aws-lc-rs"),
        others.join(", ")
    )
}

fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| "unknown compiler".to_owned())
}

fn version(name: &str) -> &'static str {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let found = LOCKED.split_once(entry.as_str());
    let version = found.and_then(|(_, rest)| rest.split('"').next());
    version.unwrap_or_default()
}
