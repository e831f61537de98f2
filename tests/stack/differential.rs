//! Random tokens close to validity, verified by the crate and by a simple second verifier.

use std::collections::BTreeMap;

use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use portcullis::{Clock, KeySet, ManualClock};
use serde_json::json;

use super::naive::{self, Trusted};
use super::*;
use crate::forge::{EdForge, Forge, RsaForge, encode, hs256};
use crate::mutated::Random;

const NOW: u64 = 1_800_000_000;
const CASES: u64 = 20_000;
const FIRST: &str = "https://id.example.com/";
const SECOND: &str = "https://id.example.org/";
const SHARED: &str = "https://login.example.com/";
const SECRET: &[u8; 33] = b"between the two of us, and no one";

/// Tokens that the crate rejects and the second verifier accepts, and why.
const STRICTER: &[(&str, &str)] = &[
    (
        "bad_signature",
        "several keys may be meant: the one that is left is tried, not all",
    ),
    (
        "invalid_claim",
        "a claim of the wrong type that the RFCs leave optional, an empty `sub`, a member twice, too deep",
    ),
    (
        "malformed_token",
        "a key in the header, a `kid` or `typ` that is no text, a member twice",
    ),
    ("not_yet_valid", "issued in the future"),
    ("token_too_large", "more than 8 KiB"),
    (
        "unknown_key",
        "one `kid` for two keys, or none where several keys could be meant",
    ),
    ("wrong_type", "another `typ` than an access token has"),
];

/// The signers.
struct Fixture {
    p256: Forge,
    other_p256: Forge,
    double: [Forge; 2],
    encrypts: Forge,
    rsa: RsaForge,
    ed: EdForge,
}

impl Fixture {
    fn new() -> Self {
        Self {
            p256: Forge::new(),
            other_p256: Forge::new(),
            double: [Forge::new(), Forge::new()],
            encrypts: Forge::new(),
            rsa: RsaForge::new(),
            ed: EdForge::new(),
        }
    }

    /// Two issuers with a common `kid`, one issuer with one `kid` for two keys, and one with a
    /// secret.
    fn issuers(&self) -> Vec<Trusted> {
        let mut nameless = self.ed.jwk("");
        nameless.as_object_mut().unwrap().remove("kid");
        let mut bound = self.rsa.jwk("rsa");
        bound["alg"] = json!("RS256");
        let mut encrypts = self.encrypts.jwk("enc");
        encrypts["use"] = json!("enc");
        let [one, two] = &self.double;
        let public = |iss, keys| Trusted {
            iss,
            keys,
            secret: None,
        };
        vec![
            public(FIRST, vec![self.p256.jwk("k1"), bound, nameless]),
            public(
                SECOND,
                vec![
                    self.other_p256.jwk("k1"),
                    one.jwk("twice"),
                    two.jwk("twice"),
                    self.rsa.jwk("k2"),
                    encrypts,
                ],
            ),
            Trusted {
                iss: SHARED,
                keys: Vec::new(),
                secret: Some(SECRET.to_vec()),
            },
        ]
    }

    fn token(&self, random: &mut Random) -> String {
        let signer = random.below(12);
        let (alg, kid, iss) = match signer {
            0..=2 => ("ES256", json!("k1"), FIRST),
            3..=4 => ("EdDSA", Value::Null, FIRST),
            5..=6 => ("ES256", json!("k1"), SECOND),
            7 => ("ES256", json!("twice"), SECOND),
            8 => ("ES256", json!("enc"), SECOND),
            9 => ("RS256", json!(["rsa", "k2"][random.below(2)]), FIRST),
            _ => ("HS256", Value::Null, SHARED),
        };
        let iss = if kid == "k2" { SECOND } else { iss };
        let header = header(random, alg, &kid);
        let claims = claims(random, iss);
        let token = match signer {
            0..=2 => self.p256.sign(&header, &claims),
            3..=4 => self.ed.sign(&header, &claims),
            5..=6 => self.other_p256.sign(&header, &claims),
            7 => self.double[random.below(2)].sign(&header, &claims),
            8 => self.encrypts.sign(&header, &claims),
            9 => self.rsa.sign(&RSA_PKCS1_SHA256, &header, &claims),
            _ => hs256(&header, &claims, SECRET),
        };
        match random.below(30) {
            0 => format!("{token}="),
            1 => format!("{token}."),
            2 => token.replacen('.', &format!(".{}", encode("{}")), 1),
            3 => token[..token.len() - 1].to_owned(),
            _ => token,
        }
    }
}

