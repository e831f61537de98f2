//! Published test vectors, and tokens that other libraries accepted, through the public API.
//!
//! * `wycheproof`: the JOSE vectors of C2SP/wycheproof. Each token is refused for the expected
//!   reason.
//! * [`rfc`]: the examples of RFC 7515, 7517, 7519, 7520 and 8037. Each key is loaded or skipped,
//!   and each token refused for the expected reason.
//! * [`hostile`]: valid signatures over contents that must be refused.
//!
//! The public API does not check the signature if the payload is not a claims set.
//! `src/jwks/vectors_tests.rs` checks these signatures.
//!
//! `WYCHEPROOF_DIR` is the folder of the wycheproof files. Without it, their tests are skipped and
//! print so.

use std::collections::BTreeMap;

use portcullis as api;

use self::wycheproof::Vector;

mod hostile;
mod rfc;
mod wycheproof;

/// Counts the verdicts of `judge`, prints the table and compares it.
#[track_caller]
fn check<'v>(
    vectors: impl IntoIterator<Item = &'v Vector>,
    judge: impl Fn(&Vector) -> String,
    expected: &[(&str, usize)],
) {
    let mut counts = BTreeMap::<String, usize>::new();
    for vector in vectors {
        *counts.entry(judge(vector)).or_default() += 1;
    }
    println!("{counts:#?}");
    let counts: Vec<_> = counts
        .iter()
        .map(|(name, count)| (&**name, *count))
        .collect();
    assert_eq!(counts, expected);
}

#[test]
fn refuses_each_vector_unchanged() {
    let Some(vectors) = wycheproof::load() else {
        return;
    };
    assert_eq!(vectors.len(), 649);
    // If no key of the vector can be used, the layer has another key.
    let others = rfc::layer("8037 A.4");
    let judge = |vector: &Vector| {
        let layer = vector.layer().unwrap_or_else(|_| others.clone());
        let verified = layer.verify_now(&vector.token);
        let name = format!("{} {}: {}", vector.file, vector.id, vector.comment);
        let refused = verified.expect_err(&name);
        refused.reason().code().to_owned()
    };
    let (encrypted, signed): (Vec<_>, Vec<_>) = vectors.iter().partition(|v| v.encrypted);
    // Characters that are not allowed in a credential make the request invalid.
    check(
        encrypted,
        judge,
        &[("invalid_request", 2), ("malformed_token", 171)],
    );
    check(
        signed,
        judge,
        &[
            ("algorithm_not_allowed", 8),
            // The payload is JSON, but not an object, most often `123400`.
            ("invalid_claim", 57),
            ("invalid_request", 20),
            ("malformed_token", 391),
        ],
    );
}

#[test]
fn form_header_and_key_decide_as_expected() {
    let Some(vectors) = wycheproof::load() else {
        return;
    };
    let judge = |vector: &Vector| {
        let called = if vector.valid { "valid" } else { "invalid" };
        let stopped = vector.admitted().err();
        let stopped = stopped.as_deref().unwrap_or("the signature decides");
        format!("{called}, {stopped}")
    };
    let (encrypted, signed): (Vec<_>, Vec<_>) = vectors.iter().partition(|v| v.encrypted);
    // Keys for encryption are not loaded.
    check(
        encrypted,
        judge,
        &[
            ("invalid, key: `use` is not `sig`", 22),
            ("invalid, key: a shared secret", 49),
            ("invalid, key: private members", 35),
            ("valid, key: `use` is not `sig`", 24),
            ("valid, key: a shared secret", 19),
            ("valid, key: private members", 24),
        ],
    );
    check(
        signed,
        judge,
        &[
            ("invalid, algorithm_not_allowed", 10),
            ("invalid, invalid_request", 18),
            ("invalid, key: `alg` is no known signature algorithm", 2),
            (
                "invalid, key: `alg`, `kty` and `crv` contradict each other",
                2,
            ),
            ("invalid, key: `key_ops` without `verify`", 2),
            ("invalid, key: `use` is not `sig`", 4),
            ("invalid, key: a shared secret", 5),
            ("invalid, key: a weak key", 4),
            ("invalid, key: invalid key material", 1),
            ("invalid, malformed_token", 44),
            ("invalid, secret: too short", 4),
            ("invalid, secret: too short for its algorithm", 2),
            ("invalid, the signature decides", 314),
            ("invalid, unknown_key", 9),
            // Stricter than the file; `src/jwks/vectors_tests.rs` lists the cases and the reasons.
            ("valid, invalid_request", 2),
            ("valid, key: a shared secret", 2),
            ("valid, key: an unsupported `kty` or `crv`", 2),
            ("valid, the signature decides", 47),
            ("valid, unknown_key", 2),
        ],
    );
}

#[test]
fn skips_private_keys_in_a_set() {
    let Some(vectors) = wycheproof::load() else {
        return;
    };
    let judge = |vector: &Vector| match wycheproof::skipped(&vector.private) {
        Ok(keys) => format!("{} usable, skipped: {:?}", keys.len(), keys.skipped()),
        Err(skipped) => format!("skipped: {skipped:?}"),
    };
    check(
        &vectors,
        judge,
        &[
            // A public key beside a secret.
            ("1 usable, skipped: [Symmetric]", 2),
            ("skipped: [Private]", 506),
            ("skipped: [Symmetric, Symmetric]", 5),
            ("skipped: [Symmetric]", 136),
        ],
    );
}
