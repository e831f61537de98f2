//! Executes `docs/jwks-faults.md`: every row is a fault of an issuer, and the whole stack must fare as its cells say.
//!
//! The issuer is a raw TCP server on loopback, the clock moves only when it is told to, and a token that must not wait is
//! given one poll. The runtime has one thread, so that nothing else runs during that poll.
#![cfg(unix)] // a port is kept while nobody listens on it

mod answers;
mod faults;
mod replies;
mod run;
mod scene;
mod site;
mod table;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

const DOCUMENT: &str = include_str!("../../docs/jwks-faults.md");

/// Most of the time goes by in waiting for issuers that hang.
const THREADS: usize = 4;

#[test]
fn every_fault_fares_as_the_document_says() {
    let rows = Mutex::new(table::rows(DOCUMENT));
    let failed = Mutex::new(Vec::new());
    let run_all = || {
        let faults = faults::all();
        loop {
            let Some(row) = rows.lock().unwrap().pop() else {
                break;
            };
            // The other test says so.
            let Some((_, fault)) = faults.iter().find(|(id, _)| *id == row.id) else {
                continue;
            };
            if catch_unwind(AssertUnwindSafe(|| execute(&row, fault))).is_err() {
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

fn execute(row: &table::Row, fault: &faults::Fault) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(run::run(row, fault));
}

#[test]
fn every_row_is_executed_and_everything_executed_has_a_row() {
    let rows = table::rows(DOCUMENT);
    let documented: BTreeSet<_> = rows.iter().map(|row| row.id.as_str()).collect();
    let faults = faults::all();
    let executed: BTreeSet<_> = faults.iter().map(|(id, _)| *id).collect();
    assert_eq!(documented, executed);
    assert_eq!(
        (rows.len(), faults.len()),
        (documented.len(), executed.len()),
        "an id stands twice"
    );
    assert!(rows.len() >= 30);
}
