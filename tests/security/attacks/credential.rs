//! The places of a token in a request, and its form before it is decoded.

use http::Uri;

use super::board::Board;
use super::site::{Site, attempt, present, request, stack, with};
use crate::forge::encode;

pub(crate) async fn mount(board: &mut Board) {
    let site = Site::open().await;
    in_the_header(board, &site).await;
    in_other_places(board, &site).await;
    parts(board, &site).await;
}

async fn in_the_header(board: &mut Board, site: &Site) {
    let stack = site.stack().await;
    let token = site.issuer.token("alice").sign();
    let two = [
        ("authorization", &*format!("Bearer {token}")),
        ("authorization", &*format!("Bearer {token}")),
    ];
    board.row("the-same-token-twice", attempt(&stack, with(&two)).await);
    let basic = [("authorization", "Basic YTpi"), two[0]];
    board.row("basic-before-bearer", attempt(&stack, with(&basic)).await);

    for (id, value) in [
        (
            "two-tokens-in-one-line",
            format!("Bearer {token}, Bearer {token}"),
        ),
        ("scheme-without-a-token", "Bearer".to_owned()),
        ("tab-after-the-scheme", format!("Bearer\t{token}")),
        (
            "bearer-somewhere-in-the-value",
            format!("Basic Bearer {token}"),
        ),
        ("token-without-a-scheme", token.clone()),
        (
            "blank-inside-the-token",
            format!("Bearer {}", token.replacen('.', " .", 1)),
        ),
        ("json-serialization", json_serialization(&token)),
    ] {
        let answer = attempt(&stack, with(&[("authorization", &value)])).await;
        board.row(id, answer);
    }
}

/// RFC 7515 section 7.2.2.
fn json_serialization(token: &str) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    format!(
        r#"Bearer {{"protected":"{}","payload":"{}","signature":"{}"}}"#,
        parts[0], parts[1], parts[2]
    )
}

async fn in_other_places(board: &mut Board, site: &Site) {
    let token = site.issuer.token("alice").sign();
    let plain = site.stack().await;
    let mut query = request(None);
    *query.uri_mut() = Uri::try_from(format!("/orders?access_token={token}")).unwrap();
    board.row("token-in-the-query", attempt(&plain, query).await);

    let query = site.auth.clone().dangerous_query_parameter("access_token");
    let query = stack(query.unwrap());
    let other = site.issuer.token("bob").sign();
    let good = format!("access_token={token}");
    for (id, parameters) in [
        ("", good.clone()),
        (
            "two-parameters-of-one-name-in-escapes",
            format!("access%5ftoken={other}&{good}"),
        ),
        ("parameter-that-is-no-text", "access_token=%ff".to_owned()),
    ] {
        let mut request = request(None);
        *request.uri_mut() = Uri::try_from(format!("/orders?{parameters}")).unwrap();
        match (id, attempt(&query, request).await) {
            ("", answer) => assert_eq!(answer, "200", "control"),
            (id, answer) => board.row(id, answer),
        }
    }

    let cookie = format!("__Host-token={token}");
    let browser = site.auth.clone().cookie("__Host-token").unwrap();
    let browser = stack(browser.websocket_protocol().header("x-token").unwrap());
    for good in [
        ("cookie", cookie.as_str()),
        ("sec-websocket-protocol", &format!("chat, bearer, {token}")),
        ("x-token", &token),
    ] {
        assert_eq!(attempt(&browser, with(&[good])).await, "200", "control");
    }
    for (id, headers) in [
        (
            "bad-header-with-a-good-cookie",
            vec![("authorization", "Bearer a.b.c"), ("cookie", &cookie)],
        ),
        (
            "two-cookies-of-one-name",
            vec![("cookie", &*format!("__Host-token=a.b.c; {cookie}"))],
        ),
        (
            "cookie-that-is-no-token",
            vec![("cookie", "__Host-token=%00")],
        ),
        (
            "announced-twice",
            vec![(
                "sec-websocket-protocol",
                &*format!("bearer, a.b.c, bearer, {token}"),
            )],
        ),
    ] {
        board.row(id, attempt(&browser, with(&headers)).await);
    }

    board.row("no-token-at-all", attempt(&plain, request(None)).await);
    let optional = stack(site.auth.clone().optional());
    assert_eq!(attempt(&optional, request(None)).await, "200", "control");
    let expired = site.issuer.token("alice").expired().sign();
    board.row(
        "bad-token-where-none-is-needed",
        present(&optional, &expired).await,
    );
    let stranger = site.issuer.token("alice").issued_by("https://evil.example");
    board.row(
        "strangers-token-where-none-is-needed",
        present(&optional, &stranger.sign()).await,
    );
}

async fn parts(board: &mut Board, site: &Site) {
    let stack = site.stack().await;
    let token = site.issuer.token("alice").sign();
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("three parts")
    };
    let stray = stray_bits(signature);
    let standard = in_another_alphabet(site);
    for (id, token) in [
        ("one-byte-too-long", "x".repeat(8193)),
        ("eight-kilobytes-of-dots", ".".repeat(8192)),
        ("two-parts", format!("{header}.{payload}")),
        ("four-parts", format!("{token}.{signature}")),
        ("words-for-parts", "a.b.c".to_owned()),
        (
            "encrypted-token",
            format!(
                "{}.{}.{}.{}.{}",
                encode(r#"{"alg":"dir","enc":"A256GCM"}"#),
                "",
                encode("iv"),
                payload,
                encode("tag")
            ),
        ),
        ("padding-at-the-end", format!("{token}==")),
        ("other-alphabet", standard),
        (
            "stray-bits-at-the-end",
            format!("{header}.{payload}.{stray}"),
        ),
    ] {
        board.row(id, present(&stack, &token).await);
    }
}

/// The last of 86 characters has two significant bits; the other bits must be zero.
fn stray_bits(signature: &str) -> String {
    let (rest, last) = signature.split_at(85);
    let next = match last {
        "A" => "B",
        "Q" => "R",
        "g" => "h",
        "w" => "x",
        other => panic!("{other}"),
    };
    format!("{rest}{next}")
}

/// A good token whose signature is spelled with `+` or `/`.
fn in_another_alphabet(site: &Site) -> String {
    loop {
        let token = site.issuer.token("alice").sign();
        let (message, signature) = token.rsplit_once('.').unwrap();
        if signature.contains(['-', '_']) {
            return format!(
                "{message}.{}",
                signature.replace('-', "+").replace('_', "/")
            );
        }
    }
}
