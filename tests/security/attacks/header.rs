//! Headers of tokens, which are read before the signature is verified.

use std::time::Duration;

use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256};
use portcullis::{Algorithm, TestIssuer};
use serde_json::json;

use super::board::Board;
use super::site::{Site, auth, policy, present, stack};
use crate::forge::{Forge, RsaForge, hs256};

pub(crate) async fn mount(board: &mut Board) {
    let site = Site::open().await;
    algorithm(board, &site).await;
    shared_secrets(board, &site).await;
    bound_keys(board).await;
    keys_from_the_token(board, &site).await;
    extensions(board, &site).await;
    types(board, &site).await;
}

async fn algorithm(board: &mut Board, site: &Site) {
    let stack = site.stack().await;
    let named = |alg: &str| {
        let header = format!(r#"{{"alg":{alg},"kid":"forge","typ":"at+jwt"}}"#);
        site.forge.sign(header, site.claims(""))
    };
    let none = site.issuer.token("mallory").role("admin").alg_none().sign();
    board.row("not-signed-at-all", present(&stack, &none).await);
    for (id, alg) in [
        ("none-in-mixed-case", r#""nOnE""#),
        ("algorithm-for-encryption", r#""RSA-OAEP""#),
        (
            "password-with-a-billion-rounds",
            r#""PBES2-HS256+A128KW","p2c":1000000000"#,
        ),
        ("algorithm-is-a-list", r#"["ES256","none"]"#),
        ("rsa-algorithm-with-a-curve-key", r#""RS256""#),
    ] {
        board.row(id, present(&stack, &named(alg)).await);
    }
    let unnamed = site.forge.sign(r#"{"kid":"forge"}"#, site.claims(""));
    board.row("algorithm-is-missing", present(&stack, &unnamed).await);

    let only = policy(&site.issuer).algorithms([Algorithm::RS256]);
    let narrow = super::site::stack(auth(only, &site.keys, &site.clock));
    let good = site.forged("", "");
    board.row(
        "algorithm-that-was-switched-off",
        present(&narrow, &good).await,
    );
}

async fn shared_secrets(board: &mut Board, site: &Site) {
    let stack = site.stack().await;
    let header = r#"{"alg":"HS256","kid":"forge","typ":"at+jwt"}"#;
    let pem = site.forge.pem();
    let jwk = site.forge.jwk("forge");
    let claims = site.claims("");
    for (id, secret) in [
        ("public-key-pem-as-secret", pem.as_bytes()),
        (
            "public-key-pem-with-a-blank-in-front-as-secret",
            format!(" {pem}").as_bytes(),
        ),
        ("public-jwk-as-secret", jwk.to_string().as_bytes()),
        ("empty-secret", &[]),
    ] {
        board.row(id, present(&stack, &hs256(header, &claims, secret)).await);
    }
}

/// A key whose JWK names its algorithm verifies with this algorithm only.
async fn bound_keys(board: &mut Board) {
    let rsa = RsaForge::new();
    let mut jwk = rsa.jwk("rsa");
    jwk["alg"] = json!("RS256");
    let site = Site::publishing(Algorithm::ES256, [jwk], Forge::new()).await;
    let stack = stack(site.auth.clone());
    let header = |alg: &str| format!(r#"{{"alg":"{alg}","kid":"rsa"}}"#);
    let good = rsa.sign(&RSA_PKCS1_SHA256, &header("RS256"), &site.claims(""));
    assert_eq!(present(&stack, &good).await, "200", "control");
    let pss = rsa.sign(&RSA_PSS_SHA256, &header("PS256"), &site.claims(""));
    board.row(
        "key-of-one-algorithm-used-by-another",
        present(&stack, &pss).await,
    );
}

/// Each of these keys signed its token, and only the token itself claims that it is trusted.
async fn keys_from_the_token(board: &mut Board, site: &Site) {
    let stack = site.stack().await;
    let evil = TestIssuer::start().await.unwrap();
    let own = Forge::new();
    let (jwk, uri) = (own.jwk("forge"), evil.jwks_uri());
    for (id, member) in [
        ("key-in-the-header", format!(r#","jwk":{jwk}"#)),
        ("key-set-url-in-the-header", format!(r#","jku":"{uri}""#)),
        (
            "certificate-url-in-the-header",
            format!(r#","x5u":"{uri}""#),
        ),
    ] {
        let token = own.sign(site.header(&member), site.claims(""));
        board.row(id, present(&stack, &token).await);
    }
    assert_eq!(evil.fetches() + evil.discoveries(), 0);

    let named = |kid: &str| {
        let header = format!(r#"{{"alg":"ES256","kid":{kid}}}"#);
        own.sign(header, site.claims(""))
    };
    let long = format!("\"{}\"", "k".repeat(257));
    for (id, kid) in [
        ("key-name-is-a-path", r#""../../../../dev/null""#),
        ("key-name-without-end", &*long),
        ("key-name-is-a-number", "7"),
    ] {
        let before = site.issuer.fetches();
        board.row(id, present(&stack, &named(kid)).await);
        assert!(site.issuer.fetches() <= before + 1, "{id}");
        site.clock.advance(Duration::from_secs(31));
    }
}

async fn extensions(board: &mut Board, site: &Site) {
    let stack = site.stack().await;
    for (id, member) in [
        (
            "critical-extension",
            r#","crit":["x-policy"],"x-policy":"strict""#,
        ),
        ("unencoded-payload", r#","crit":["b64"],"b64":false"#),
    ] {
        board.row(id, present(&stack, &site.forged(member, "")).await);
    }
    // DEFLATE with one stored block.
    let claims = site.claims("");
    let length = u16::try_from(claims.len()).unwrap();
    let block = [
        &[1][..],
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
        claims.as_bytes(),
    ];
    let zipped = site
        .forge
        .sign(site.header(r#","zip":"DEF""#), block.concat());
    board.row("compressed-payload", present(&stack, &zipped).await);
    let inner = site.issuer.token("alice").sign();
    let nested = site.forge.sign(site.header(r#","cty":"JWT""#), inner);
    board.row("token-in-a-token", present(&stack, &nested).await);
}

async fn types(board: &mut Board, site: &Site) {
    let stack = site.stack().await;
    let typed = |typ: &str| site.issuer.token("alice").typ(typ).sign();
    board.row("logout-token", present(&stack, &typed("logout+jwt")).await);
    let strict = policy(&site.issuer).token_types(["at+jwt"]);
    let strict = super::site::stack(auth(strict, &site.keys, &site.clock));
    site.admits(&strict).await;
    board.row(
        "id-token-for-an-access-token",
        present(&strict, &typed("JWT")).await,
    );
}
