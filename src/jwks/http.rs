//! Keys over HTTP, by reqwest: no redirects, nothing but 200, at most 512 KiB, a deadline for every request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::discovery::Discovery;
use super::endpoint::{Endpoint, Transport};
use super::fetch::{BoxFuture, Fetch, FetchError, FetchJwks};
use super::set::{KeySet, MAX_BYTES};
use super::source::JwksSource;
use crate::clock::Clock;
use crate::error::ConfigError;

/// Where the keys are, until the client is built.
pub(super) struct Origin {
    place: Place,
    /// Trusted in place of the system's, if there are any.
    roots: Vec<reqwest::Certificate>,
}

enum Place {
    Uri(Endpoint),
    Issuer(Endpoint, Arc<str>),
}

/// A client that follows nothing.
#[derive(Clone)]
pub(super) struct Client(reqwest::Client);

/// The keys at one URL.
#[derive(Clone)]
pub(super) struct KeysAt {
    client: Client,
    endpoint: Endpoint,
    /// The last answer that had an entity tag.
    last: Arc<Mutex<Option<(HeaderValue, KeySet)>>>,
}

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
        let endpoint = Endpoint::parse(issuer, Transport::HttpsOrLoopback)?;
        let place = Place::Issuer(endpoint, issuer.into());
        Ok(Self::http(issuer, Origin::new(place)))
    }

    /// Keys at this URL.
    ///
    /// # Errors
    /// [`ConfigError::Url`] if it is no https URL. To this very machine, http will do.
    pub fn uri(issuer: impl AsRef<str>, jwks_uri: impl AsRef<str>) -> Result<Self, ConfigError> {
        let endpoint = Endpoint::parse(jwks_uri.as_ref(), Transport::HttpsOrLoopback)?;
        Ok(Self::http(
            issuer.as_ref(),
            Origin::new(Place::Uri(endpoint)),
        ))
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
            Place::Uri(_) => 1,
            // Two places for the metadata, then the keys.
            Place::Issuer(..) => 3,
        }
    }

    /// Builds the client; nothing is sent.
    pub(super) fn connect(self, clock: Clock) -> Result<Arc<dyn Fetch>, ConfigError> {
        Ok(match self.place {
            Place::Uri(endpoint) => {
                let client = Client::new(&endpoint, self.roots)?;
                Arc::new(KeysAt::new(client, endpoint))
            }
            Place::Issuer(endpoint, issuer) => {
                let client = Client::new(&endpoint, self.roots)?;
                Arc::new(Discovery::new(client, endpoint, issuer, clock))
            }
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
    pub(super) fn new(client: Client, endpoint: Endpoint) -> Self {
        Self {
            client,
            endpoint,
            last: Arc::default(),
        }
    }

    pub(super) fn is_at(&self, endpoint: &Endpoint) -> bool {
        self.endpoint == *endpoint
    }

    pub(super) async fn get(&self, timeout: Duration) -> Result<KeySet, FetchError> {
        let last = self.lock().clone();
        let etag = last.as_ref().map(|(etag, _)| etag.clone());
        let answer = self
            .client
            .get(&self.endpoint.to_string(), timeout, etag)
            .await?;
        let keys = match (answer.status, last) {
            (StatusCode::OK, _) => KeySet::from_json(&answer.body)?,
            (StatusCode::NOT_MODIFIED, Some((_, keys))) => keys,
            (status, _) => {
                // Perhaps it is the condition that is refused.
                *self.lock() = None;
                return Err(FetchError::Status(status.as_u16()));
            }
        };
        let keys = keys.expiring(freshness(&answer.headers));
        if answer.status == StatusCode::OK {
            let etag = answer.headers.get(ETAG).cloned();
            *self.lock() = etag.map(|etag| (etag, keys.clone()));
        }
        Ok(keys)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(HeaderValue, KeySet)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetch for KeysAt {
    fn fetch(&self, request: FetchJwks) -> BoxFuture<Result<KeySet, FetchError>> {
        let keys = self.clone();
        Box::pin(async move { keys.get(request.timeout()).await })
    }
}

/// RFC 9111 section 4.2: `max-age` less the time that the answer spent in other caches; nothing for `no-store` and
/// `no-cache`.
pub(super) fn freshness(headers: &HeaderMap) -> Option<Duration> {
    let mut max_age = None;
    let lines = headers.get_all(CACHE_CONTROL).into_iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    for directive in lines.flat_map(|line| line.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
                max_age = Some(Duration::from_secs(seconds));
            }
            _ => {}
        }
    }
    let age = headers
        .get(AGE)
        .and_then(|age| age.to_str().ok()?.trim().parse().ok());
    let age = Duration::from_secs(age.unwrap_or(0));
    max_age.map(|max_age| max_age.saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_is_what_cache_control_says() {
        #[track_caller]
        fn check(headers: &[(&str, &str)], expected: Option<u64>) {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                let name = name.parse::<http::HeaderName>().unwrap();
                map.append(name, value.parse().unwrap());
            }
            assert_eq!(
                freshness(&map).map(|age| age.as_secs()),
                expected,
                "{headers:?}"
            );
        }
        check(&[], None);
        check(&[("cache-control", "public")], None);
        check(&[("cache-control", "public, Max-Age=300")], Some(300));
        check(&[("cache-control", "max-age=\"300\"")], Some(300));
        check(
            &[("cache-control", "max-age=300"), ("age", "100")],
            Some(200),
        );
        check(&[("cache-control", "max-age=300"), ("age", "400")], Some(0));
        check(&[("cache-control", "max-age=300"), ("age", "x")], Some(300));
        check(&[("cache-control", "max-age=-1")], Some(0));
        check(
            &[("cache-control", "max-age=99999999999999999999")],
            Some(0),
        );
        check(
            &[
                ("cache-control", "max-age=300"),
                ("cache-control", "no-cache"),
            ],
            Some(0),
        );
        check(
            &[("cache-control", "private, no-store, max-age=300")],
            Some(0),
        );
        check(&[("cache-control", "s-maxage=300, x-max-age=7")], None);
    }
}
