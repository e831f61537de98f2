//! The sources of an issuer's keys, and the algorithms that fit them.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use portcullis::Algorithm;

use super::model::{IssuerSettings, KeySource, Place};
use super::secrets::Secret;
use super::section::{Fault, Section};
use super::values::{name, text};

pub(crate) const ASYMMETRIC: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

pub(super) const HMAC: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// Possible sources. A secret may also be given as `secret_file` or `secret_base64_file`.
const SOURCES: [&str; 7] = [
    "jwks_uri",
    "jwks_file",
    "public_key_file",
    "secret",
    "secret_file",
    "secret_base64",
    "secret_base64_file",
];

/// Reads the one source of keys. Default: the issuer's metadata.
pub(super) fn read(section: &mut Section<'_>) -> Option<KeySource> {
    let given: Vec<&str> = SOURCES.into_iter().filter(|key| section.has(key)).collect();
    if let [first, second, ..] = given.as_slice() {
        let is_pair = second.strip_suffix("_file") == Some(*first);
        if !is_pair || given.len() > 2 {
            let place = section.place_of(second);
            let text = format!("and `{first}` are both key sources: keep one");
            section.problem(&place, second, &text);
        }
    }
    let uri = section.get("jwks_uri", text(name)).map(KeySource::JwksUri);
    let set = section.file("jwks_file").map(KeySource::JwksFile);
    let pem = section.file("public_key_file");
    let secret = section.secret("secret", "secret_file", long_enough);
    let encoded = section.secret("secret_base64", "secret_base64_file", |encoded| {
        let bytes = decode(encoded.trim_ascii());
        long_enough(bytes.ok_or("invalid base64")?)
    });
    let sources = [
        uri,
        set,
        pem.map(KeySource::PublicKeyFile),
        secret.or(encoded).map(KeySource::Secret),
    ];
    match sources.into_iter().flatten().next() {
        Some(source) => Some(source),
        None if given.is_empty() => Some(KeySource::Discovery),
        // A source was given, but it is invalid.
        None => None,
    }
}

fn long_enough(secret: Vec<u8>) -> Result<Secret, Fault> {
    if secret.len() < 32 {
        let text = "a secret needs at least 32 bytes (HS384: 48, HS512: 64), this one has";
        return Err(Fault::from(format!("{text} {}", secret.len())));
    }
    Ok(Secret::new(secret))
}

/// Accepts both alphabets, with and without padding.
fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabets = [&alphabet::STANDARD, &alphabet::URL_SAFE];
    let mut decoded = alphabets
        .into_iter()
        .map(|alphabet| GeneralPurpose::new(alphabet, config).decode(encoded));
    decoded.find_map(Result::ok)
}

/// The algorithms for a secret of this length (RFC 7518 section 3.2).
pub(super) fn hmac(secret: &Secret) -> Vec<Algorithm> {
    let fits = |minimum: &usize| secret.reveal().len() >= *minimum;
    let fitting = HMAC.into_iter().zip([32, 48, 64]);
    fitting
        .filter(|(_, minimum)| fits(minimum))
        .map(|(algorithm, _)| algorithm)
        .collect()
}

/// Checks that the algorithms fit the key, and reports every algorithm that does not.
pub(super) fn algorithms_fit(
    section: &Section<'_>,
    place: &Place,
    settings: &IssuerSettings,
) -> bool {
    let text = match &settings.keys {
        KeySource::Secret(secret) => {
            let usable = hmac(secret);
            let mut algorithms = settings.algorithms.iter();
            algorithms.find(|own| !usable.contains(own)).map(|other| {
                let usable: Vec<&str> = usable.iter().map(|own| own.as_str()).collect();
                let usable = usable.join(", ");
                format!("contains {other}: a secret of this length supports {usable} only")
            })
        }
        _ => {
            let mut algorithms = settings.algorithms.iter();
            let own = algorithms.find(|own| own.is_symmetric());
            own.map(|own| format!("contains {own}, which needs a `secret` instead of public keys"))
        }
    };
    if let Some(text) = &text {
        section.problem(place, "algorithms", text);
    }
    text.is_none()
}
