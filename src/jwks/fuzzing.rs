//! Private functions that the targets in `fuzz/` call. cargo-fuzz sets `--cfg fuzzing`.
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

    /// The URL of the next request for keys.
    pub fn jwks_uri(&self, document: &[u8]) -> Option<String> {
        let endpoint = self.0.check(document).ok()?;
        Some(endpoint.to_string())
    }
}

/// How long keys with these response headers are fresh, with the default settings.
pub fn time_to_live(headers: &HeaderMap) -> Duration {
    Settings::default().ttl(freshness(headers))
}
