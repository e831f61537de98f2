//! `JwksCacheLayer`: puts the keys on the router.

use tower::Layer;

use super::cache::JwksCache;
use super::service::JwksKeys;
use crate::manifest::{Describe, Entry};

/// Puts a [`JwksCache`] into the extensions of every request, for the layers and handlers below.
#[derive(Clone, Debug)]
pub struct JwksCacheLayer {
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

/// Keys guard nothing by themselves.
impl Describe for JwksCacheLayer {
    fn describe(&self, _: &mut Entry) {}
}

impl<S> Layer<S> for JwksCacheLayer {
    type Service = JwksKeys<S>;

    fn layer(&self, inner: S) -> Self::Service {
        JwksKeys::new(inner, self.cache.clone())
    }
}