/// JSON with spaces, escapes and repeated members: correct libraries do not write it, but some
/// parsers accept it.
fn object(random: &mut Random, mut members: Vec<(String, Value)>) -> String {
    if random.one_in(40) {
        let again = members[random.below(members.len())].clone();
        members.push(again);
    }
    if random.one_in(3) {
        let at = random.below(members.len());
        members.swap(0, at);
    }
    let blank = random.pick(&["", "", "", " ", "\n\t"]).to_owned();
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| {
            let mut name = json!(name).to_string();
            if random.one_in(40) {
                name = name.replacen('s', "\\u0073", 1);
            }
            format!("{blank}{name}{blank}:{blank}{value}")
        })
        .collect();
    let rest = random.pick(&["", "", "", "", "", "", "", "", "", " ", "x", "{}"]);
    format!("{{{}{blank}}}{rest}", members.join(","))
}

fn header(random: &mut Random, alg: &str, kid: &Value) -> String {
    let alg = match random.below(25) {
        0 => random.pick(&[
            "none", "HS256", "RS256", "ES256", "ES384", "Ed25519", "es256",
        ]),
        _ => alg,
    };
    let mut members = vec![("alg".to_owned(), json!(alg))];
    let other_kid = |random: &mut Random| {
        one_of(
            random,
            [
                json!("k1"),
                json!("k2"),
                json!("rsa"),
                json!("twice"),
                json!("K1"),
                json!(""),
                json!(1),
                Value::Null,
            ],
        )
    };
    match random.below(10) {
        0 => members.push(("kid".into(), other_kid(random))),
        1 => {}
        _ if kid.is_null() => {}
        _ => members.push(("kid".into(), kid.clone())),
    }
    if random.one_in(3) {
        let typ = one_of(
            random,
            [
                "JWT",
                "jwt",
                "at+jwt",
                "application/at+jwt",
                "JOSE",
                "logout+jwt",
                "",
            ]
            .map(Value::from),
        );
        members.push(("typ".into(), typ));
    }
    if random.one_in(12) {
        let name = random.pick(&["crit", "jwk", "jku", "x5c", "x5t", "cty", "b64", "zip", "a"]);
        members.push((name.to_owned(), anything(random, 3)));
    }
    object(random, members)
}

fn claims(random: &mut Random, iss: &str) -> String {
    let near = |random: &mut Random, at: u64| json!(at - 2 + random.below(5) as u64);
    let iss = match random.below(15) {
        0 => one_of(
            random,
            [
                json!(FIRST),
                json!(SECOND),
                json!(SHARED),
                json!([iss]),
                json!(iss.trim_end_matches('/')),
                Value::Null,
            ],
        ),
        _ => json!(iss),
    };
    let aud = match random.below(6) {
        0 => one_of(
            random,
            [
                json!("other"),
                json!([]),
                json!(["other"]),
                json!([AUDIENCE, 7]),
                json!({AUDIENCE: 1}),
                Value::Null,
                json!([[AUDIENCE]]),
            ],
        ),
        1 | 2 => json!([AUDIENCE, "other"]),
        _ => json!(AUDIENCE),
    };
    let exp = match random.below(6) {
        0 => near(random, NOW - 60),
        1 => one_of(
            random,
            [
                json!(NOW as f64 + 0.5),
                json!(1.8e9 + 7.0),
                json!("1800000300"),
                json!(-1),
                json!(1e300),
                json!(1_u64 << 53),
                Value::Null,
                json!(0),
            ],
        ),
        _ => json!(NOW + 300),
    };
    let sub = match random.below(10) {
        0 => one_of(
            random,
            [
                json!(""),
                json!(7),
                Value::Null,
                json!(["alice"]),
                json!(" "),
                json!("\u{0}"),
            ],
        ),
        _ => json!("alice"),
    };
    let mut members = vec![("iss", iss), ("aud", aud), ("exp", exp), ("sub", sub)];
    for name in ["nbf", "iat"] {
        match random.below(6) {
            0 => members.push((name, near(random, NOW + 60))),
            1 => members.push((name, json!(NOW))),
            2 if random.one_in(3) => members.push((name, anything(random, 1))),
            _ => {}
        }
    }
    for name in ["roles", "scope", "jti", "sid", "azp", "deep", "permissions"] {
        if random.one_in(8) {
            let value = if random.one_in(2) {
                json!("a b")
            } else {
                anything(random, 3)
            };
            members.push((name, value));
        }
    }
    if random.one_in(12) {
        members.remove(random.below(members.len()));
    }
    let members = members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let text = object(random, members.collect());
    match random.below(60) {
        // Beyond the limits for depth and length.
        0 => text.replacen(
            '{',
            &format!("{{\"a\":{}{},", "[".repeat(40), "]".repeat(40)),
            1,
        ),
        1 => text.replacen('{', &format!("{{\"a\":\"{}\",", "x".repeat(9000)), 1),
        _ => text,
    }
}

