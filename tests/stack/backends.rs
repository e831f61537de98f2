//! Damaged tokens whose signatures both backends judge, under `.ci/both-backends`. The verifier
//! panics if the backends disagree.

use crate::mutated::Fixture;

#[test]
fn backends_agree_on_damaged_tokens() {
    let report = Fixture::new().run_all(8017, 20_000);
    println!("{report}");
    assert!(report.breaches.is_empty(), "{report}");
    assert!(report.twins > 0 && report.reasons["bad_signature"] > 5_000);
}
