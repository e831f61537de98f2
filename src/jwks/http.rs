//! Keys over HTTP through reqwest: no redirects, only status 200, at most 512 KiB, a time limit per
//! request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
#[cfg(feature = "reqwest")]
use reqwest::Certificate;

use super::endpoint::Endpoint;
use super::fetch::{BoxFuture, Failure, Fetch, FetchError, FetchJwks};
use super::set::{KeySet, MAX_BYTES};
use crate::clock::Clock;
use crate::error::ConfigError;
use crate::sync::lock;

/// Without the feature `reqwest`, there are no certificates to trust.
#[cfg(not(feature = "reqwest"))]
type Certificate = std::convert::Infallible;

/// A client that follows no redirects.
#[derive(Clone)]
pub(super) struct Client(reqwest::Client);

/// How the client is built.
#[derive(Default)]
pub(super) struct ClientSettings {
    /// Trusted in place of the system's certificates, unless it is empty.
    pub(super) roots: Vec<Certificate>,
    /// Used in place of a new client.
    pub(super) client: Option<reqwest::Client>,
}

/// The keys at one URL.
#[derive(Clone)]
pub(super) struct KeysAt {
    client: Client,
    endpoint: Endpoint,
    clock: Clock,
    /// The last response that had an entity tag.
    last: Arc<Mutex<Option<Tagged>>>,
}

/// A response with an entity tag.
#[derive(Clone)]
struct Tagged {
    etag: HeaderValue,
    keys: KeySet,
    received_at: Duration,
}

/// How long a 304 is accepted: a proxy could answer 304 forever and hide that a key was removed.
const UNCHANGED_FOR: Duration = Duration::from_secs(60 * 60);

pub(super) struct Response {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

// === impl Client ===

impl Client {
    pub(super) fn new(endpoint: &Endpoint, settings: ClientSettings) -> Result<Self, ConfigError> {
        match settings.client {
            Some(client) if settings.roots.is_empty() => Ok(Self(client)),
            Some(_) => Err(ConfigError::Setting {
                setting: "jwks root_certificates",
                problem: "ignored by the given client: add them to the client",
            }),
            None => Self::build(endpoint, settings.roots),
        }
    }

    #[cfg(not(feature = "reqwest"))]
    fn build(_: &Endpoint, _: Vec<Certificate>) -> Result<Self, ConfigError> {
        Err(ConfigError::Setting {
            setting: "jwks client",
            problem: "enable the feature `reqwest`, or pass a client with `JwksSource::client`",
        })
    }

    #[cfg(feature = "reqwest")]
    fn build(endpoint: &Endpoint, roots: Vec<Certificate>) -> Result<Self, ConfigError> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // Another crate of the build may have enabled decompression.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        if endpoint.is_loopback() {
            builder = builder.no_proxy();
        }
        if !roots.is_empty() {
            builder = builder.tls_certs_only(roots);
        }
        let client = builder.build().map_err(|_| ConfigError::Url {
            url: endpoint.without_secrets(),
            problem: "no TLS client can be built: check the certificates, the system's too",
        })?;
        Ok(Self(client))
    }

    /// Sends one request. `step` names it if it fails.
    pub(super) async fn get(
        &self,
        url: &str,
        step: &'static str,
        timeout: Duration,
        etag: Option<HeaderValue>,
    ) -> Result<Response, Failure> {
        let response = self.get_bounded(url, timeout, etag).await;
        response.map_err(|error| Failure::at(error, step, url))
    }

    async fn get_bounded(
        &self,
        url: &str,
        timeout: Duration,
        etag: Option<HeaderValue>,
    ) -> Result<Response, FetchError> {
        let url =
            reqwest::Url::parse(url).map_err(|error| FetchError::Connection(Arc::new(error)))?;
        let mut request = self.0.get(url.clone()).timeout(timeout);
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let mut response = request.send().await.map_err(broken)?;
        // A client from the user may follow redirects.
        if *response.url() != url {
            return Err(FetchError::Status(StatusCode::FOUND.as_u16()));
        }
        let declared = response.content_length().unwrap_or(0);
        if declared > MAX_BYTES as u64 {
            return Err(FetchError::TooLarge);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body,
        })
    }
}

fn broken(error: reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::TimedOut;
    }
    FetchError::Connection(Arc::new(error.without_url()))
}

// === impl KeysAt ===

impl KeysAt {
    pub(super) fn new(client: Client, endpoint: Endpoint, clock: Clock) -> Self {
        Self {
            client,
            endpoint,
            clock,
            last: Arc::default(),
        }
    }

    pub(super) fn is_at(&self, endpoint: &Endpoint) -> bool {
        self.endpoint == *endpoint
    }

    pub(super) async fn get(&self, request: &FetchJwks) -> Result<KeySet, Failure> {
        let url = self.endpoint.to_string();
        let last = lock(&self.last).clone();
        let last = last.filter(|last| !request.is_whole() && self.is_recent(last));
        let etag = last.as_ref().map(|last| last.etag.clone());
        let response = self.client.get(&url, "fetch", request.timeout(), etag);
        let response = response.await?;
        let keys = match (response.status, last) {
            (StatusCode::OK, _) => KeySet::from_json(&response.body)
                .map_err(|error| Failure::at(error.into(), "parse", &url))?,
            (StatusCode::NOT_MODIFIED, Some(last)) => last.keys,
            (status, _) => {
                // The condition may be what was refused.
                *lock(&self.last) = None;
                let error = FetchError::Status(status.as_u16());
                return Err(Failure::at(error, "fetch", &url));
            }
        };
        let keys = keys.cache_control(&response.headers);
        if response.status == StatusCode::OK {
            let etag = response.headers.get(ETAG).cloned();
            *lock(&self.last) = etag.map(|etag| Tagged {
                etag,
                keys: keys.clone(),
                received_at: self.clock.monotonic(),
            });
        }
        Ok(keys)
    }

    fn is_recent(&self, last: &Tagged) -> bool {
        let age = self.clock.monotonic().saturating_sub(last.received_at);
        age < UNCHANGED_FOR
    }
}

impl Fetch for KeysAt {
    fn fetch(&self, request: FetchJwks) -> BoxFuture<Result<KeySet, Failure>> {
        let keys = self.clone();
        Box::pin(async move { keys.get(&request).await })
    }

    fn place(&self) -> Option<String> {
        Some(self.endpoint.without_secrets())
    }
}
