//! Keys over HTTP, by reqwest: no redirects, nothing but 200, at most 512 KiB, a deadline for every request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::discovery::Discovery;
use super::endpoint::{Endpoint, Transport};
use super::fetch::{BoxFuture, Connection, Fetch, FetchError, FetchJwks};
use super::set::{KeySet, MAX_BYTES};
use super::source::JwksSource;
use crate::clock::Clock;
use crate::error::ConfigError;
use crate::tenant::{PLACE, TenantPattern};

/// Where the keys are, until the client is built.
pub(super) struct Origin {
    place: Place,
    /// Trusted in place of the system's, if there are any.
    roots: Vec<reqwest::Certificate>,
}

enum Place {
    Uri(Endpoint),
    Issuer(Endpoint, Arc<str>),
    /// Of each tenant its own.
    TenantUri(TenantPattern),
    TenantIssuer(TenantPattern),
}

/// A client that follows nothing.
#[derive(Clone)]
pub(super) struct Client(reqwest::Client);

/// The keys at one URL.
#[derive(Clone)]
pub(super) struct KeysAt {
    client: Client,
    endpoint: Endpoint,
    clock: Clock,
    /// The last answer that had an entity tag.
    last: Arc<Mutex<Option<Tagged>>>,
}

/// An answer that need not be sent again while it is unchanged.
#[derive(Clone)]
struct Tagged {
    etag: HeaderValue,
    keys: KeySet,
    received_at: Duration,
}

/// "Not changed" is believed no longer than this: a cache on the way may say so for ever, and hide a key that was removed.
const UNCHANGED_FOR: Duration = Duration::from_secs(60 * 60);

pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

// === impl JwksSource ===

impl JwksSource {
    /// Keys at the URL that the issuer's metadata name: OpenID Connect Discovery, or RFC 8414 where that is not found.
    ///
    /// They are read before the first fetch, after a failed one, and once a day.
    ///
    /// Metadata of an issuer elsewhere must not lead to this machine or into its network: `localhost`, and loopback,
    /// private, link-local and unspecified addresses are refused then. Where the keys are there on purpose, name them
    /// with [`uri`](Self::uri). Names are not resolved for this.
    ///
    /// # Errors
    /// [`ConfigError::Url`] if the issuer is no https URL. To this very machine, http will do.
    pub fn discover(issuer: impl AsRef<str>) -> Result<Self, ConfigError> {
        let issuer = issuer.as_ref();
        let place = if issuer.contains(PLACE) {
            Place::TenantIssuer(TenantPattern::parse(issuer)?)
        } else {
            let endpoint = Endpoint::parse(issuer, Transport::HttpsOrLoopback)?;
            Place::Issuer(endpoint, issuer.into())
        };
        Ok(Self::http(issuer, Origin::new(place)))
    }

    /// Keys at this URL.
    ///
    /// # Errors
    /// [`ConfigError::Url`] if it is no https URL. To this very machine, http will do.
    pub fn uri(issuer: impl AsRef<str>, jwks_uri: impl AsRef<str>) -> Result<Self, ConfigError> {
        let jwks_uri = jwks_uri.as_ref();
        let place = if jwks_uri.contains(PLACE) {
            Place::TenantUri(TenantPattern::parse(jwks_uri)?)
        } else {
            Place::Uri(Endpoint::parse(jwks_uri, Transport::HttpsOrLoopback)?)
        };
        Ok(Self::http(issuer.as_ref(), Origin::new(place)))
    }

    /// Keys at this URL, which may be plain http on another machine: whoever stands between can put in keys of his
    /// own, and then sign any token.
    ///
    /// # Errors
    /// [`ConfigError::Url`] if it is no http or https URL.
    pub fn dangerous_plain_uri(
        issuer: impl AsRef<str>,
        jwks_uri: impl AsRef<str>,
    ) -> Result<Self, ConfigError> {
        let endpoint = Endpoint::parse(jwks_uri.as_ref(), Transport::DangerousPlain)?;
        Ok(Self::http(
            issuer.as_ref(),
            Origin::new(Place::Uri(endpoint)),
        ))
    }

