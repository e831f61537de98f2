//! Valid tokens, requests and key sets, damaged in ways that know their structure: none is accepted, none is our fault.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::{Quota, RateLimitLayer, RequireRoleLayer};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use super::*;

/// What is done to a token. Positions are taken modulo the length of what they point into.
#[derive(Clone, Debug)]
enum Damage {
    FlipBit {
        part: usize,
        at: usize,
        bit: u8,
    },
    ReplaceByte {
        at: usize,
        byte: u8,
    },
    Cut {
        at: usize,
    },
    Insert {
        at: usize,
        text: String,
    },
    SwapParts {
        first: usize,
        second: usize,
    },
    RepeatPart {
        part: usize,
    },
    DropPart {
        part: usize,
    },
    Pad {
        part: usize,
        with: String,
    },
    Member {
        part: usize,
        name: String,
        value: Value,
    },
    RemoveMember {
        part: usize,
        at: usize,
    },
    RepeatMember {
        part: usize,
        at: usize,
    },
    Json {
        part: usize,
        json: Vec<u8>,
    },
    Nest {
        part: usize,
        depth: usize,
    },
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        Just(json!("none")),
        Just(json!("HS256")),
        Just(json!("RS256")),
        Just(json!(AUDIENCE)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::vec(("[a-z]{1,4}", inner), 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn damage() -> impl Strategy<Value = Damage> {
    let name = prop_oneof![
        proptest::sample::select(vec![
            "alg",
            "kid",
            "typ",
            "crit",
            "jwk",
            "jku",
            "x5c",
            "b64",
            "zip",
            "cty",
            "enc",
            "iss",
            "sub",
            "aud",
            "exp",
            "nbf",
            "iat",
            "jti",
            "scope",
            "roles",
            "permissions",
            "azp",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,8}",
    ];
    let part = || 0..2_usize;
    let at = any::<usize>();
    prop_oneof![
        (0..3_usize, at, 0..8_u8).prop_map(|(part, at, bit)| Damage::FlipBit { part, at, bit }),
        (at, any::<u8>()).prop_map(|(at, byte)| Damage::ReplaceByte { at, byte }),
        at.prop_map(|at| Damage::Cut { at }),
        (at, "[ -~]{1,8}").prop_map(|(at, text)| Damage::Insert { at, text }),
        (0..3_usize, 0..3_usize).prop_map(|(first, second)| Damage::SwapParts { first, second }),
        (0..3_usize).prop_map(|part| Damage::RepeatPart { part }),
        (0..3_usize).prop_map(|part| Damage::DropPart { part }),
        (0..3_usize, "[=A.+/ ]{1,3}").prop_map(|(part, with)| Damage::Pad { part, with }),
        (part(), name, value()).prop_map(|(part, name, value)| Damage::Member {
            part,
            name,
            value
        }),
        (part(), at).prop_map(|(part, at)| Damage::RemoveMember { part, at }),
        (part(), at).prop_map(|(part, at)| Damage::RepeatMember { part, at }),
        (part(), proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(part, json)| Damage::Json { part, json }),
        (part(), 1..600_usize).prop_map(|(part, depth)| Damage::Nest { part, depth }),
    ]
}

/// Bytes of a header, which may be no text.
fn apply(token: &str, damage: &Damage) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = token
        .split('.')
        .map(|part| part.as_bytes().to_vec())
        .collect();
    let decoded = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).unwrap();
    let object = |part: &[u8]| serde_json::from_slice::<Value>(&decoded(part)).unwrap();
    let encoded = |json: &[u8]| URL_SAFE_NO_PAD.encode(json).into_bytes();
    match damage {
        Damage::FlipBit { part, at, bit } => {
            let mut bytes = decoded(&parts[*part]);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            parts[*part] = encoded(&bytes);
        }
        Damage::ReplaceByte { at, byte } => {
            let mut whole = token.as_bytes().to_vec();
            let at = at % whole.len();
            whole[at] = *byte;
            return whole;
        }
        Damage::Cut { at } => return token.as_bytes()[..at % token.len()].to_vec(),
        Damage::Insert { at, text } => {
            let mut whole = token.to_owned();
            whole.insert_str(at % token.len(), text);
            return whole.into_bytes();
        }
        Damage::SwapParts { first, second } => parts.swap(*first, *second),
        Damage::RepeatPart { part } => parts.push(parts[*part].clone()),
        Damage::DropPart { part } => drop(parts.remove(*part)),
        Damage::Pad { part, with } => parts[*part].extend_from_slice(with.as_bytes()),
        Damage::Member { part, name, value } => {
            let mut json = object(&parts[*part]);
            json[name] = value.clone();
            parts[*part] = encoded(json.to_string().as_bytes());
        }
        Damage::RemoveMember { part, at } => {
            let mut json = object(&parts[*part]);
            let members = json.as_object_mut().unwrap();
            let name = members.keys().nth(at % members.len()).unwrap().clone();
            members.remove(&name);
            parts[*part] = encoded(json.to_string().as_bytes());
        }
        Damage::RepeatMember { part, at } => {
            let json = object(&parts[*part]);
            let members = json.as_object().unwrap();
            let (name, value) = members.iter().nth(at % members.len()).unwrap();
            let text = json.to_string();
            let text = format!("{{{}:{value},{}", json!(name), &text[1..]);
            parts[*part] = encoded(text.as_bytes());
        }
        Damage::Json { part, json } => parts[*part] = encoded(json),
        Damage::Nest { part, depth } => {
            let text = format!("{{\"a\":{}{}}}", "[".repeat(*depth), "]".repeat(*depth));
            parts[*part] = encoded(text.as_bytes());
        }
    }
    parts.join(&b'.')
}

/// Runs `check` on `cases` inputs inside one runtime.
fn run<S: Strategy>(
    cases: u32,
    strategy: S,
    check: impl AsyncFn(S::Value) -> Result<(), TestCaseError>,
) {
    let runtime = tokio::runtime::Handle::current();
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&strategy, |input| runtime.block_on(check(input)));
    outcome.unwrap();
}

#[test]
fn no_damaged_token_is_accepted_and_none_is_a_fault_of_ours() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (stack, tokens, _issuers) = runtime.block_on(async {
        let mut stacks = Vec::new();
        for algorithm in [
            portcullis::Algorithm::RS256,
            portcullis::Algorithm::ES256,
            portcullis::Algorithm::EdDSA,
        ] {
            let issuer = TestIssuer::start_with(algorithm, portcullis::Clock::System)
                .await
                .unwrap();
            let issuer = issuer.with_audience(AUDIENCE);
            let source = JwksSource::uri(issuer.issuer(), issuer.jwks_uri()).unwrap();
            let keys = JwksCache::new([source]).unwrap();
            keys.warm().await.unwrap();
            let policy = Issuer::new(issuer.issuer())
                .audience(AUDIENCE)
                .with_keys(keys);
            stacks.push((issuer, policy));
        }
        let tokens: Vec<String> = stacks
            .iter()
            .map(|(issuer, _)| {
                issuer
                    .token("alice")
                    .role("admin")
                    .scope("a b")
                    .claim("deep", json!({"er": [1, 2.5, null]}))
                    .sign()
            })
            .collect();
        let auth = JwtAuthLayer::new(stacks.iter().map(|(_, policy)| policy.clone())).unwrap();
        let limit = RateLimitLayer::new(Quota::per_second(1_000_000)).by_subject();
        let stack = stack((auth, limit, RequireRoleLayer::any(["admin"])));
        for token in &tokens {
            assert_eq!(
                send(&stack, request(Some(token))).await.status,
                200,
                "undamaged"
            );
        }
        // Kept alive, as an unknown key is 401 only while its issuer answers.
        (stack, tokens, stacks)
    });
    let _guard = runtime.enter();
    let sent = std::cell::Cell::new(0_u32);
    run(
        21_000,
        (0..tokens.len(), damage(), any::<bool>()),
        async |(which, damage, grpc_call)| {
            let token = &tokens[which];
            let damaged = apply(token, &damage);
            let value = [b"Bearer ", damaged.as_slice()].concat();
            let Ok(value) = http::HeaderValue::from_bytes(&value) else {
                return Ok(()); // cannot be sent
            };
            if damaged == token.as_bytes() || says_the_same(token, &damaged) {
                return Ok(());
            }
            let mut request = if grpc_call { grpc(None) } else { request(None) };
            request.headers_mut().insert("authorization", value);
            let answer = send(&stack, request).await;
            sent.set(sent.get() + 1);
            if grpc_call {
                prop_assert_eq!(answer.status, 200);
                prop_assert!(
                    matches!(answer.header("grpc-status"), "16" | "3"),
                    "{}",
                    answer.header("grpc-status")
                );
            } else {
                prop_assert!(
                    matches!(answer.status.as_u16(), 400 | 401),
                    "{}: {:?}",
                    answer.status,
                    damage
                );
            }
            Ok(())
        },
    );
    assert!(sent.get() >= 20_000, "only {} were sent", sent.get());
}

