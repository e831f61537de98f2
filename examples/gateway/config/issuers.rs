//! `[[issuers]]`: whose tokens are accepted, and where the keys come from.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use portcullis::Algorithm;

use super::model::{ClaimPlace, File, IssuerSettings, JwksSettings, KeySource, Place};
use super::secrets::Secret;
use super::section::{Fault, Section};
use super::values::{any_text, choice, claim, duration, length, name, period, some, text};

pub(super) const ASYMMETRIC: [Algorithm; 9] = [
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

/// Where keys may come from. With a `_file` for the secrets, any of them.
const SOURCES: [&str; 7] = [
    "jwks_uri",
    "jwks_file",
    "public_key_file",
    "secret",
    "secret_file",
    "secret_base64",
    "secret_base64_file",
];

const OTHER_PROFILES: [&str; 6] = ["keycloak", "auth0", "entra", "okta", "cognito", "google"];

/// All issuers; none that is named twice.
pub(super) fn read(root: &mut Section<'_>) -> Vec<IssuerSettings> {
    let mut issuers: Vec<IssuerSettings> = Vec::new();
    let place = root.place_of("issuers");
    let is_given = root.has("issuers");
    let sections = root.sections("issuers");
    if is_given && sections.is_empty() {
        root.problem(&place, "issuers", "must name at least one");
    }
    for section in sections {
        let context = section.context;
        let Some(issuer) = read_one(section) else {
            continue;
        };
        let twin = issuers.iter().find(|other| other.issuer == issuer.issuer);
        if let Some(twin) = twin {
            let text = format!(
                "issuer {:?} is at {} already: merge the two, an issuer has one policy",
                issuer.issuer, twin.place
            );
            context.problems.add(&issuer.place, text);
        }
        issuers.push(issuer);
    }
    issuers
}

fn read_one(mut section: Section<'_>) -> Option<IssuerSettings> {
    let place = section.place.clone();
    let context = section.context;
    let issuer = section.required("issuer", text(name));
    let keys = keys(&mut section);
    let ca_place = section.place_of("ca");
    let ca = section.file("ca");
    let is_fetched = matches!(
        keys,
        Some(KeySource::Discovery | KeySource::JwksUri(_)) | None
    );
    if ca.is_some() && !is_fetched {
        section.problem(&ca_place, "ca", "trusts nobody: these keys are not fetched");
    }
    let audiences = section.required("audiences", some(text(name)));
    let default = match &keys {
        Some(KeySource::Secret(secret)) => hmac(secret),
        _ => ASYMMETRIC.to_vec(),
    };
    let algorithms_place = section.place_of("algorithms");
    let algorithms = section.or("algorithms", default, some(text(super::values::algorithm)));
    let types = ["at+jwt", "JWT", ""].map(str::to_owned).to_vec();
    let token_types = section.or("token_types", types, some(text(any_text)));
    let required_claims = section.or("required_claims", Vec::new(), |item| item.all(text(name)));
    let leeway = section.or("leeway", Duration::from_secs(60), text(duration));
    let max_token_bytes = section.or("max_token_bytes", 8192, length);
    section.get("profile", |item| {
        if OTHER_PROFILES.contains(&item.text()?) {
            let text = "is not supported yet: use \"generic\", and name the claims with subject_claim, roles_claim and permissions_claim";
            return Err(Fault::from(format!("{:?} {text}", item.text()?)));
        }
        choice(&[("generic", ())])(item)
    });
    let subject_claim = section.or("subject_claim", named("sub"), claim);
    let roles_claim = section.or("roles_claim", named("roles"), claim);
    let permissions_claim = section.or("permissions_claim", named("permissions"), claim);
    let jwks = section
        .section("jwks")
        .map_or(JwksSettings::default(), jwks);
    section.finish();
    let settings = IssuerSettings {
        place,
        issuer: issuer?,
        keys: keys?,
        ca,
        audiences: audiences?,
        algorithms,
        token_types,
        required_claims,
        leeway,
        max_token_bytes,
        subject_claim,
        roles_claim,
        permissions_claim,
        jwks,
    };
    let sound = check_algorithms(&section, &algorithms_place, &settings);
    // What is known to be wrong already is not said twice.
    if let (Ok(()), Err(error)) = (sound, settings.try_out()) {
        context.problems.add(&settings.place, error.to_string());
    }
    Some(settings)
}

/// Exactly one source of keys; without any, the issuer's metadata.
fn keys(section: &mut Section<'_>) -> Option<KeySource> {
    let given: Vec<&str> = SOURCES.into_iter().filter(|key| section.has(key)).collect();
    if let [first, second, ..] = given.as_slice() {
        let is_pair = second.strip_suffix("_file") == Some(*first);
        if !is_pair || given.len() > 2 {
            let place = section.place_of(second);
            let text = format!("and `{first}` are two sources of keys: keep one");
            section.problem(&place, second, &text);
        }
    }
    let files = &section.context.files;
    let uri = section.get("jwks_uri", text(name)).map(KeySource::JwksUri);
    let set = section.file("jwks_file").map(KeySource::JwksFile);
    let pem = section.get("public_key_file", |item| Ok(files.read(item.text()?)?));
    let secret = section.secret("secret", "secret_file", long_enough);
    let encoded = section.secret("secret_base64", "secret_base64_file", |encoded| {
        let bytes = decode(encoded.trim_ascii());
        long_enough(bytes.ok_or("this is no base64")?)
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
        // There was one that would not do.
        None => None,
    }
}

fn long_enough(secret: Vec<u8>) -> Result<Secret, Fault> {
    if secret.len() < 32 {
        let text = "a secret needs 32 bytes or more (for HS384 48, for HS512 64), this one has";
        return Err(Fault::from(format!("{text} {}", secret.len())));
    }
    Ok(Secret::new(secret))
}

/// With and without padding, in either alphabet.
fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabets = [&alphabet::STANDARD, &alphabet::URL_SAFE];
    let mut decoded = alphabets
        .into_iter()
        .map(|alphabet| GeneralPurpose::new(alphabet, config).decode(encoded));
    decoded.find_map(Result::ok)
}

/// What a secret of this length verifies (RFC 7518 section 3.2).
fn hmac(secret: &Secret) -> Vec<Algorithm> {
    let fits = |minimum: &usize| secret.reveal().len() >= *minimum;
    let fitting = HMAC.into_iter().zip([32, 48, 64]);
    fitting
        .filter(|(_, minimum)| fits(minimum))
        .map(|(algorithm, _)| algorithm)
        .collect()
}

fn check_algorithms(
    section: &Section<'_>,
    place: &Place,
    settings: &IssuerSettings,
) -> Result<(), ()> {
    let text = match &settings.keys {
        KeySource::Secret(secret) => {
            let usable = hmac(secret);
            let mut algorithms = settings.algorithms.iter();
            algorithms.find(|own| !usable.contains(own)).map(|other| {
                let usable: Vec<&str> = usable.iter().map(|own| own.name()).collect();
                let usable = usable.join(", ");
                format!("has {other}: a secret of this length verifies {usable} and nothing else")
            })
        }
        _ => {
            let mut algorithms = settings.algorithms.iter();
            let own = algorithms.find(|own| own.is_symmetric());
            own.map(|own| format!("has {own}, which needs a `secret` in place of public keys"))
        }
    };
    text.map_or(Ok(()), |text| {
        section.problem(place, "algorithms", &text);
        Err(())
    })
}

fn jwks(mut section: Section<'_>) -> JwksSettings {
    let default = JwksSettings::default();
    let settings = JwksSettings {
        default_ttl: section.or("default_ttl", default.default_ttl, text(period)),
        min_ttl: section.or("min_ttl", default.min_ttl, text(period)),
        max_ttl: section.or("max_ttl", default.max_ttl, text(period)),
        cooldown: section.or("cooldown", default.cooldown, text(period)),
        timeout: section.or("timeout", default.timeout, text(period)),
        max_stale: section.or("max_stale", default.max_stale, text(duration)),
    };
    section.finish();
    settings
}

fn named(claim: &str) -> ClaimPlace {
    ClaimPlace(vec![claim.to_owned()])
}

// === impl Section ===

impl Section<'_> {
    pub(super) fn file(&mut self, key: &'static str) -> Option<File> {
        let files = &self.context.files;
        self.get(key, |item| Ok(files.read(item.text()?)?))
    }
}

// === impl JwksSettings ===

impl Default for JwksSettings {
    fn default() -> Self {
        Self {
            default_ttl: Duration::from_secs(600),
            min_ttl: Duration::from_secs(60),
            max_ttl: Duration::from_secs(3600),
            cooldown: Duration::from_secs(30),
            timeout: Duration::from_secs(2),
            max_stale: Duration::from_secs(3600),
        }
    }
}