    /// Trusts these certificates, one or more in PEM, and no others, when it fetches.
    ///
    /// # Errors
    /// [`ConfigError::Key`] without a certificate; [`ConfigError::Setting`] if nothing is fetched over HTTP here.
    pub fn root_certificates(mut self, pem: &[u8]) -> Result<Self, ConfigError> {
        let roots = reqwest::Certificate::from_pem_bundle(pem).unwrap_or_default();
        if roots.is_empty() {
            return Err(ConfigError::Key {
                problem: "no certificate in this PEM".to_owned(),
            });
        }
        let Some(origin) = self.http_origin() else {
            return Err(ConfigError::Setting {
                setting: "jwks root_certificates",
                problem: "these keys are not fetched over HTTP: remove it",
            });
        };
        origin.roots = roots;
        Ok(self)
    }
}

// === impl Origin ===

impl Origin {
    fn new(place: Place) -> Self {
        let roots = Vec::new();
        Self { place, roots }
    }

    /// How many requests one fetch makes at most.
    pub(super) fn requests(&self) -> u32 {
        match self.place {
            Place::Uri(_) | Place::TenantUri(_) => 1,
            // Two places for the metadata, then the keys.
            Place::Issuer(..) | Place::TenantIssuer(_) => 3,
        }
    }

    /// Builds the client, one for all tenants; nothing is sent.
    pub(super) fn connect(self, clock: &Clock) -> Result<Connection, ConfigError> {
        let example = match &self.place {
            Place::Uri(endpoint) | Place::Issuer(endpoint, _) => endpoint.clone(),
            Place::TenantUri(pattern) | Place::TenantIssuer(pattern) => {
                Endpoint::parse(&pattern.of("tenant"), Transport::HttpsOrLoopback)?
            }
        };
        let client = Client::new(&example, self.roots)?;
        let clock = clock.clone();
        Ok(match self.place {
            Place::Uri(endpoint) => Connection::One(Arc::new(KeysAt::new(client, endpoint, clock))),
            Place::Issuer(endpoint, issuer) => {
                Connection::One(Arc::new(Discovery::new(client, endpoint, issuer, clock)))
            }
            Place::TenantUri(pattern) => Connection::Each(Box::new(move |_, tenant| {
                let endpoint = Endpoint::parse(&pattern.of(tenant), Transport::HttpsOrLoopback);
                let keys = KeysAt::new(client.clone(), endpoint.ok()?, clock.clone());
                Some(Arc::new(keys))
            })),
            Place::TenantIssuer(_) => Connection::Each(Box::new(move |issuer, _| {
                let endpoint = Endpoint::parse(issuer, Transport::HttpsOrLoopback).ok()?;
                let issuer = Arc::clone(issuer);
                let keys = Discovery::new(client.clone(), endpoint, issuer, clock.clone());
                Some(Arc::new(keys))
            })),
        })
    }
}

// === impl Client ===

impl Client {
    pub(super) fn new(
        endpoint: &Endpoint,
        roots: Vec<reqwest::Certificate>,
    ) -> Result<Self, ConfigError> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // Somebody else in the build may have switched decompression on.
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

    pub(super) async fn get(
        &self,
        url: &str,
        timeout: Duration,
        etag: Option<HeaderValue>,
    ) -> Result<Answer, FetchError> {
        let mut request = self.0.get(url).timeout(timeout);
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let mut response = request.send().await.map_err(broken)?;
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
        Ok(Answer {
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

    pub(super) async fn get(&self, request: &FetchJwks) -> Result<KeySet, FetchError> {
        let last = self.lock().clone();
        let last = last.filter(|last| !request.is_whole() && self.is_recent(last));
        let etag = last.as_ref().map(|last| last.etag.clone());
        let answer = self
            .client
            .get(&self.endpoint.to_string(), request.timeout(), etag)
            .await?;
        let keys = match (answer.status, last) {
            (StatusCode::OK, _) => KeySet::from_json(&answer.body)?,
            (StatusCode::NOT_MODIFIED, Some(last)) => last.keys,
            (status, _) => {
                // Perhaps it is the condition that is refused.
                *self.lock() = None;
                return Err(FetchError::Status(status.as_u16()));
            }
        };
        let keys = keys.cache_control(&answer.headers);
        if answer.status == StatusCode::OK {
            let etag = answer.headers.get(ETAG).cloned();
            *self.lock() = etag.map(|etag| Tagged {
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

    fn lock(&self) -> MutexGuard<'_, Option<Tagged>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetch for KeysAt {
    fn fetch(&self, request: FetchJwks) -> BoxFuture<Result<KeySet, FetchError>> {
        let keys = self.clone();
        Box::pin(async move { keys.get(&request).await })
    }

    fn place(&self) -> Option<String> {
        Some(self.endpoint.without_secrets())
    }
}
