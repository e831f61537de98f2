//! Mutants of tokens, judged by both backends: `verifier::both` holds them to the same answer.

#[allow(dead_code)] // the attacks forge more
#[path = "../../tests/support/forge.rs"]
mod forge;
#[allow(dead_code)] // the tests of the stack ask more
#[path = "../../tests/support/mutants.rs"]
mod mutants;

#[test]
fn both_backends_refuse_the_same_mutants() {
    let report = mutants::World::new().run_all(8017, 20_000);
    println!("{report}");
    assert!(report.breaches.is_empty(), "{report}");
    assert!(report.twins > 0 && report.reasons["bad_signature"] > 5_000);
}
