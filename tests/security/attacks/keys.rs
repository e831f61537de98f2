//! Keys that must verify nothing, and tokens that name the wrong key.

use std::time::Duration;

use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use http::StatusCode;
use portcullis::{Algorithm, Issuer, JwksCache, JwksSource, JwtAuthLayer, KeySet};
use serde_json::{Value, json};

use super::board::Board;
use super::site::{AUDIENCE, NOW, Site, present, stack};
use crate::forge::{EdForge, Forge, RsaForge, encode, hs256, with_signature};

/// A modulus of 2048 bits with the structure of CVE-2017-15361.
const ROCA: &str = "ynaYyDC0Mkd0lPwQKodBrsXN9werRvGeoULjzXzugLg9_kryp8KFTv6Ffm8gRMmJGnNy_Ge_O0Gs8udBmEcyGT7aZWFwCu1KMpsaKBzuHyAoyWgvALWbFDKxw1gwJYScdxfhsXnk4twKEWsgu9UCpjguBrlysmB9zLwI9wsXC5l5aNZis66JcBONXbhS604_Xsm-uFJFEnrr1pUMgXRQcv3lZmi8ZFOQ_UAdHXwOWnF1NPIroF41H2sDd0fNA0CthwABfWcSSr_YRVMo3TToQYzmVLWspacKQfY3uvHUsPjJHfIBiFrRkswZMlO6SI7bwfNPWBcV-oqV7SnroTYvDw";

pub(crate) async fn mount(board: &mut Board) {
    let site = Site::open().await;
    unusable(board, &site).await;
    weak(board, &site).await;
    chosen(board).await;
    withdrawn(board).await;
}

/// Publishes an unusable key next to the good keys. The good keys stay usable, and a token of the
/// unusable key is rejected.
async fn publish(site: &Site, keys: &str, token: &str) -> String {
    let own = site.issuer.jwks();
    let own = own.strip_suffix("]}").unwrap();
    let document = format!("{own},{},{keys}]}}", site.forge.jwk("forge"));
    site.issuer.serve_raw(document.clone());
    site.keys.warm().await.unwrap();
    let stack = site.stack().await;
    let answer = present(&stack, token).await;
    assert!(answer.starts_with("401"), "{keys}: {answer}");
    let set = KeySet::from_json(document.as_bytes()).unwrap();
    let mut reasons: Vec<String> = set.skipped().iter().map(|r| format!("{r:?}")).collect();
    reasons.dedup();
    format!("skipped: {}", reasons.join(" "))
}

/// A JWK with these members replaced.
fn changed(mut jwk: Value, members: Value) -> Value {
    let members = members.as_object().unwrap().clone();
    jwk.as_object_mut().unwrap().extend(members);
    jwk
}

