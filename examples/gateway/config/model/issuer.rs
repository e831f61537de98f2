//! An issuer, and how its keys are fetched and cached.

use std::time::Duration;

use portcullis::{Algorithm, ClaimPath, Profile};

use super::{File, Place};
use crate::config::secrets::Secret;

/// An issuer and the requirements for its tokens.
#[derive(Clone, Debug)]
pub(crate) struct IssuerSettings {
    pub(crate) place: Place,
    /// Compared with `iss` byte for byte.
    pub(crate) issuer: String,
    pub(crate) keys: KeySource,
    /// The trust anchor for fetching keys, in PEM; `None` for the system's.
    pub(crate) ca: Option<File>,
    /// At least one.
    pub(crate) audiences: Vec<String>,
    /// At least one; HMAC exactly where the key is a secret.
    pub(crate) algorithms: Vec<Algorithm>,
    /// Accepted values of `typ`. The empty string allows its absence.
    pub(crate) token_types: Vec<String>,
    pub(crate) required_claims: Vec<String>,
    pub(crate) leeway: Duration,
    pub(crate) max_token_bytes: usize,
    /// Defines the claims that the settings below do not name.
    pub(crate) profile: Profile,
    pub(crate) subject_claim: ClaimPlace,
    /// `None` for the profile's.
    pub(crate) roles_claim: Option<ClaimPlace>,
    /// `None` for the profile's.
    pub(crate) permissions_claim: Option<ClaimPlace>,
    /// How fetched keys are cached.
    pub(crate) jwks: JwksSettings,
}

/// The source of an issuer's keys.
#[derive(Clone, Debug)]
pub(crate) enum KeySource {
    /// The issuer's metadata.
    Discovery,
    /// The URL of a key set.
    JwksUri(String),
    /// A file with a valid key set, as JSON.
    JwksFile(File),
    /// A file with one valid public key, in PEM.
    PublicKeyFile(File),
    /// An HMAC secret of at least 32 bytes.
    Secret(Secret),
}

/// How fetched keys are cached.
#[derive(Clone, Debug)]
pub(crate) struct JwksSettings {
    pub(crate) default_ttl: Duration,
    pub(crate) min_ttl: Duration,
    pub(crate) max_ttl: Duration,
    pub(crate) cooldown: Duration,
    pub(crate) timeout: Duration,
    pub(crate) max_stale: Duration,
}

/// The path of a claim: one name, or several names that lead to it.
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
    /// The library's equivalent.
    pub(crate) fn path(&self) -> ClaimPath {
        let names: Vec<&str> = self.0.iter().map(String::as_str).collect();
        ClaimPath::from(names.as_slice())
    }
}
