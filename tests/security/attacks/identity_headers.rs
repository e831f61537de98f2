//! Identity headers that a client sends.

use axum::body::Body;
use http::Request;
use portcullis::IdentityHeadersLayer;
use portcullis::propagate::IdentityField;

use super::board::Board;
use super::site::{Site, Stack, over, present, send, stack, with};

pub(crate) async fn mount(board: &mut Board) {
    let site = Site::open().await;
    let headers = IdentityHeadersLayer::new();
    let tenant = IdentityField::Claim("tenant".into());
    let headers = headers.header("x-tenant", tenant).unwrap();
    let upstream = over((site.auth.clone().optional(), headers.clone()), echo);
    spoofed(board, &site, &upstream).await;
    nominated(board, &site, &upstream).await;
    let refusing = stack((site.auth.clone(), headers));
    written_by_the_issuer(board, &site, &refusing).await;
}

/// The headers that the upstream receives, one per line.
fn echo(request: Request<Body>) -> String {
    let lines = request.headers().iter();
    lines.fold(String::new(), |all, (name, value)| {
        format!("{all}{name}: {}\n", value.to_str().unwrap())
    })
}

/// `removed` if nothing of the client is left, `replaced` if the header has the verified subject,
/// or `kept`.
async fn outcome(stack: &Stack, headers: &[(&str, &str)]) -> String {
    let answer = send(stack, with(headers)).await;
    assert_eq!(answer.status, 200);
    let seen = String::from_utf8(answer.body.to_vec()).unwrap();
    if seen.contains("made-up") {
        return format!("kept {seen}");
    }
    let callers: Vec<_> = seen
        .lines()
        .filter(|l| l.starts_with("x-user-id"))
        .collect();
    match callers[..] {
        [] => "removed".to_owned(),
        ["x-user-id: alice"] => "replaced".to_owned(),
        _ => format!("{callers:?}"),
    }
}

async fn spoofed(board: &mut Board, site: &Site, upstream: &Stack) {
    let bearer = format!("Bearer {}", site.issuer.token("alice").sign());
    let alice = ("authorization", bearer.as_str());
    assert_eq!(outcome(upstream, &[alice]).await, "replaced", "control");
    for (id, headers) in [
        ("identity-without-a-token", vec![("x-user-id", "made-up")]),
        (
            "identity-beside-a-token",
            vec![alice, ("x-user-id", "made-up")],
        ),
        (
            "identity-twice",
            vec![
                alice,
                ("x-user-id", "made-up-1"),
                ("x-user-id", "made-up-2"),
            ],
        ),
        (
            "identity-with-an-underscore",
            vec![alice, ("x_user_id", "made-up")],
        ),
        ("identity-with-dots", vec![("x.user.id", "made-up")]),
        (
            "roles-that-the-token-lacks",
            vec![alice, ("x-user-roles", "made-up")],
        ),
    ] {
        board.row(id, outcome(upstream, &headers).await);
    }
}

/// The next hop removes every header that `Connection` names, also a header that was set here.
async fn nominated(board: &mut Board, site: &Site, upstream: &Stack) {
    let bearer = format!("Bearer {}", site.issuer.token("alice").sign());
    let alice = ("authorization", bearer.as_str());
    for (id, options) in [
        ("identity-named-by-connection", vec!["x-user-id"]),
        (
            "identity-named-by-connection-on-a-second-line",
            vec!["close", "Keep-Alive, X-User-Id"],
        ),
    ] {
        let mut headers = vec![alice];
        headers.extend(options.iter().map(|option| ("connection", *option)));
        let answer = send(upstream, with(&headers)).await;
        let seen = String::from_utf8(answer.body.to_vec())
            .unwrap()
            .to_lowercase();
        let named = seen
            .lines()
            .any(|l| l.starts_with("connection") && l.contains("user"));
        let is_set = seen.contains("x-user-id: alice") && !named;
        board.row(id, if is_set { "replaced" } else { "removed" });
    }
    let address = ("x-forwarded-for", "203.0.113.7");
    let answer = send(upstream, with(&[address, ("connection", address.0)])).await;
    let seen = String::from_utf8(answer.body.to_vec()).unwrap();
    let is_kept = seen == format!("{}: {}\n", address.0, address.1);
    board.row(
        "address-named-by-connection",
        if is_kept { "kept" } else { "removed" },
    );
}

async fn written_by_the_issuer(board: &mut Board, site: &Site, stack: &Stack) {
    let token = || site.issuer.token("alice");
    assert_eq!(
        present(stack, &token().role("reader").sign()).await,
        "200",
        "control"
    );
    for (id, token) in [
        ("role-that-is-two-in-a-list", token().role("reader,admin")),
        ("role-with-outer-blanks", token().role(" admin")),
        (
            "subject-with-a-line-break",
            site.issuer.token("alice\r\nx-user-roles: admin"),
        ),
        ("subject-in-another-alphabet", site.issuer.token("аlice")),
        (
            "tenant-is-a-fraction",
            token().claim("tenant", 9_007_199_254_740_993.5),
        ),
    ] {
        board.row(id, present(stack, &token.sign()).await);
    }
}
