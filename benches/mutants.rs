//! Verifies mutants of valid tokens: `cargo bench --bench mutants -- [COUNT [SEED]]`, ten million
//! by default.
//!
//! Fails if one is accepted, reported as a server error, or causes a panic.
//! `tests/stack/mutants.rs` does the same with fewer.

#[allow(dead_code)] // shared with the attacks, which use more of it
#[path = "../tests/support/forge.rs"]
mod forge;
#[path = "../tests/support/mutants.rs"]
mod mutants;

use std::process::ExitCode;
use std::time::Instant;

#[allow(clippy::disallowed_methods)] // reports its duration
fn main() -> ExitCode {
    // `cargo bench` adds `--bench`, `cargo test --benches` adds nothing.
    let arguments = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let numbers: Vec<u64> = arguments
        .map(|word| word.parse().expect("a number"))
        .collect();
    let count = numbers.first().copied().unwrap_or(10_000_000);
    let seed = numbers.get(1).copied().unwrap_or(7519);

    let start = Instant::now();
    let report = mutants::Fixture::new().run_all(seed, count);
    let seconds = start.elapsed().as_secs_f64();

    println!("{count} mutants by seed {seed} in {seconds:.1} s");
    println!("{report}");
    ExitCode::from(u8::from(!report.breaches.is_empty()))
}
