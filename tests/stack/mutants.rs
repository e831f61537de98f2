//! Valid tokens, requests and key sets with structured damage: none is accepted, and none causes a
//! server error.

use portcullis::{Quota, RateLimitLayer, RequireRoleLayer};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use super::*;
use crate::mutated::{Fixture, Mutant, Random};

/// Every failure prints its seed. The same seed makes the same mutants.
const SEED: u64 = 7519;

#[test]
fn damaged_tokens_are_rejected_as_client_errors() {
    let report = Fixture::new().run_all(SEED, 100_000);
    println!("{report}");
    assert!(report.breaches.is_empty(), "{report}");
    assert!(
        report.refused >= 90_000 && report.twins >= 5_000,
        "{report}"
    );
    // Mutants that are rejected for their form alone prove little.
    assert!(report.reasons["bad_signature"] >= 30_000, "{report}");
    for reason in [
        "expired",
        "wrong_audience",
        "wrong_issuer",
        "unknown_key",
        "wrong_type",
    ] {
        assert!(report.reasons[reason] >= 100, "{reason}: {report}");
    }
}

#[tokio::test]
async fn damaged_requests_are_rejected_as_client_errors() {
    let fixture = Fixture::new();
    let limit = RateLimitLayer::new(Quota::per_second(1_000_000)).by_subject();
    let auth = fixture.layer.clone();
    let stack = stack((auth, limit, RequireRoleLayer::any(["reader"])));
    for token in &fixture.honest {
        assert_eq!(send(&stack, request(Some(token))).await.status, 200);
    }
    let mut sent = 0;
    for number in 0..10_000 {
        let Mutant { token, damage } = fixture.mutant(&mut Random::new(SEED, number));
        let Ok(value) = http::HeaderValue::try_from(format!("Bearer {token}")) else {
            continue; // cannot be sent
        };
        // Trailing spaces are not sent, and a twin is valid.
        if fixture.honest.iter().any(|honest| honest == token.trim()) || damage == Mutant::TWIN {
            continue;
        }
        let is_grpc = number % 4 == 0;
        let mut request = if is_grpc { grpc(None) } else { request(None) };
        request.headers_mut().insert("authorization", value);
        let answer = send(&stack, request).await;
        sent += 1;
        let is_fair = match is_grpc {
            true => answer.status == 200 && matches!(answer.header("grpc-status"), "16" | "3"),
            false => matches!(answer.status.as_u16(), 400 | 401),
        };
        assert!(
            is_fair,
            "{}: number {number}, {damage}: {token}",
            answer.status
        );
    }
    assert!(sent >= 8_000, "only {sent} were sent");
}

#[test]
fn damaged_key_sets_accept_no_forged_token() {
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
