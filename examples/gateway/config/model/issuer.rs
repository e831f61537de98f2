//! An issuer, and how its keys are fetched and kept.

use std::time::Duration;

use portcullis::{Algorithm, ClaimPath, Profile};

use super::{File, Place};
use crate::config::secrets::Secret;

/// An issuer, and what its tokens must be like.
#[derive(Clone, Debug)]
pub(crate) struct IssuerSettings {
    pub(crate) place: Place,
    /// Compared exactly with `iss`.
    pub(crate) issuer: String,
    pub(crate) keys: KeySource,
    /// The trust anchor, in PEM, for the places that keys are fetched from; `None` for the system's.
    pub(crate) ca: Option<File>,
    /// At least one.
    pub(crate) audiences: Vec<String>,
    /// At least one; HMAC exactly where the key is a secret.
    pub(crate) algorithms: Vec<Algorithm>,
    /// Accepted `typ`; the empty name allows its absence.
    pub(crate) token_types: Vec<String>,
    pub(crate) required_claims: Vec<String>,
    pub(crate) leeway: Duration,
    pub(crate) max_token_bytes: usize,
    /// Where its tokens have what the claims below do not name.
    pub(crate) profile: Profile,
    pub(crate) subject_claim: ClaimPlace,
    /// `None` for the profile's.
    pub(crate) roles_claim: Option<ClaimPlace>,
    /// `None` for the profile's.
    pub(crate) permissions_claim: Option<ClaimPlace>,
    /// How fetched keys are kept.
    pub(crate) jwks: JwksSettings,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub(crate) enum KeySource {
    /// The issuer's metadata says where.
    Discovery,
    /// A key set behind a URL.
    JwksUri(String),
    /// A key set in a file, as JSON. It parses.
    JwksFile(File),
    /// One public key, as PEM. It parses.
    PublicKeyFile(File),
    /// An HMAC secret of 32 bytes or more.
    Secret(Secret),
}

/// How fetched keys are kept.
#[derive(Clone, Debug)]
pub(crate) struct JwksSettings {
    pub(crate) default_ttl: Duration,
    pub(crate) min_ttl: Duration,
    pub(crate) max_ttl: Duration,
    pub(crate) cooldown: Duration,
    pub(crate) timeout: Duration,
    pub(crate) max_stale: Duration,
}

/// Where a claim stands: one name, or the names that lead to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimPlace(pub(crate) Vec<String>);

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

// === impl ClaimPlace ===

impl ClaimPlace {
    /// The same for the library.
    pub(crate) fn path(&self) -> ClaimPath {
        let names: Vec<&str> = self.0.iter().map(String::as_str).collect();
        ClaimPath::from(names.as_slice())
    }
}
