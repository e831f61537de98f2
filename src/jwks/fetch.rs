//! Fetching keys: a service from [`FetchJwks`] to [`KeySet`].

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thiserror::Error;
use tower::Service;

use super::set::{KeySet, KeySetError};
use crate::observe::FetchFailure;
use crate::sync::lock;

pub(super) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type BoxError = Box<dyn Error + Send + Sync>;

/// The request for the keys of one issuer.
#[derive(Clone, Debug)]
pub struct FetchJwks {
    issuer: Arc<str>,
    timeout: Duration,
    is_whole: bool,
}

/// Why keys could not be fetched. Contains nothing that the issuer sent.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No response within the time limit.
    #[error("no response within the time limit")]
    TimedOut,
    /// The connection failed or broke.
    #[error("no connection")]
    Connection(#[source] Arc<dyn Error + Send + Sync>),
    /// A status other than 200. Redirects are not followed.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The response or the key set is too large.
    #[error("response too large")]
    TooLarge,
    /// The response is not a key set, or has no usable key.
    #[error("unusable key set")]
    KeySet(#[from] KeySetError),
    /// The metadata of the issuer must not be used.
    #[error("discovery: {0}")]
    Discovery(&'static str),
    /// The service given to [`JwksSource::service`](crate::JwksSource::service) failed.
    #[error("the fetch service failed")]
    Service(#[source] Arc<dyn Error + Send + Sync>),
    /// The task that fetched ended without an answer: it panicked, or its runtime was shut down.
    #[error("the fetch was abandoned")]
    Abandoned,
    /// There is no tokio runtime to fetch on.
    #[error("no tokio runtime")]
    NoRuntime,
}

/// The keys of an issuer that could not be fetched by [`JwksCache::warm`](super::JwksCache::warm).
#[derive(Clone, Debug, Error)]
#[error("keys of issuer {issuer:?}: {source}")]
#[non_exhaustive]
pub struct WarmError {
    /// The first issuer that failed.
    pub issuer: String,
    /// The reason.
    pub source: FetchError,
}

/// A failed fetch, with what operators need to find the cause.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) error: FetchError,
    /// `discovery`, `fetch` or `parse`.
    pub(super) step: &'static str,
    /// The URL of the failed request, without its query.
    pub(super) url: Option<String>,
}

/// A source of keys, without its type.
pub(super) trait Fetch: Send + Sync {
    fn fetch(&self, request: FetchJwks) -> BoxFuture<Result<KeySet, Failure>>;

    /// The URL of the keys or of the metadata, without its query; `None` for a service.
    fn place(&self) -> Option<String> {
        None
    }
}

/// Makes the source of one tenant's keys, from the tenant's issuer and name.
pub(super) type MakeFetch = Box<dyn Fn(&Arc<str>, &str) -> Option<Arc<dyn Fetch>> + Send + Sync>;

/// A fetch service. The lock is held for a clone only. It makes the service `Sync`.
pub(super) struct Boxed<S>(Mutex<S>);

// === impl FetchJwks ===

impl FetchJwks {
    pub(super) fn new(issuer: Arc<str>, timeout: Duration) -> Self {
        Self {
            issuer,
            timeout,
            is_whole: false,
        }
    }

    pub(super) fn whole(self, is_whole: bool) -> Self {
        Self { is_whole, ..self }
    }

    /// Whether a 304 is not enough.
    #[cfg_attr(
        not(any(feature = "reqwest", feature = "reqwest-client")),
        allow(dead_code)
    )] // only HTTP has conditional requests
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The issuer, spelled as the `iss` of its tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The time limit of one request to the issuer.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

// === impl FetchError ===

impl FetchError {
    /// A short, fixed word, for logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Connection(_) => "connection",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::KeySet(_) => "key_set",
            Self::Discovery(_) => "discovery",
            Self::Service(_) => "service",
            Self::Abandoned => "abandoned",
            Self::NoRuntime => "no_runtime",
        }
    }

    /// Whether the issuer does not exist. For a tenant from a token, that is an answer.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Status(400 | 404 | 410) | Self::Discovery(_))
    }

    fn of(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => *error,
            Err(error) => Self::Service(error.into()),
        }
    }
}

impl Failure {
    /// The failure as metrics and events name it.
    pub(super) fn report(&self) -> FetchFailure<'_> {
        FetchFailure {
            kind: self.error.as_str(),
            step: self.step,
            status: match self.error {
                FetchError::Status(status) => Some(status),
                _ => None,
            },
            url: self.url.as_deref(),
            cause: match &self.error {
                FetchError::Connection(cause) => Some(&**cause),
                _ => None,
            },
            is_absence: self.error.is_absence(),
        }
    }

    #[cfg(any(feature = "reqwest", feature = "reqwest-client"))]
    pub(super) fn at(error: FetchError, step: &'static str, url: &str) -> Self {
        let url = Some(crate::origin::without_secrets(url));
        Self { error, step, url }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let step = match error {
            FetchError::KeySet(_) => "parse",
            FetchError::Discovery(_) => "discovery",
            _ => "fetch",
        };
        let url = None;
        Self { error, step, url }
    }
}

// === impl Boxed ===

impl<S> Boxed<S> {
    pub(super) fn new(service: S) -> Self {
        Self(Mutex::new(service))
    }
}

impl<S> Fetch for Boxed<S>
where
    S: Service<FetchJwks, Response = KeySet> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn fetch(&self, request: FetchJwks) -> BoxFuture<Result<KeySet, Failure>> {
        let mut service = lock(&self.0).clone();
        Box::pin(async move {
            let ready = poll_fn(|cx| service.poll_ready(cx)).await;
            ready.map_err(|error| FetchError::of(error.into()))?;
            let answer = service.call(request).await;
            answer.map_err(|error| FetchError::of(error.into()).into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn service_is_ready_before_it_is_called() {
        let (service, mut handle) = tower_test::mock::spawn::<FetchJwks, KeySet>();
        let boxed = Boxed::new(service.into_inner());
        handle.allow(0);
        let request = FetchJwks::new("https://id/".into(), Duration::from_secs(2));
        let answer = tokio::spawn(boxed.fetch(request));
        tokio::task::yield_now().await;
        assert!(!answer.is_finished());
        handle.allow(1);
        let (request, reply) = handle.next_request().await.unwrap();
        assert_eq!(request.issuer(), "https://id/");
        reply.send_error("broken");
        let error = answer.await.unwrap().unwrap_err();
        assert_eq!(error.error.as_str(), "service");
        assert_eq!(error.error.source().unwrap().to_string(), "broken");
    }

    #[test]
    fn only_a_lost_connection_reports_its_cause() {
        let lost = || Arc::new(std::io::Error::other("port 443 is closed"));
        let connection = Failure::from(FetchError::Connection(lost()));
        assert!(connection.report().cause.is_some());
        let service = Failure::from(FetchError::Service(lost()));
        assert!(service.report().cause.is_none());
    }

    #[test]
    fn fetch_errors_pass_through_other_layers() {
        let error: BoxError = FetchError::Status(502).into();
        assert_eq!(FetchError::of(error).to_string(), "HTTP status 502");
    }
}
