//! From an issuer to the URL of its keys: OpenID Connect Discovery 1.0 and RFC 8414.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use super::endpoint::{Endpoint, Transport};
use super::fetch::{BoxFuture, Fetch, FetchError, FetchJwks};
use super::http::{Client, KeysAt};
use super::set::KeySet;

/// The keys of an issuer that are found through its metadata.
#[derive(Clone)]
pub(super) struct Discovery {
    client: Client,
    endpoint: Endpoint,
    issuer: Arc<str>,
    found: Arc<Mutex<Option<KeysAt>>>,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

// === impl Discovery ===

impl Discovery {
    pub(super) fn new(client: Client, endpoint: Endpoint, issuer: Arc<str>) -> Self {
        Self {
            client,
            endpoint,
            issuer,
            found: Arc::default(),
        }
    }

    async fn get(&self, timeout: Duration) -> Result<KeySet, FetchError> {
        // Taken out while it is used: a fetch that fails, or never ends, leaves nothing behind and is discovered again.
        let found = self.lock().take();
        let keys_at = match found {
            Some(keys_at) => keys_at,
            None => self.discover(timeout).await?,
        };
        let keys = keys_at.get(timeout).await?;
        *self.lock() = Some(keys_at);
        Ok(keys)
    }

    async fn discover(&self, timeout: Duration) -> Result<KeysAt, FetchError> {
        let place = self.endpoint.openid_configuration();
        let mut answer = self.client.get(&place, timeout, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            let place = self.endpoint.oauth_authorization_server();
            answer = self.client.get(&place, timeout, None).await?;
        }
        if answer.status != StatusCode::OK {
            return Err(FetchError::Status(answer.status.as_u16()));
        }
        let endpoint = self.check(&answer.body)?;
        Ok(KeysAt::new(self.client.clone(), endpoint))
    }

    fn check(&self, document: &[u8]) -> Result<Endpoint, FetchError> {
        let metadata: Metadata = serde_json::from_slice(document)
            .map_err(|_| FetchError::Discovery("not a metadata document"))?;
        // RFC 8414 section 3.3: identical, or a document of one issuer could stand for another.
        if *metadata.issuer != *self.issuer {
            return Err(FetchError::Discovery(
                "its issuer is another than the configured one",
            ));
        }
        // A document from afar must not send requests to this machine.
        let transport = if self.endpoint.is_loopback() {
            Transport::HttpsOrLoopback
        } else {
            Transport::Https
        };
        Endpoint::parse(&metadata.jwks_uri, transport)
            .map_err(|_| FetchError::Discovery("its jwks_uri is no https URL"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<KeysAt>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetch for Discovery {
    fn fetch(&self, request: FetchJwks) -> BoxFuture<Result<KeySet, FetchError>> {
        let discovery = self.clone();
        Box::pin(async move { discovery.get(request.timeout()).await })
    }
}
