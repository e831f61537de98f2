//! Mutants of valid tokens, and their results. Shared by a test and a benchmark.
//!
//! A mutant is determined by a seed and its number. None may be accepted, with one exception that
//! is counted separately: every ECDSA signature (r, s) has a twin (r, n - s) that anyone can
//! compute and that is equally valid (FIPS 186-5 prefers neither). A twin covers exactly the
//! content that the issuer signed.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256};
use portcullis::{
    Algorithm, Clock, Issuer, JwksCache, JwksSource, JwtAuthLayer, KeyRing, KeySet, ManualClock,
};
use serde_json::{Value, json};

use super::forge::{
    EdForge, Forge, RsaForge, decode, der_signature, encode, hs256, signature_of, with_signature,
};

pub(crate) const AUDIENCE: &str = "orders-api";
/// An issuer with published keys.
const PUBLIC: &str = "https://id.example.com/";
/// An issuer with a shared secret.
const SECRET: &str = "https://login.example.com/";
/// An issuer pattern of which one tenant is trusted. All tenants have the keys of the first issuer.
const TENANTS: &str = "https://login.example.com/{tenant}/v2.0";
const TENANT: &str = "https://login.example.com/acme/v2.0";
const NOW: u64 = 1_800_000_000;

/// Issuers, their tokens, and the layer that accepts them.
pub(crate) struct Fixture {
    pub(crate) layer: JwtAuthLayer,
    pub(crate) honest: Vec<String>,
    /// Everything that an attacker can read: whole tokens, single members, decoded parts.
    public: Vec<Vec<u8>>,
    modulus: Vec<u8>,
    own: Signers,
    strangers: Signers,
    /// Signed with unknown keys in advance, because RSA is slow: a kid and the text of a token.
    forged: Vec<String>,
}

struct Signers {
    p256: Forge,
    ed: EdForge,
    rsa: RsaForge,
    secret: [u8; 32],
}

/// A token, and the mutation.
pub(crate) struct Mutant {
    pub(crate) damage: &'static str,
    pub(crate) token: String,
}

/// The results of many mutants.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) refused: u64,
    pub(crate) twins: u64,
    /// Mutations that restored the original.
    pub(crate) unchanged: u64,
    pub(crate) damages: BTreeMap<&'static str, u64>,
    pub(crate) reasons: BTreeMap<&'static str, u64>,
    /// Results that must not occur.
    pub(crate) breaches: Vec<String>,
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Random(u64);

type Damage = fn(&Fixture, &mut Random, &str) -> String;

const DAMAGES: &[(&str, Damage)] = &[
    ("a bit of a decoded part", flip_decoded),
    ("a bit of the text", flip_text),
    ("another character", replace_character),
    ("characters cut out, put in or repeated", cut_and_paste),
    ("parts in another order or number", shuffle_parts),
    ("parts of several tokens", splice),
    ("another spelling of base64url", respell),
    ("a member of the header", edit_header),
    ("a member of the claims", edit_claims),
    ("the same JSON, written otherwise", rewrite_json),
    ("an algorithm for another", swap_algorithm),
    ("signed by a stranger", sign_by_stranger),
    (
        "signed with a public key as the secret",
        sign_with_public_key,
    ),
    ("another signature", change_signature),
    ("signed by the issuer, and wrong", sign_what_is_wrong),
    ("bytes from nowhere", noise),
    (Mutant::TWIN, twin),
];

// === impl Mutant ===

impl Mutant {
    /// The mutation whose result is valid.
    pub(crate) const TWIN: &str = "the twin of an ECDSA signature";
}

// === impl Random ===