async fn unusable(board: &mut Board, site: &Site) {
    let (key, claims) = (Forge::new(), site.claims(""));
    let token = key.sign(r#"{"alg":"ES256","kid":"bad"}"#, &claims);
    let jwk = || key.jwk("bad");
    let good = publish_good(site, &jwk(), &token).await;
    assert_eq!(good, "200", "control");

    let x = jwk()["x"].as_str().unwrap().to_owned();
    for (id, members) in [
        ("private-key-in-the-set", json!({"d": encode([7; 32])})),
        ("encryption-key-for-signatures", json!({"use": "enc"})),
        ("key-that-only-signs", json!({"key_ops": ["sign"]})),
        (
            "key-with-an-algorithm-of-another-type",
            json!({"alg": "RS256"}),
        ),
        ("curve-of-a-currency", json!({"crv": "secp256k1"})),
        ("point-off-the-curve", json!({"y": x})),
        ("key-named-by-a-number", json!({"kid": 7})),
    ] {
        let jwk = changed(jwk(), members).to_string();
        board.row(id, publish(site, &jwk, &token).await);
    }
    let twice = jwk()
        .to_string()
        .replacen('{', r#"{"use":"enc","use":"sig","#, 1);
    board.row("use-twice-in-a-key", publish(site, &twice, &token).await);
    let twins = format!("{},{}", jwk(), Forge::new().jwk("bad"));
    board.row("two-keys-of-one-name", publish(site, &twins, &token).await);

    let secret = [7; 32];
    let oct = json!({"kty": "oct", "kid": "bad", "alg": "HS256", "k": encode(secret)});
    let coded = hs256(r#"{"alg":"HS256","kid":"bad"}"#, &claims, &secret);
    board.row(
        "secret-in-the-set",
        publish(site, &oct.to_string(), &coded).await,
    );
}

async fn publish_good(site: &Site, jwk: &Value, token: &str) -> String {
    let set = json!({"keys": [jwk]}).to_string();
    site.issuer.serve_raw(set);
    site.keys.warm().await.unwrap();
    present(&stack(site.auth.clone()), token).await
}

async fn weak(board: &mut Board, site: &Site) {
    let rsa = RsaForge::new();
    let token = rsa.sign(
        &RSA_PKCS1_SHA256,
        r#"{"alg":"RS256","kid":"bad"}"#,
        &site.claims(""),
    );
    assert_eq!(
        publish_good(site, &rsa.jwk("bad"), &token).await,
        "200",
        "control"
    );
    let odd = |bytes: usize| encode(vec![0xff; bytes]);
    for (id, members) in [
        ("rsa-key-of-1024-bits", json!({"n": odd(128)})),
        ("rsa-key-of-16384-bits", json!({"n": odd(2048)})),
        ("rsa-exponent-of-three", json!({"e": encode([3])})),
        ("rsa-key-for-encryption", json!({"alg": "RSA-OAEP"})),
        ("rsa-key-of-a-broken-generator", json!({"n": ROCA})),
    ] {
        let jwk = changed(rsa.jwk("bad"), members).to_string();
        board.row(id, publish(site, &jwk, &token).await);
    }
    // The neutral element as the key and as the signature's point, and zero as its scalar: valid
    // for every message.
    let mut neutral = [0; 64];
    neutral[0] = 1;
    let ed = EdForge::new();
    let jwk = changed(ed.jwk("bad"), json!({"x": encode(&neutral[..32])})).to_string();
    let anybody = with_signature(
        &ed.sign(r#"{"alg":"EdDSA","kid":"bad"}"#, &site.claims("")),
        neutral,
    );
    board.row(
        "key-that-everybody-can-sign-for",
        publish(site, &jwk, &anybody).await,
    );
    // X25519 is for key agreement. Its keys have the same form as signing keys.
    let ed = EdForge::new();
    let token = ed.sign(r#"{"alg":"EdDSA","kid":"bad"}"#, &site.claims(""));
    let x25519 = changed(ed.jwk("bad"), json!({"crv": "X25519"})).to_string();
    board.row("key-agreement-key", publish(site, &x25519, &token).await);
}

async fn chosen(board: &mut Board) {
    let site = Site::open().await;
    let stack = site.stack().await;
    let unnamed = site.issuer.token("alice").without_kid().sign();
    board.row("unnamed-key-among-several", present(&stack, &unnamed).await);
    let borrowed = site.issuer.token("alice").kid("forge").sign();
    board.row("name-of-another-key", present(&stack, &borrowed).await);

    let (first, second) = ("https://first.example/", "https://second.example/");
    let keys = [Forge::new(), Forge::new()];
    let claims = |iss: &str| {
        let exp = NOW + 4_000_000_000;
        format!(r#"{{"iss":"{iss}","aud":"{AUDIENCE}","sub":"alice","exp":{exp}}}"#)
    };
    for (id, kids) in [
        ("key-of-another-trusted-issuer", ["one", "two"]),
        ("key-name-that-two-issuers-use", ["one", "one"]),
    ] {
        let sources = [(first, &keys[0], kids[0]), (second, &keys[1], kids[1])];
        let sources = sources.map(|(issuer, key, kid)| {
            let set = json!({"keys": [key.jwk(kid)]}).to_string();
            JwksSource::keys(issuer, KeySet::from_json(set.as_bytes()).unwrap())
        });
        let policies = [first, second].map(|issuer| Issuer::new(issuer).audience(AUDIENCE));
        let auth = JwtAuthLayer::new(policies).unwrap();
        let auth = auth.with_keys(JwksCache::new(sources).unwrap()).unwrap();
        let stack = super::site::stack(auth);
        let header = |at: usize| format!(r#"{{"alg":"ES256","kid":"{}"}}"#, kids[at]);
        let good = keys[1].sign(header(1), claims(second));
        assert_eq!(present(&stack, &good).await, "200", "control");
        let confused = keys[1].sign(header(1), claims(first));
        board.row(id, present(&stack, &confused).await);
    }
}

async fn withdrawn(board: &mut Board) {
    let site = Site::open().await;
    site.issuer.recover();
    let stack = stack(site.auth.clone());
    let old = site.issuer.token("alice").sign();
    assert_eq!(present(&stack, &old).await, "200", "control");
    let old_kid = site.issuer.rotate();
    site.issuer.retire(&old_kid);
    site.keys.warm().await.unwrap();
    board.row("key-that-the-issuer-took-back", present(&stack, &old).await);

    let new = site.issuer.token("alice").sign();
    assert_eq!(present(&stack, &new).await, "200", "control");
    site.keys
        .purge(site.issuer.issuer(), &site.issuer.key_ring().signing_kid());
    site.keys.warm().await.unwrap();
    board.row(
        "purged-key-that-is-published-still",
        present(&stack, &new).await,
    );

    let site = Site::signing_with(Algorithm::EdDSA).await;
    let stack = super::site::stack(site.auth.clone());
    site.issuer.fail_with(StatusCode::BAD_GATEWAY);
    site.clock.advance(Duration::from_secs(60 * 60));
    let kept = site.issuer.token("alice").sign();
    assert_eq!(present(&stack, &kept).await, "200", "control");
    site.clock.advance(Duration::from_secs(11 * 60));
    let late = site.issuer.token("alice").sign();
    board.row(
        "keys-of-an-issuer-that-is-gone",
        present(&stack, &late).await,
    );
}
