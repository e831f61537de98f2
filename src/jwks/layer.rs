//! `JwksCacheLayer`: puts the keys into requests.

use std::task::{Context, Poll};

use http::Request;
use tower::{Layer, Service};

use super::cache::JwksCache;
use crate::inner_accessors::inner_accessors;
use crate::manifest::{Describe, Entry};

/// Inserts a [`JwksCache`] into the extensions of every request, for the layers and handlers below.
///
/// A [`JwtAuthLayer`](crate::JwtAuthLayer) that has no keys uses them:
///
/// ```
/// use portcullis::{Issuer, JwksCache, JwksCacheLayer, JwtAuthLayer};
/// use tower::ServiceBuilder;
///
/// let issuer = "https://id.example.com/";
/// let stack = ServiceBuilder::new()
///     .layer(JwksCacheLayer::new(JwksCache::from_issuer(issuer)?))
///     .layer(JwtAuthLayer::new([Issuer::new(issuer).audience("orders-api")])?);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct JwksCacheLayer {
    cache: JwksCache,
}

/// A service behind [`JwksCacheLayer`].
#[derive(Clone, Debug)]
pub struct ShareJwks<S> {
    inner: S,
    cache: JwksCache,
}

// === impl JwksCacheLayer ===

impl JwksCacheLayer {
    /// A layer for this cache.
    #[must_use]
    pub fn new(cache: JwksCache) -> Self {
        Self { cache }
    }
}

/// Adds nothing to the manifest, because keys alone protect no route.
impl Describe for JwksCacheLayer {
    fn describe(&self, _: &mut Entry) {}
}

impl<S> Layer<S> for JwksCacheLayer {
    type Service = ShareJwks<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let cache = self.cache.clone();
        ShareJwks { inner, cache }
    }
}

// === impl ShareJwks ===

inner_accessors!(pub ShareJwks);

impl<S, B> Service<Request<B>> for ShareJwks<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.cache.clone());
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::jwks::JwksSource;
    use crate::jwks::testing::keys;

    #[tokio::test]
    async fn request_carries_the_cache() {
        let cache = JwksCache::new([JwksSource::keys("https://id/", keys(["a"]))]).unwrap();
        let inner = service_fn(|request: Request<()>| async move {
            Ok::<_, Infallible>(request.extensions().get::<JwksCache>().cloned())
        });
        let service = JwksCacheLayer::new(cache).layer(inner);
        let seen = service.oneshot(Request::new(())).await.unwrap().unwrap();
        assert!(seen.issuer("https://id/").is_some());
        assert!(seen.issuer("https://other/").is_none());
    }
}