impl Random {
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        Self(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

// === impl Fixture ===

impl Fixture {
    pub(crate) fn new() -> Self {
        let (own, strangers) = (Signers::new(), Signers::new());
        let es384 = KeyRing::generate(Algorithm::ES384).unwrap();
        let mut keys = vec![own.p256.jwk("p256"), own.rsa.jwk("rsa"), own.ed.jwk("ed")];
        let published: Value = serde_json::from_str(&es384.jwks()).unwrap();
        keys.push(published["keys"][0].clone());
        let jwks = json!({ "keys": keys }).to_string();

        let set = KeySet::from_json(jwks.as_bytes()).unwrap();
        let sources = [PUBLIC, TENANTS].map(|issuer| JwksSource::keys(issuer, set.clone()));
        let tenants = Issuer::tenants(TENANTS).unwrap();
        let issuers = [
            Issuer::new(PUBLIC),
            Issuer::new(SECRET).with_secret(&own.secret).unwrap(),
            tenants.allow_tenants(|tenant| tenant == "acme"),
        ];
        let layer = JwtAuthLayer::new(issuers.map(|issuer| issuer.audience(AUDIENCE))).unwrap();
        let layer = layer.with_keys(JwksCache::new(sources).unwrap()).unwrap();
        let layer = layer.clock(Clock::from(ManualClock::at(NOW)));

        let mut honest = Vec::new();
        for subject in ["alice", "bob"] {
            let public = claims(PUBLIC, subject);
            let kids = ["p256", "ed", "rsa", "pss"];
            honest.extend(kids.map(|kid| own.sign(kid, &public.to_string())));
            honest.push(es384.sign(&public).unwrap());
            honest.push(own.sign("p256", &claims(TENANT, subject).to_string()));
            let claims = claims(SECRET, subject).to_string();
            honest.push(hs256(r#"{"alg":"HS256"}"#, &claims, &own.secret));
        }
        for token in &honest {
            layer.verify_now(token).expect("an undamaged token passes");
        }
        let forged = ["p256", "ed", "rsa", "pss"];
        let forged = forged.map(|kid| strangers.sign(kid, &claims(PUBLIC, "mallory").to_string()));
        Self {
            public: public_bytes(&keys, &jwks, &own.p256.pem()),
            modulus: decode(keys[1]["n"].as_str().unwrap()),
            forged: forged.into(),
            layer,
            honest,
            own,
            strangers,
        }
    }

    pub(crate) fn mutant(&self, random: &mut Random) -> Mutant {
        let (mut damage, apply) = DAMAGES[random.below(DAMAGES.len())];
        let base = &self.honest[random.below(self.honest.len())];
        let mut token = apply(self, random, base);
        // Sometimes several mutations are combined.
        if damage != Mutant::TWIN && !token.is_empty() && random.one_in(8) {
            let (_, again) = DAMAGES[1 + random.below(3)];
            token = again(self, random, &token);
            damage = "several of these";
        }
        Mutant { damage, token }
    }

    /// Verifies the mutants with these numbers.
    pub(crate) fn run(&self, seed: u64, numbers: std::ops::Range<u64>) -> Report {
        let mut report = Report::default();
        for number in numbers {
            let Mutant { damage, token } = self.mutant(&mut Random::new(seed, number));
            if self.honest.contains(&token) {
                report.unchanged += 1;
                continue;
            }
            *report.damages.entry(damage).or_default() += 1;
            let verified = catch_unwind(AssertUnwindSafe(|| self.layer.verify_now(&token)));
            match verified {
                Ok(Err(rejection)) if rejection.reason().status().is_client_error() => {
                    report.refused += 1;
                    *report.reasons.entry(rejection.reason().code()).or_default() += 1;
                }
                Ok(Ok(_)) if damage == Mutant::TWIN => report.twins += 1,
                other => {
                    let outcome = match &other {
                        Ok(Ok(_)) => "accepted",
                        Ok(Err(_)) => "blamed on us",
                        Err(_) => "a panic",
                    };
                    let keys = String::from_utf8_lossy(&self.public[0]);
                    report.breaches.push(format!(
                        "seed {seed}, number {number}, {damage}: {outcome}: {token}, keys {keys}"
                    ));
                }
            }
        }
        report
    }

    /// The same with two threads.
    pub(crate) fn run_all(&self, seed: u64, count: u64) -> Report {
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| self.run(seed, 0..count / 2));
            let second = self.run(seed, count / 2..count);
            (first.join().unwrap(), second)
        });
        first.with(second)
    }
}

// === impl Report ===

impl Report {
    fn with(mut self, other: Self) -> Self {
        self.refused += other.refused;
        self.twins += other.twins;
        self.unchanged += other.unchanged;
        self.breaches.extend(other.breaches);
        for (own, others) in [
            (&mut self.damages, other.damages),
            (&mut self.reasons, other.reasons),
        ] {
            for (name, count) in others {
                *own.entry(name).or_default() += count;
            }
        }
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            refused,
            twins,
            unchanged,
            ..
        } = self;
        writeln!(
            f,
            "{refused} refused, {twins} twins accepted, {unchanged} undid themselves, {} breaches",
            self.breaches.len()
        )?;
        for (title, counts) in [
            ("by what was done", &self.damages),
            ("by the answer", &self.reasons),
        ] {
            writeln!(f, "{title}:")?;
            for (name, count) in counts {
                writeln!(f, "{count:>10}  {name}")?;
            }
        }
        self.breaches
            .iter()
            .take(10)
            .try_for_each(|breach| writeln!(f, "{breach}"))
    }
}

