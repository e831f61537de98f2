//! Fetches keys through another HTTP client, with a timeout and retries from tower.
//!
//! `cargo run --example own_key_client` starts an issuer that fails at first, fetches its keys with
//! retries, and verifies a token.
//!
//! Replace `Client` with any client. For a `reqwest::Client` with a proxy, certificates or headers,
//! `JwksSource::client` is enough; for certificates alone, `JwksSource::root_certificates`.

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use portcullis::jwks::{FetchError, FetchJwks};
use portcullis::{Issuer, JwksCache, JwksSource, JwtAuthLayer, KeySet, TestIssuer};
use tokio::time::{Sleep, sleep};
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;
use tower::{ServiceBuilder, service_fn};

type Client = legacy::Client<HttpConnector, Body>;
type BoxError = Box<dyn Error + Send + Sync>;

/// The number of retries that are left.
#[derive(Clone)]
struct Attempts(u32);

impl Policy<FetchJwks, KeySet, BoxError> for Attempts {
    type Future = Sleep;

    fn retry(
        &mut self,
        _: &mut FetchJwks,
        fetched: &mut Result<KeySet, BoxError>,
    ) -> Option<Sleep> {
        fetched.as_ref().err()?;
        self.0 = self.0.checked_sub(1)?;
        Some(sleep(Duration::from_millis(100)))
    }

    fn clone_request(&mut self, request: &FetchJwks) -> Option<FetchJwks> {
        Some(request.clone())
    }
}

/// One attempt. Like the built-in client, it follows no redirect, accepts only status 200, and
/// limits the size of the response.
async fn fetch(client: Client, uri: Uri) -> Result<KeySet, BoxError> {
    let (head, body) = client.get(uri).await?.into_parts();
    if head.status != StatusCode::OK {
        return Err(FetchError::Status(head.status.as_u16()).into());
    }
    let body = Limited::new(body, 512 * 1024).collect().await?;
    let keys = KeySet::from_json(&body.to_bytes())?;
    // How long the issuer allows the keys to be kept. The source limits it.
    Ok(keys.cache_control(&head.headers))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = TestIssuer::start().await?.with_audience("orders-api");
    let client: Client = legacy::Client::builder(TokioExecutor::new()).build_http();
    let uri: Uri = issuer.jwks_uri().parse()?;

    // Outermost first: three attempts, half a second for each.
    let fetch = ServiceBuilder::new()
        .layer(RetryLayer::new(Attempts(2)))
        .layer(TimeoutLayer::new(Duration::from_millis(500)))
        .service(service_fn(move |_: FetchJwks| {
            fetch(client.clone(), uri.clone())
        }));
    // The timeout of the source limits all attempts together.
    let source = JwksSource::service(issuer.issuer(), fetch).timeout(Duration::from_secs(2));
    let keys = JwksCache::new([source])?;
    let policy = Issuer::new(issuer.issuer()).audience("orders-api");
    let auth = JwtAuthLayer::new([policy.with_keys(keys.clone())])?;

    issuer.fail_with(StatusCode::BAD_GATEWAY);
    let fetching = tokio::spawn({
        let keys = keys.clone();
        async move { keys.warm().await }
    });
    // When the second attempt arrives, the first one has failed.
    issuer.wait_for_fetches(2).await;
    issuer.recover();
    fetching.await??;

    let caller = auth.verify(&issuer.token("alice").sign()).await;
    let caller = caller.map_err(|refused| refused.reason().code())?;
    let state = keys.status()[0].state.as_str();
    println!(
        "{} attempts, keys are {state}, {} is known",
        issuer.fetches(),
        caller.subject()
    );
    assert!(issuer.fetches() >= 2);
    let forged = issuer.token("alice").signed_by_stranger().sign();
    assert!(auth.verify(&forged).await.is_err());
    Ok(())
}
