//! Finds the URL of an issuer's keys: OpenID Connect Discovery 1.0 and RFC 8414.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use super::endpoint::{Endpoint, Transport};
use super::fetch::{BoxFuture, Failure, Fetch, FetchError, FetchJwks};
use super::http::{Client, KeysAt};
use super::set::{KeySet, read_object};
use crate::clock::Clock;
use crate::sync::lock;

/// The keys of an issuer, found through its metadata.
#[derive(Clone)]
pub(super) struct Discovery {
    client: Client,
    endpoint: Endpoint,
    issuer: Arc<str>,
    clock: Clock,
    found: Arc<Mutex<Option<Found>>>,
}

/// The URL of the keys.
struct Found {
    keys_at: KeysAt,
    /// `None` if the last fetch from there failed.
    discovered_at: Option<Duration>,
}

/// An issuer that moves its keys may leave the old ones behind. They must not be trusted forever.
const REDISCOVERED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

// === impl Discovery ===

impl Discovery {
    pub(super) fn new(client: Client, endpoint: Endpoint, issuer: Arc<str>, clock: Clock) -> Self {
        Self {
            client,
            endpoint,
            issuer,
            clock,
            found: Arc::default(),
        }
    }

    async fn get(&self, request: &FetchJwks) -> Result<KeySet, Failure> {
        let timeout = request.timeout();
        // Taken out during the fetch: a fetch that never ends leaves `None`, so the next one
        // discovers.
        let known = lock(&self.found).take();
        let found = match known {
            None => self.found_at(self.discover(timeout).await?),
            Some(known) if self.is_recent(&known) => known,
            Some(known) => match self.discover(timeout).await {
                // Keeps the entity tag of the last response.
                Ok(endpoint) if known.keys_at.is_at(&endpoint) => Found {
                    discovered_at: Some(self.clock.monotonic()),
                    ..known
                },
                Ok(endpoint) => self.found_at(endpoint),
                // The known URL may still work. The next fetch tries again.
                Err(_) => known,
            },
        };
        let keys = found.keys_at.get(request).await;
        *lock(&self.found) = Some(Found {
            // After a failure the next fetch reads the metadata first. If that fails too, this URL
            // is kept.
            discovered_at: found.discovered_at.filter(|_| keys.is_ok()),
            ..found
        });
        keys
    }

    fn found_at(&self, endpoint: Endpoint) -> Found {
        Found {
            keys_at: KeysAt::new(self.client.clone(), endpoint, self.clock.clone()),
            discovered_at: Some(self.clock.monotonic()),
        }
    }

    fn is_recent(&self, found: &Found) -> bool {
        let age = |since| self.clock.monotonic().saturating_sub(since);
        found
            .discovered_at
            .is_some_and(|since| age(since) < REDISCOVERED_AFTER)
    }

    async fn discover(&self, timeout: Duration) -> Result<Endpoint, Failure> {
        const STEP: &str = "discovery";
        let mut url = self.endpoint.openid_configuration();
        let mut response = self.client.get(&url, STEP, timeout, None).await?;
        if response.status == StatusCode::NOT_FOUND {
            url = self.endpoint.oauth_authorization_server();
            response = self.client.get(&url, STEP, timeout, None).await?;
        }
        let found = match response.status {
            StatusCode::OK => self.check(&response.body),
            status => Err(FetchError::Status(status.as_u16())),
        };
        found.map_err(|error| Failure::at(error, STEP, &url))
    }

    pub(super) fn check(&self, document: &[u8]) -> Result<Endpoint, FetchError> {
        let metadata: Metadata =
            read_object(document).ok_or(FetchError::Discovery("not a metadata document"))?;
        // RFC 8414 section 3.3: must be identical, or one issuer could impersonate another.
        if *metadata.issuer != *self.issuer {
            return Err(FetchError::Discovery(
                "its `issuer` differs from the configured issuer",
            ));
        }
        let transport = if self.endpoint.is_loopback() {
            Transport::HttpsOrLoopback
        } else {
            Transport::Https
        };
        let endpoint = Endpoint::parse(&metadata.jwks_uri, transport)
            .map_err(|_| FetchError::Discovery("its `jwks_uri` is not an https URL"))?;
        // A remote document must not direct requests to this machine or into its network.
        if endpoint.is_local() && !self.endpoint.is_local() {
            return Err(FetchError::Discovery(
                "its `jwks_uri` is a local address: configure it with `JwksSource::uri`",
            ));
        }
        Ok(endpoint)
    }
}

impl Fetch for Discovery {
    fn fetch(&self, request: FetchJwks) -> BoxFuture<Result<KeySet, Failure>> {
        let discovery = self.clone();
        Box::pin(async move { discovery.get(&request).await })
    }

    /// The metadata: the URL of the keys may change.
    fn place(&self) -> Option<String> {
        Some(self.endpoint.openid_configuration())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::jwks::http::ClientSettings;

    fn read(issuer: &str, document: &Value) -> Result<Endpoint, FetchError> {
        let endpoint = Endpoint::parse(issuer, Transport::HttpsOrLoopback).unwrap();
        let client = Client::new(&endpoint, ClientSettings::default()).unwrap();
        let discovery = Discovery::new(client, endpoint, issuer.into(), Clock::System);
        discovery.check(document.to_string().as_bytes())
    }

    #[test]
    fn metadata_must_be_an_object() {
        let (issuer, keys) = ("https://id.example.com", "https://id.example.com/keys");
        assert!(read(issuer, &json!({"issuer": issuer, "jwks_uri": keys})).is_ok());
        assert!(read(issuer, &json!([issuer, keys])).is_err());
    }

    #[test]
    fn only_local_issuers_have_local_keys() {
        #[track_caller]
        fn check(issuer: &str, jwks_uri: &str, accepted: bool) {
            let found = read(issuer, &json!({"issuer": issuer, "jwks_uri": jwks_uri}));
            assert_eq!(found.is_ok(), accepted, "{issuer} {jwks_uri}: {found:?}");
        }
        for place in [
            "localhost",
            "a.localhost..",
            "127.1",
            "10.0.0.1",
            "169.254.169.254",
            "[::ffff:10.0.0.1]",
        ] {
            let jwks_uri = format!("https://{place}:8443/keys");
            check("https://id.example.com", &jwks_uri, false);
            check("https://10.0.0.1", &jwks_uri, true);
            check("http://127.0.0.1:3000", &jwks_uri, true);
        }
        check("https://10.0.0.1", "http://127.0.0.1/keys", false);
        check("https://10.0.0.1", "https://id.example.com/keys", true);
        check(
            "https://id.example.com",
            "https://keys.example.net/keys",
            true,
        );
    }
}