// === impl Signers ===

impl Signers {
    fn new() -> Self {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).unwrap();
        Self {
            p256: Forge::new(),
            ed: EdForge::new(),
            rsa: RsaForge::new(),
            secret,
        }
    }

    fn sign(&self, kid: &str, claims: &str) -> String {
        match kid {
            "p256" => (self.p256).sign(r#"{"alg":"ES256","kid":"p256","typ":"at+jwt"}"#, claims),
            "ed" => self.ed.sign(r#"{"kid":"ed","alg":"EdDSA"}"#, claims),
            "pss" => (self.rsa).sign(&RSA_PSS_SHA256, r#"{"alg":"PS256","kid":"rsa"}"#, claims),
            _ => (self.rsa).sign(
                &RSA_PKCS1_SHA256,
                r#"{"alg":"RS256","kid":"rsa","typ":"JWT"}"#,
                claims,
            ),
        }
    }
}

fn claims(issuer: &str, subject: &str) -> Value {
    json!({
        "iss": issuer, "aud": [AUDIENCE, "another"], "sub": subject, "exp": NOW + 300, "iat": NOW, "nbf": NOW,
        "jti": "7c1d", "scope": "read write", "roles": ["reader"], "deep": {"er": [1, 2.5, null]},
    })
}

fn public_bytes(keys: &[Value], jwks: &str, pem: &str) -> Vec<Vec<u8>> {
    let mut all = vec![
        jwks.as_bytes().to_vec(),
        pem.as_bytes().to_vec(),
        Vec::new(),
    ];
    for key in keys {
        all.push(key.to_string().into_bytes());
        for name in ["n", "x", "y"] {
            if let Some(text) = key[name].as_str() {
                all.extend([text.as_bytes().to_vec(), decode(text)]);
            }
        }
    }
    let point = [
        &[4],
        &*decode(keys[0]["x"].as_str().unwrap()),
        &decode(keys[0]["y"].as_str().unwrap()),
    ];
    all.push(point.concat());
    all
}

fn parts(token: &str) -> [&str; 3] {
    let mut parts = token.split('.');
    [(); 3].map(|()| parts.next().unwrap())
}

fn object(part: &str) -> Value {
    serde_json::from_slice(&decode(part)).unwrap()
}

fn flip_decoded(_: &Fixture, random: &mut Random, token: &str) -> String {
    let mut parts = parts(token).map(decode);
    let part = &mut parts[random.below(3)];
    for _ in 0..=random.below(2) {
        let at = random.below(part.len());
        part[at] ^= 1 << random.below(8);
    }
    parts.map(encode).join(".")
}

fn flip_text(_: &Fixture, random: &mut Random, token: &str) -> String {
    let mut text = token.as_bytes().to_vec();
    let at = random.below(text.len());
    text[at] ^= 1 << random.below(7);
    String::from_utf8_lossy(&text).into_owned()
}

fn replace_character(_: &Fixture, random: &mut Random, token: &str) -> String {
    let mut text: Vec<char> = token.chars().collect();
    let at = random.below(text.len());
    text[at] = random
        .pick(&[
            ".", "=", "-", "_", "+", "/", "A", " ", "\n", "\0", "é", "%", ",",
        ])
        .chars()
        .next()
        .unwrap();
    text.into_iter().collect()
}

fn cut_and_paste(_: &Fixture, random: &mut Random, token: &str) -> String {
    let mut text: Vec<char> = token.chars().collect();
    let start = random.below(text.len());
    let end = (start + 1 + random.below(8)).min(text.len());
    let run: Vec<char> = match random.below(4) {
        0 => text.drain(start..end).collect(),
        1 => text.drain(start..).collect(),
        2 => text[start..end].to_vec(),
        _ => encode(random.bytes(3)).chars().collect(),
    };
    if random.one_in(2) || text.len() == token.len() {
        let at = random.below(text.len() + 1);
        text.splice(at..at, run);
    }
    text.into_iter().collect()
}

fn shuffle_parts(_: &Fixture, random: &mut Random, token: &str) -> String {
    let parts = parts(token);
    let count = [1, 2, 3, 3, 3, 4, 5, 6][random.below(8)];
    let chosen: Vec<&str> = (0..count)
        .map(|_| random.pick(&[parts[0], parts[1], parts[2], ""]))
        .collect();
    chosen.join(".")
}

fn splice(fixture: &Fixture, random: &mut Random, token: &str) -> String {
    let whole = parts(token);
    let mut donor = || parts(&fixture.honest[random.below(fixture.honest.len())]);
    let donors = [whole, donor(), donor()];
    [0, 1, 2]
        .map(|at| donors[random.below(donors.len())][at])
        .join(".")
}

fn respell(_: &Fixture, random: &mut Random, token: &str) -> String {
    let mut parts = parts(token).map(str::to_owned);
    let part = &mut parts[random.below(3)];
    match random.below(6) {
        0 => part.push_str(random.pick(&["=", "==", "===", "A", "AA", "\n", " ", "%3D", "\t"])),
        1 => *part = part.replace('-', "+").replace('_', "/"),
        2 => part.insert_str(0, random.pick(&["=", " ", "\u{feff}", "A", "\r\n"])),
        3 => part.insert(
            random.below(part.len()),
            *['\n', ' ', '=', '.'].get(random.below(4)).unwrap(),
        ),
        4 => *part = part.to_ascii_lowercase(),
        _ => {
            // The unused bits of the last character.
            const ALPHABET: &str =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let last = part.pop().unwrap();
            let at = ALPHABET.find(last).unwrap() ^ (1 + random.below(3));
            part.push_str(&ALPHABET[at..=at]);
        }
    }
    parts.join(".")
}

fn any_value(random: &mut Random) -> Value {
    match random.below(14) {
        0 => Value::Null,
        1 => json!(random.one_in(2)),
        2 => json!(random.next()),
        3 => json!(random.next() as i64),
        4 => json!(random.next() as f64 / 3.0),
        5 => json!(["admin"]),
        6 => json!({"a": {"b": []}}),
        7 => json!(AUDIENCE),
        8 => json!(SECRET),
        9 => json!(NOW + random.next() % 100_000),
        10 => json!([[], [null]]),
        _ => json!(random.pick(&[
            "none", "HS256", "RS256", "ES256", "admin", "rsa", "p256", "ed", "JWT", "", "mallory",
            "*"
        ])),
    }
}

/// Sets, removes or repeats a member. The text always changes.
fn edit(random: &mut Random, json: &mut Value, names: &[&str]) -> String {
    let members = json.as_object_mut().unwrap();
    let at = random.below(members.len());
    let (name, value) = members.iter().nth(at).unwrap();
    let (name, value) = (name.clone(), value.clone());
    match random.below(4) {
        0 => drop(members.remove(&name)),
        1 => {
            let other = if random.one_in(2) {
                value
            } else {
                any_value(random)
            };
            let text = json.to_string();
            return format!("{{{}:{other},{}", json!(name), &text[1..]);
        }
        _ => drop(members.insert(random.pick(names).to_owned(), any_value(random))),
    }
    json.to_string()
}

const HEADER_NAMES: &[&str] = &[
    "alg", "kid", "typ", "cty", "crit", "jwk", "jku", "x5u", "x5c", "x5t", "b64", "zip", "enc", "a",
];

fn edit_header(_: &Fixture, random: &mut Random, token: &str) -> String {
    let [header, payload, signature] = parts(token);
    let header = edit(random, &mut object(header), HEADER_NAMES);
    format!("{}.{payload}.{signature}", encode(header))
}

fn edit_claims(_: &Fixture, random: &mut Random, token: &str) -> String {
    const NAMES: &[&str] = &[
        "iss",
        "sub",
        "aud",
        "exp",
        "nbf",
        "iat",
        "jti",
        "scope",
        "scp",
        "roles",
        "permissions",
        "azp",
        "sid",
        "a",
    ];
    let [header, payload, signature] = parts(token);
    let payload = edit(random, &mut object(payload), NAMES);
    format!("{header}.{}.{signature}", encode(payload))
}

fn rewrite_json(_: &Fixture, random: &mut Random, token: &str) -> String {
    let mut parts = parts(token).map(str::to_owned);
    let part = &mut parts[random.below(2)];
    let json = object(part);
    let text = match random.below(5) {
        0 => format!(" {json}"),
        1 => serde_json::to_string_pretty(&json).unwrap(),
        2 => json.to_string().replacen('a', "\\u0061", 1),
        3 => format!("{json}{}", random.pick(&["\n", " ", "{}", "\0", "//", "}"])),
        _ => format!("\u{feff}{json}"),
    };
    *part = encode(text);
    parts.join(".")
}

fn swap_algorithm(_: &Fixture, random: &mut Random, token: &str) -> String {
    let [header, payload, signature] = parts(token);
    let mut header = object(header);
    let names = [
        "none", "None", "NONE", "", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256",
        "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA", "Ed25519", "Ed448",
        "rs256", "RSA-OAEP", "dir",
    ];
    let before = header["alg"].clone();
    header["alg"] = json!(random.pick(&names));
    if header["alg"] == before || (before == "EdDSA" && header["alg"] == "Ed25519") {
        header["alg"] = json!("none");
    }
    let signature = if random.one_in(3) { "" } else { signature };
    format!("{}.{payload}.{signature}", encode(header.to_string()))
}

fn sign_by_stranger(fixture: &Fixture, random: &mut Random, token: &str) -> String {
    let [header, payload, _] = parts(token);
    let mut header = object(header);
    let claims = decode(payload);
    let stranger = &fixture.strangers;
    match random.below(6) {
        0 => fixture.forged[random.below(fixture.forged.len())].clone(),
        1 => {
            header["alg"] = json!("ES256");
            header["jwk"] = stranger.p256.jwk("p256");
            stranger.p256.sign(header.to_string(), claims)
        }
        2 => hs256(
            &decode_text(token),
            &String::from_utf8(claims).unwrap(),
            &stranger.secret,
        ),
        3 => {
            (header["alg"], header["kid"]) = (json!("EdDSA"), json!("ed"));
            stranger
                .ed
                .sign(&header.to_string(), &String::from_utf8(claims).unwrap())
        }
        4 => stranger.p256.sign(decode_text(token), claims),
        _ => {
            let kid = random.pick(&[
                "p256", "rsa", "ed", "", "mallory", "../p256", "P256", "p256\0",
            ]);
            let header = json!({"alg": "ES256", "kid": kid});
            stranger.p256.sign(header.to_string(), claims)
        }
    }
}

fn decode_text(token: &str) -> String {
    String::from_utf8(decode(parts(token)[0])).unwrap()
}

fn sign_with_public_key(fixture: &Fixture, random: &mut Random, token: &str) -> String {
    let mut header = object(parts(token)[0]);
    header["alg"] = json!("HS256");
    let claims = String::from_utf8(decode(parts(token)[1])).unwrap();
    let claims = match random.one_in(2) {
        true => claims.replace(PUBLIC, SECRET),
        false => claims,
    };
    let secret = &fixture.public[random.below(fixture.public.len())];
    hs256(&header.to_string(), &claims, secret)
}

fn change_signature(fixture: &Fixture, random: &mut Random, token: &str) -> String {
    let old = signature_of(token);
    let length = old.len();
    let new = match random.below(14) {
        0 => old[..random.below(length)].to_vec(),
        1 => [&*old, &random.bytes(1)].concat(),
        2 => [&[0], &*old].concat(),
        3 => vec![0; length],
        4 => random.bytes(length),
        5 => vec![0xff; length],
        6 => der_signature(&old[..64.min(length)]),
        7 => old.iter().rev().copied().collect(),
        8 => [&old[length / 2..], &old[..length / 2]].concat(),
        9 => [&*old, &*old].concat(),
        10 => [&P256_ORDER[..], &P256_ORDER].concat(),
        11 => [&vec![0; length / 2][..], &old[length / 2..]].concat(),
        // A multiple of the group order added to S has no effect on the equation, so RFC 8032
        // section 5.1.7 requires verifiers to reject it.
        12 if length == 64 => {
            let s: Vec<u8> = old[32..].iter().rev().copied().collect();
            let sum = add(&s, &ED25519_ORDER);
            let s = sum[sum.len() - 32..].iter().rev();
            [&old[..32], &s.copied().collect::<Vec<_>>()].concat()
        }
        _ if length == 256 => add(&old, &fixture.modulus),
        _ => Vec::new(),
    };
    with_signature(token, new)
}

fn sign_what_is_wrong(fixture: &Fixture, random: &mut Random, token: &str) -> String {
    let mut claims = object(parts(token)[1]);
    let is_secret = claims["iss"] == SECRET;
    let mut header = match (is_secret, random.below(2)) {
        (true, _) => json!({"alg": "HS256"}),
        (_, 0) => json!({"alg": "ES256", "kid": "p256"}),
        _ => json!({"alg": "EdDSA", "kid": "ed"}),
    };
    let alg = header["alg"].clone();
    let mut repeated = "";
    match random.below(8) {
        0 => {
            claims["exp"] = one_of(
                random,
                [
                    json!(NOW - 60),
                    json!("1800000300"),
                    json!(null),
                    json!(-1),
                    json!(1_u64 << 53),
                    json!([]),
                ],
            )
        }
        1 => {
            claims["aud"] = one_of(
                random,
                [
                    json!("another"),
                    json!([]),
                    json!([7]),
                    json!(null),
                    json!([AUDIENCE, 7]),
                    json!({AUDIENCE: 1}),
                    json!("orders-api "),
                ],
            )
        }
        2 => {
            claims["iss"] = one_of(
                random,
                [
                    json!("https://id.example.com"),
                    json!([PUBLIC]),
                    json!(null),
                    json!(""),
                    json!("https://ID.example.com/"),
                    json!(TENANTS),
                    json!(TENANT.replace("acme", "globex")),
                    json!(TENANT.replace("acme", "..")),
                    json!(format!("{TENANT}/")),
                ],
            )
        }
        3 => claims["sub"] = one_of(random, [json!(""), json!(7), json!(null), json!(["alice"])]),
        4 => {
            claims[random.pick(&["nbf", "iat"])] = one_of(
                random,
                [json!(NOW + 61), json!("0"), json!(null), json!(-1)],
            )
        }
        5 => drop(
            claims
                .as_object_mut()
                .unwrap()
                .remove(random.pick(&["exp", "aud", "iss", "sub"])),
        ),
        6 => header[random.pick(&["crit", "jwk", "jku", "x5u", "x5c"])] = json!(["b64"]),
        _ if random.one_in(2) => {
            header["typ"] = json!(random.pick(&["logout+jwt", "dpop+jwt", "secevent+jwt", "JWS"]))
        }
        _ => repeated = r#""aud":"orders-api","#,
    }
    let claims = format!("{{{repeated}{}", &claims.to_string()[1..]);
    let header = header.to_string();
    match alg.as_str().unwrap() {
        "HS256" => hs256(&header, &claims, &fixture.own.secret),
        "ES256" => fixture.own.p256.sign(&header, &claims),
        _ => fixture.own.ed.sign(&header, &claims),
    }
}

fn one_of<const N: usize>(random: &mut Random, values: [Value; N]) -> Value {
    let at = random.below(N);
    values.into_iter().nth(at).unwrap()
}

fn noise(_: &Fixture, random: &mut Random, token: &str) -> String {
    let mut parts = parts(token).map(str::to_owned);
    let length = 1 + random.below(60);
    parts[random.below(3)] = match random.below(4) {
        0 => encode(random.bytes(length)),
        1 => encode("[".repeat(length * 20)),
        2 => encode(format!(
            r#"{{"alg":"ES256","a":{}1{}}}"#,
            "{\"a\":".repeat(length),
            "}".repeat(length)
        )),
        _ => String::from_utf8_lossy(&random.bytes(length)).into_owned(),
    };
    parts.join(".")
}

fn twin(fixture: &Fixture, _: &mut Random, _: &str) -> String {
    let token = &fixture.honest[0];
    let old = signature_of(token);
    with_signature(
        token,
        [&old[..32], &minus(&P256_ORDER, &old[32..])].concat(),
    )
}

const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

const ED25519_ORDER: [u8; 32] = [
    0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0xde, 0xf9, 0xde, 0xa2, 0xf7, 0x9c,
    0xd6, 0x58, 0x12, 0x63, 0x1a, 0x5c, 0xf5, 0xd3, 0xed,
];

/// Adds big-endian numbers of equal length. A carry makes the sum one byte longer.
fn add(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut sum: Vec<u8> = Vec::new();
    for (a, b) in a.iter().zip(b).rev() {
        let digit = u16::from(*a) + u16::from(*b) + carry;
        sum.push(digit as u8);
        carry = digit >> 8;
    }
    sum.extend((carry > 0).then_some(carry as u8));
    sum.reverse();
    sum
}

/// Subtracts big-endian numbers of equal length; the first is larger.
fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut difference: Vec<u8> = Vec::new();
    for (a, b) in a.iter().zip(b).rev() {
        let digit = i16::from(*a) - i16::from(*b) - borrow;
        difference.push(digit as u8);
        borrow = i16::from(digit < 0);
    }
    difference.reverse();
    difference
}
