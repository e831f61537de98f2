//! What the targets in `fuzz/` ask, and no public item answers. It exists under `--cfg fuzzing` alone, which cargo-fuzz sets.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use http::HeaderMap;

use super::discovery::Discovery;
use super::endpoint::{Endpoint, Transport};
use super::freshness::freshness;
use super::http::{Client, ClientSettings};
use super::settings::Settings;
use crate::clock::Clock;

/// The reader of an issuer's metadata.
pub struct Metadata(Discovery);

impl Metadata {
    pub fn of(issuer: &str) -> Self {
        let endpoint = Endpoint::parse(issuer, Transport::HttpsOrLoopback).unwrap();
        let client = Client::new(&endpoint, ClientSettings::default()).unwrap();
        let discovery = Discovery::new(client, endpoint, issuer.into(), Clock::System);
        Self(discovery)
    }

    /// Where the next request for keys would go.
    pub fn jwks_uri(&self, document: &[u8]) -> Option<String> {
        let endpoint = self.0.check(document).ok()?;
        Some(endpoint.to_string())
    }
}

/// How long keys that came with these headers are fresh, by the default settings.
pub fn time_to_live(headers: &HeaderMap) -> Duration {
    Settings::default().ttl(freshness(headers))
}
