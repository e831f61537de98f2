//! Published test vectors, and the inputs that other checkers let pass, through the public API.
//!
//! | what | from | asserted |
//! |---|---|---|
//! | `wycheproof` | the JOSE vectors of C2SP/wycheproof | no token passes; which come as far as the signature, and what stops the others |
//! | [`rfc`] | RFC 7515, 7517, 7519, 7520 and 8037 | the examples: loaded, skipped or refused for the right reason |
//! | [`hostile`] | surveys of other libraries | genuine signatures over what must be refused all the same |
//!
//! Signatures over payloads that are no claims cannot be observed from here; `src/jwks/vectors_tests.rs` judges them.
//!
//! The wycheproof files are read from the folder in `WYCHEPROOF_DIR`. Without it, that part says that it is skipped.

use std::collections::BTreeMap;

use portcullis as api;

use self::wycheproof::Vector;

mod hostile;
mod rfc;
mod wycheproof;

/// Counts what `judge` says of each, prints the table and compares it.
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
fn no_vector_is_a_token_as_it_stands() {
    let Some(vectors) = wycheproof::load() else {
        return;
    };
    assert_eq!(vectors.len(), 649);
    // Keys that cannot be used leave nothing to verify with; then any others will do.
    let others = rfc::layer("8037 A.4");
    let judge = |vector: &Vector| {
        let layer = vector.layer().unwrap_or_else(|_| others.clone());
        let verified = layer.verify_now(&vector.token);
        let name = format!("{} {}: {}", vector.file, vector.id, vector.comment);
        let refused = verified.expect_err(&name);
        refused.reason().code().to_owned()
    };
    let (encrypted, signed): (Vec<_>, Vec<_>) = vectors.iter().partition(|v| v.encrypted);
    // Characters that no credential has make a malformed request.
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
            // The payload is JSON, but no object: most often `123400`.
            ("invalid_claim", 57),
            ("invalid_request", 20),
            ("malformed_token", 391),
        ],
    );
}

#[test]
fn vectors_come_as_far_as_their_form_header_and_key_allow() {
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
    // No key for encryption is loaded, and none that decrypts.
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
            // What we are stricter about. `src/jwks/vectors_tests.rs` names the cases and says why.
            ("valid, invalid_request", 2),
            ("valid, key: a shared secret", 2),
            ("valid, key: an unsupported `kty` or `crv`", 2),
            ("valid, the signature decides", 47),
            ("valid, unknown_key", 2),
        ],
    );
}

#[test]
fn no_key_that_signs_is_taken_from_a_set() {
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