/// Damage that is none, such as a blank after the token, which HTTP does not send.
fn says_the_same(token: &str, damaged: &[u8]) -> bool {
    damaged.trim_ascii() == token.as_bytes()
}

#[test]
fn no_damaged_key_set_panics_or_lets_a_stranger_in() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ring = portcullis::KeyRing::generate(portcullis::Algorithm::ES256).unwrap();
    let jwks: Value = serde_json::from_str(&ring.jwks()).unwrap();
    let stranger = portcullis::KeyRing::generate(portcullis::Algorithm::ES256).unwrap();
    let claims = json!({"iss": "https://id.example.com/", "aud": AUDIENCE, "sub": "mallory", "exp": 4_000_000_000_u64, "roles": "admin"});
    let forged = stranger.sign(&claims).unwrap();
    let _guard = runtime.enter();
    let name = proptest::sample::select(vec![
        "kty", "crv", "x", "y", "alg", "use", "kid", "key_ops", "d", "n", "e", "k", "x5c",
    ]);
    run(
        2_000,
        (name, value(), any::<usize>(), any::<u8>()),
        async |(name, value, at, byte)| {
            let mut changed = jwks.clone();
            changed["keys"][0][name] = value;
            let mut bytes = changed.to_string().into_bytes();
            if at % 3 == 0 {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let Ok(keys) = portcullis::KeySet::from_json(&bytes) else {
                return Ok(());
            };
            let source = JwksSource::keys("https://id.example.com/", keys);
            let policy = Issuer::new("https://id.example.com/").audience(AUDIENCE);
            let auth = JwtAuthLayer::new([policy])
                .unwrap()
                .with_keys(JwksCache::new([source]).unwrap())
                .unwrap();
            let answer = send(&stack(auth), request(Some(&forged))).await;
            prop_assert_eq!(answer.status, 401);
            Ok(())
        },
    );
}