fn anything(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(random.one_in(2)),
        2 => json!(NOW),
        3 => json!(-0.5),
        4 => json!("text\u{e9}\u{1f600}\n"),
        5 => json!(u64::MAX),
        6 => json!([anything(random, depth - 1), anything(random, depth - 1)]),
        _ => json!({"a": anything(random, depth - 1)}),
    }
}

fn one_of<const N: usize>(random: &mut Random, values: [Value; N]) -> Value {
    let at = random.below(N);
    values.into_iter().nth(at).unwrap()
}

fn layer(issuers: &[Trusted]) -> JwtAuthLayer {
    let policies = issuers.iter().map(|issuer| match &issuer.secret {
        Some(secret) => Issuer::new(issuer.iss)
            .with_secret(secret)
            .unwrap()
            .audience(AUDIENCE),
        None => {
            let keys = json!({ "keys": issuer.keys }).to_string();
            let keys = KeySet::from_json(keys.as_bytes()).unwrap();
            let keys = JwksCache::new([JwksSource::keys(issuer.iss, keys)]).unwrap();
            Issuer::new(issuer.iss).audience(AUDIENCE).with_keys(keys)
        }
    });
    let layer = JwtAuthLayer::new(policies).unwrap();
    layer.clock(Clock::from(ManualClock::at(NOW)))
}

#[test]
fn a_second_verifier_accepts_every_accepted_token() {
    let fixture = Fixture::new();
    let issuers = fixture.issuers();
    let layer = layer(&issuers);
    let mut accepted = 0;
    let mut stricter = BTreeMap::<&str, u64>::new();
    for number in 0..CASES {
        let token = fixture.token(&mut Random::new(7519, number));
        let plain = naive::verify(&token, &issuers, AUDIENCE, NOW as f64);
        match (layer.verify_now(&token), plain) {
            (Ok(identity), Ok(claims)) => {
                accepted += 1;
                assert_eq!(identity.subject(), claims["sub"], "number {number}");
                assert_eq!(identity.issuer(), claims["iss"], "number {number}");
                assert_eq!(*identity.claims::<Value>().unwrap(), claims);
            }
            (Ok(_), Err(problem)) => panic!("number {number}: {problem}: {token}"),
            (Err(rejection), Ok(_)) => {
                *stricter.entry(rejection.reason().code()).or_default() += 1;
            }
            (Err(_), Err(_)) => {}
        }
    }
    println!("{CASES} tokens, {accepted} accepted by both; refused by the crate alone:");
    for (reason, why) in STRICTER {
        println!("{:>6} {reason}: {why}", stricter.get(reason).unwrap_or(&0));
    }
    assert!(accepted > CASES / 12, "{accepted}");
    let reasons: Vec<&str> = stricter.keys().copied().collect();
    let known: Vec<&str> = STRICTER.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(reasons, known);
}
