//! Executes `docs/attacks.md`: every row is an attack on a real stack, and the response must be the
//! one in the row.
//!
//! A row that no test executes fails, an attack without a row fails, and so does a different
//! response.

mod board;
mod build;
mod claims;
mod credential;
mod header;
mod identity_headers;
mod json;
mod key_sets;
mod keys;
mod propagation;
mod rate_limits;
mod requests;
mod revocations;
mod rights;
mod secrets;
mod signature;
mod site;
mod tenants;

use std::collections::BTreeSet;

use board::{Board, Document};

/// One test per theme: a heading of the document, and the module that executes its rows.
macro_rules! themes {
    ($($module:ident $heading:literal)*) => {
        const THEMES: &[&str] = &[$($heading),*];

        mod theme {
            $(
                #[tokio::test]
                async fn $module() {
                    let mut board = super::Board::open($heading);
                    super::$module::mount(&mut board).await;
                    board.close();
                }
            )*
        }

        /// Runs all themes in sequence.
        async fn execute_everything() {
            $(
                let mut board = Board::open($heading);
                $module::mount(&mut board).await;
                board.close();
            )*
        }
    };
}

themes! {
    credential "Form of the credential"
    header "Header and algorithm"
    signature "Signature"
    claims "Claims"
    json "JSON"
    keys "Keys"
    key_sets "Key sets and where they come from"
    tenants "Tenants"
    revocations "Revocations"
    requests "Requests"
    rights "Rights"
    identity_headers "Identity headers"
    rate_limits "Rate limits"
    propagation "Propagation"
    build "Misuse"
}

#[test]
fn every_theme_has_a_module() {
    let document = Document::read();
    let headings: Vec<&str> = document.themes().collect();
    assert_eq!(headings, THEMES);
}

#[test]
fn readme_counts_the_rows() {
    let count = format!("answers to {} attacks", Document::read().rows().count());
    assert!(include_str!("../../README.md").contains(&count), "{count}");
}

#[test]
fn rows_have_unique_ids_and_no_empty_cell() {
    let mut seen = BTreeSet::new();
    for row in Document::read().rows() {
        let is_kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(
            row.id.contains('-') && row.id.chars().all(is_kebab),
            "{}: use-words-like-this",
            row.id
        );
        assert!(seen.insert(row.id.clone()), "{} occurs twice", row.id);
        for cell in [&row.attack, &row.answer, &row.who] {
            assert!(!cell.is_empty(), "{}: a cell is empty", row.id);
        }
    }
}
