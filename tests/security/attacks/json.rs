//! JSON that two parsers read differently. Every token here has a valid signature.

use std::fmt::Write;

use super::board::Board;
use super::site::{Site, present};

pub(crate) async fn mount(board: &mut Board) {
    let site = Site::open().await;
    members(board, &site).await;
    documents(board, &site).await;
}

async fn members(board: &mut Board, site: &Site) {
    let stack = site.stack().await;
    let many = (0..129).fold(String::new(), |mut all, at| {
        write!(all, r#","m{at}":{at}"#).unwrap();
        all
    });
    let deep = |levels: usize| format!(r#","deep":{}{}"#, "[".repeat(levels), "]".repeat(levels));
    for (id, header, claims) in [
        ("subject-twice", "", r#","sub":"root""#),
        ("subject-twice-once-in-escapes", "", r#","\u0073ub":"root""#),
        ("issuer-twice", "", r#","iss":"https://evil.example""#),
        ("unread-claim-twice", "", r#","tenant":"a","tenant":"b""#),
        ("algorithm-twice", r#","alg":"none""#, ""),
        ("too-many-claims", "", &*many),
        ("nested-beyond-the-stack", "", &*deep(2_000)),
        ("header-nested-beyond-the-stack", &*deep(2_000), ""),
        ("number-beyond-all-floats", "", r#","big":1e400"#),
        ("half-a-surrogate-pair", "", r#","name":"Bob \ud83d""#),
    ] {
        board.row(id, present(&stack, &site.forged(header, claims)).await);
    }
}

async fn documents(board: &mut Board, site: &Site) {
    let stack = site.stack().await;
    let good = site.claims("");
    let signed = |payload: &[u8]| site.forge.sign(site.header(""), payload);
    let latin = [
        good.trim_end_matches('}').as_bytes(),
        b",\"name\":\"\xe9\"}",
    ]
    .concat();
    let capitals = good
        .replace("\"sub\"", "\"SUB\"")
        .replace("\"aud\"", "\"Aud\"");
    for (id, payload) in [
        (
            "claims-after-the-claims",
            format!("{good}{good}").as_bytes(),
        ),
        ("byte-order-mark", format!("\u{feff}{good}").as_bytes()),
        ("claims-in-latin-1", &latin),
        ("claims-are-nothing", b""),
        ("claim-names-in-capitals", capitals.as_bytes()),
    ] {
        board.row(id, present(&stack, &signed(payload)).await);
    }
}
