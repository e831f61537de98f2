//! Tokens with a valid signature and invalid claims.

use serde_json::{Value, json};

use super::board::Board;
use super::site::{AUDIENCE, NOW, Site, auth, policy, present, stack};

pub(crate) async fn mount(board: &mut Board) {
    let site = Site::open().await;
    times(board, &site).await;
    issuer(board, &site).await;
    audience(board, &site).await;
    subject(board, &site).await;
    lists(board, &site).await;
}

/// The answer to tokens with such a value in a claim, or without the claim.
async fn each(board: &mut Board, site: &Site, claim: &str, rows: Vec<(&str, Option<Value>)>) {
    let stack = site.stack().await;
    for (id, value) in rows {
        let token = site.issuer.token("alice");
        let token = match value {
            Some(value) => token.claim(claim, value),
            None => token.without(claim),
        };
        board.row(id, present(&stack, &token.sign()).await);
    }
}

async fn times(board: &mut Board, site: &Site) {
    let exp = vec![
        ("expired-a-minute-ago", Some(json!(NOW - 60))),
        ("without-an-end", None),
        ("end-is-a-string", Some(json!((NOW + 300).to_string()))),
        ("end-is-before-time", Some(json!(-1))),
        ("end-is-after-time", Some(json!(u64::MAX))),
    ];
    each(board, site, "exp", exp).await;
    let nbf = vec![
        ("begins-in-two-minutes", Some(json!(NOW + 120))),
        ("begin-is-a-string", Some(json!((NOW + 120).to_string()))),
    ];
    each(board, site, "nbf", nbf).await;
    let iat = vec![
        ("issued-in-the-future", Some(json!(NOW + 120))),
        ("issued-at-a-string", Some(json!((NOW - 1).to_string()))),
    ];
    each(board, site, "iat", iat).await;
}

async fn issuer(board: &mut Board, site: &Site) {
    let own = site.issuer.issuer();
    let rows = vec![
        ("issuer-left-out", None),
        ("issuer-is-a-number", Some(json!(123))),
        ("issuer-is-another", Some(json!("https://evil.example"))),
        (
            "issuer-among-others",
            Some(json!(["https://evil.example", own])),
        ),
        ("issuer-with-a-slash-more", Some(json!(format!("{own}/")))),
        ("issuer-cut-short", Some(json!(own[..own.len() - 1]))),
        ("issuer-with-a-zero-byte", Some(json!(format!("{own}\0")))),
    ];
    each(board, site, "iss", rows).await;
}

async fn audience(board: &mut Board, site: &Site) {
    let rows = vec![
        ("audience-left-out", None),
        ("audience-is-another", Some(json!("billing-api"))),
        ("audience-is-an-object", Some(json!({ AUDIENCE: true }))),
        ("audience-list-holds-a-number", Some(json!([AUDIENCE, 5]))),
        (
            "audiences-in-one-string",
            Some(json!("orders-api billing-api")),
        ),
    ];
    each(board, site, "aud", rows).await;
}

async fn subject(board: &mut Board, site: &Site) {
    let rows = vec![
        ("subject-left-out", None),
        ("subject-is-empty", Some(json!(""))),
        ("subject-is-a-number", Some(json!(42))),
    ];
    each(board, site, "sub", rows).await;

    let by_number = policy(&site.issuer).subject_claim("userId");
    let by_number = stack(auth(by_number, &site.keys, &site.clock));
    let numbered = |id: Value| site.issuer.token("alice").claim("userId", id).sign();
    let good = present(&by_number, &numbered(json!(42))).await;
    assert_eq!(good, "200", "control");
    let unnumbered = site.issuer.token("alice").sign();
    board.row(
        "standard-subject-for-the-named-one",
        present(&by_number, &unnumbered).await,
    );
}

async fn lists(board: &mut Board, site: &Site) {
    let roles = vec![("roles-hold-a-number", Some(json!(["reader", 7])))];
    each(board, site, "roles", roles).await;

    let nested = policy(&site.issuer).roles_claim(["realm_access", "roles"]);
    let nested = stack(auth(nested, &site.keys, &site.clock));
    site.admits(&nested).await;
    let flat = site
        .issuer
        .token("alice")
        .claim("realm_access", "admin")
        .sign();
    board.row(
        "way-to-the-roles-is-no-object",
        present(&nested, &flat).await,
    );

    let required = policy(&site.issuer).required_claims(["tenant"]);
    let required = stack(auth(required, &site.keys, &site.clock));
    let tenant = |tenant: Value| site.issuer.token("alice").claim("tenant", tenant).sign();
    let good = present(&required, &tenant(json!("acme"))).await;
    assert_eq!(good, "200", "control");
    let without = site.issuer.token("alice").sign();
    board.row(
        "required-claim-left-out",
        present(&required, &without).await,
    );

    let plain = stack(site.auth.clone());
    let lax = policy(&site.issuer).dangerous_accept_bound_tokens();
    let lax = stack(auth(lax, &site.keys, &site.clock));
    for (id, member) in [
        ("bound-to-a-key-of-dpop", "jkt"),
        ("bound-to-a-certificate", "x5t#S256"),
    ] {
        let print = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        let bound = site
            .issuer
            .token("alice")
            .claim("cnf", json!({ member: print }))
            .sign();
        assert_eq!(present(&lax, &bound).await, "200", "control");
        board.row(id, present(&plain, &bound).await);
    }
}
