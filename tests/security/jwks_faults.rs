//! Executes `docs/jwks-faults.md`: every row is a fault of an issuer, with the responses of the
//! whole stack.
//!
//! The issuer is a raw TCP server on loopback and the clock is a manual one. The response to a
//! token that must not wait is polled once. The runtime has one thread, so no other task runs
//! during that poll.
#![cfg(unix)] // reserves a port on which no process listens

mod answers;
mod faults;
mod recovery;
mod replies;
mod run;
mod scene;
mod site;
mod table;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

const DOCUMENT: &str = include_str!("../../docs/jwks-faults.md");

/// Most of the time is spent waiting for issuers that hang.
const THREADS: usize = 4;

#[test]
fn every_fault_has_its_documented_effect() {
    let rows = Mutex::new(table::rows(DOCUMENT));
    let failed = Mutex::new(Vec::new());
    let run_all = || {
        let faults = faults::all();
        loop {
            let Some(row) = rows.lock().unwrap().pop() else {
                break;
            };
            // The other test reports it.
            let Some((_, fault)) = faults.iter().find(|(id, _)| *id == row.id) else {
                continue;
            };
            if catch_unwind(AssertUnwindSafe(|| block_on(run::run(&row, fault)))).is_err() {
                failed.lock().unwrap().push(row.id);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(run_all);
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "these rows do not hold: {failed:?}");
}

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(test);
}

#[test]
fn every_outage_ends_within_its_documented_time() {
    let rows = table::recoveries(DOCUMENT);
    assert_eq!(rows.len(), 8);
    for row in &rows {
        block_on(recovery::run(row));
    }
}

#[test]
fn every_row_is_executed() {
    let rows = table::rows(DOCUMENT);
    let documented: BTreeSet<_> = rows.iter().map(|row| row.id.as_str()).collect();
    let faults = faults::all();
    let executed: BTreeSet<_> = faults.iter().map(|(id, _)| *id).collect();
    assert_eq!(documented, executed);
    assert_eq!(
        (rows.len(), faults.len()),
        (documented.len(), executed.len()),
        "an id occurs twice"
    );
    assert!(rows.len() >= 30);
}
