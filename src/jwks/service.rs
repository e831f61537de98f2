//! The service of `JwksCacheLayer`.

use std::task::{Context, Poll};

use http::Request;
use tower::Service;

use super::cache::JwksCache;
use crate::inner_accessors::inner_accessors;

/// Puts a [`JwksCache`] into the extensions of every request. See [`JwksCacheLayer`](super::JwksCacheLayer).
#[derive(Clone, Debug)]
pub struct JwksKeys<S> {
    inner: S,
    cache: JwksCache,
}

// === impl JwksKeys ===

impl<S> JwksKeys<S> {
    pub(super) fn new(inner: S, cache: JwksCache) -> Self {
        Self { inner, cache }
    }
}

inner_accessors!(JwksKeys);

impl<S, B> Service<Request<B>> for JwksKeys<S>
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

    use tower::{Layer, ServiceExt, service_fn};

    use super::*;
    use crate::jwks::testing::keys;
    use crate::jwks::{JwksCacheLayer, JwksSource};

    #[tokio::test]
    async fn the_request_below_carries_the_cache() {
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
