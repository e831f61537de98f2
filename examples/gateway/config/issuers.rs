//! `[[issuers]]`: the accepted issuers and the requirements for their tokens.

use std::time::Duration;

use portcullis::{ConfigError, Profile};

use super::build::problem;
use super::document::Item;
use super::keys;
use super::model::{ClaimPlace, IssuerSettings, JwksSettings, KeySource, Place};
use super::names::algorithm;
use super::section::{Fault, Section};
use super::values::{any_text, choice, claim, duration, length, name, period, some, text};

pub(super) const PROFILES: [(&str, Profile); 8] = [
    ("generic", Profile::Generic),
    ("rfc9068", Profile::Rfc9068),
    ("keycloak", Profile::Keycloak),
    ("auth0", Profile::Auth0),
    ("entra", Profile::Entra),
    ("okta", Profile::Okta),
    ("cognito", Profile::Cognito),
    ("google", Profile::Google),
];

const RESERVED: [&str; 4] = ["aud", "exp", "nbf", "iat"];

/// Settings that an error of the library may name.
const KEYS: [&str; 6] = [
    "issuer",
    "jwks_uri",
    "jwks_file",
    "public_key_file",
    "algorithms",
    "leeway",
];

const JWKS_KEYS: [&str; 4] = ["min_ttl", "max_ttl", "cooldown", "max_stale"];

/// Reads all issuers. Each may be defined once.
pub(super) fn read(root: &mut Section<'_>) -> Vec<IssuerSettings> {
    let mut issuers: Vec<IssuerSettings> = Vec::new();
    let place = root.place_of("issuers");
    let is_given = root.has("issuers");
    let sections = root.sections("issuers");
    if is_given && sections.is_empty() {
        root.problem(&place, "issuers", "must contain at least one");
    }
    for section in sections {
        let context = section.context;
        let Some(issuer) = read_one(section) else {
            continue;
        };
        let twin = issuers.iter().find(|other| other.issuer == issuer.issuer);
        if let Some(twin) = twin {
            let text = format!(
                "issuer {:?} is already defined at {}: merge the two sections",
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
    let mut places: Vec<_> = KEYS
        .map(|key| (key.to_owned(), section.place_of(key)))
        .into();
    let issuer = section.required("issuer", text(name));
    let keys = keys::read(&mut section);
    let ca_place = section.place_of("ca");
    let ca = section.certificates("ca");
    let is_fetched = matches!(
        keys,
        Some(KeySource::Discovery | KeySource::JwksUri(_)) | None
    );
    if ca.is_some() && !is_fetched {
        section.problem(&ca_place, "ca", "has no effect: these keys are not fetched");
    }
    let audiences = section.required("audiences", some(text(name)));
    let default = match &keys {
        Some(KeySource::Secret(secret)) => keys::hmac(secret),
        _ => keys::ASYMMETRIC.to_vec(),
    };
    let algorithms_place = section.place_of("algorithms");
    let algorithms = section.or("algorithms", default, some(text(algorithm)));
    let profile = section.or("profile", Profile::Generic, choice(&PROFILES));
    let types: &[&str] = match profile {
        Profile::Rfc9068 => &["at+jwt"],
        _ => &["at+jwt", "JWT", ""],
    };
    let types = types.iter().map(|name| (*name).to_owned()).collect();
    let token_types = section.or("token_types", types, some(text(any_text)));
    let required_claims = section.or("required_claims", Vec::new(), |item| item.all(text(name)));
    let leeway = section.or("leeway", Duration::from_secs(60), text(duration));
    let max_token_bytes = section.or("max_token_bytes", 8192, length);
    let subject = ClaimPlace(vec!["sub".to_owned()]);
    let subject_claim = section.or("subject_claim", subject, free_claim);
    let roles_claim = section.get("roles_claim", free_claim);
    let permissions_claim = section.get("permissions_claim", free_claim);
    let jwks = section.section("jwks");
    let jwks = jwks.map_or(JwksSettings::default(), |own| jwks_of(own, &mut places));
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
        profile,
        subject_claim,
        roles_claim,
        permissions_claim,
        jwks,
    };
    let sound = keys::algorithms_fit(&section, &algorithms_place, &settings);
    // Skips a second error about the same value.
    let sound = sound && settings.jwks.min_ttl <= settings.jwks.max_ttl;
    if let Some(Err(error)) = sound.then(|| settings.try_out()) {
        let key = key_of(&error, &settings.keys);
        let own = places.iter().find(|(own, _)| *own == key);
        let place = own.map_or(&settings.place, |(_, place)| place);
        let way_out = match (&error, &settings.keys) {
            (ConfigError::Url { url, .. }, KeySource::Discovery) if is_plain(url) => {
                "; set a `jwks_uri` with https, or a `jwks_file`. http is allowed for 127.0.0.1, [::1] and localhost only"
            }
            (ConfigError::Url { url, .. }, _) if is_plain(url) => {
                "; or set a `jwks_file`. http is allowed for 127.0.0.1, [::1] and localhost only"
            }
            _ => "",
        };
        let text = problem(error) + way_out;
        section.fault(place, &key, Fault::from(text));
    }
    Some(settings)
}

fn is_plain(url: &str) -> bool {
    url.get(..7)
        .is_some_and(|start| start.eq_ignore_ascii_case("http://"))
}

/// The key that an error of the library refers to.
fn key_of(error: &ConfigError, keys: &KeySource) -> String {
    let key = match (error, keys) {
        (ConfigError::Algorithms { .. }, _) => "algorithms",
        // `jwks min_ttl` refers to `min_ttl` in `[issuers.jwks]`.
        (ConfigError::Setting { setting, .. }, _) => return setting.replace(' ', "."),
        (_, KeySource::Discovery) => "issuer",
        (_, KeySource::JwksUri(_)) => "jwks_uri",
        (_, KeySource::JwksFile(_)) => "jwks_file",
        (_, KeySource::PublicKeyFile(_)) => "public_key_file",
        (_, KeySource::Secret(_)) => "secret",
    };
    key.to_owned()
}

fn jwks_of(mut section: Section<'_>, places: &mut Vec<(String, Place)>) -> JwksSettings {
    let default = JwksSettings::default();
    places.extend(JWKS_KEYS.map(|key| (format!("jwks.{key}"), section.place_of(key))));
    let min_place = section.place_of("min_ttl");
    let settings = JwksSettings {
        default_ttl: section.or("default_ttl", default.default_ttl, text(period)),
        min_ttl: section.or("min_ttl", default.min_ttl, text(period)),
        max_ttl: section.or("max_ttl", default.max_ttl, text(period)),
        cooldown: section.or("cooldown", default.cooldown, text(period)),
        timeout: section.or("timeout", default.timeout, text(period)),
        max_stale: section.or("max_stale", default.max_stale, text(duration)),
    };
    if settings.min_ttl > settings.max_ttl {
        let text = "is longer than `max_ttl`: lower it, or raise `max_ttl`";
        section.problem(&min_place, "min_ttl", text);
    }
    section.finish();
    settings
}

/// A claim path, except for claims with a fixed meaning such as `exp` and `aud`.
fn free_claim(item: &Item) -> Result<ClaimPlace, Fault> {
    let place = claim(item)?;
    match place.0.as_slice() {
        [name, ..] if RESERVED.contains(&name.as_str()) => {
            Err(format!("{name:?} has a fixed meaning: choose another claim").into())
        }
        _ => Ok(place),
    }
}
