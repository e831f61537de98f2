//! Finds the client's address once per request.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use http::Request;
use tower::{Layer, Service};

use super::proxies::TrustedProxies;
use super::reader::AddressReader;
use crate::inner_accessors::inner_accessors;
use crate::manifest::{Describe, Entry};

/// Inserts a [`ClientAddress`](super::ClientAddress) into the extensions of each request.
///
/// Put it outside every layer that needs the address. If an outer layer has already inserted one,
/// it is kept. If the server does not provide the address of the connection, none is inserted.
///
/// ```
/// use portcullis::client_address::{SetClientAddressLayer, TrustedProxies};
/// use portcullis::{Quota, RateLimitLayer};
///
/// let proxies = TrustedProxies::new(["10.0.0.0/8"])?;
/// let limit = RateLimitLayer::new(Quota::per_second(50)).by_address();
/// let layers = (SetClientAddressLayer::new(proxies), limit);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct SetClientAddressLayer {
    reader: AddressReader,
}

/// The service of [`SetClientAddressLayer`].
#[derive(Clone, Debug)]
pub struct SetClientAddress<S> {
    reader: AddressReader,
    inner: S,
}

// === impl SetClientAddressLayer ===

impl SetClientAddressLayer {
    /// Creates a layer that trusts these proxies. With [`TrustedProxies::default`], the address is
    /// always the address of the connection.
    #[must_use]
    pub fn new(proxies: TrustedProxies) -> Self {
        Self {
            reader: AddressReader::new(proxies),
        }
    }

    /// Reads the address of the connection from an extension of another type than
    /// [`PeerAddr`](super::PeerAddr) and axum's `ConnectInfo<SocketAddr>`.
    ///
    /// ```
    /// use portcullis::client_address::{SetClientAddressLayer, TrustedProxies};
    /// use tonic::transport::server::TcpConnectInfo;
    ///
    /// let layer = SetClientAddressLayer::new(TrustedProxies::default())
    ///     .peer_from(|info: &TcpConnectInfo| info.remote_addr());
    /// ```
    #[must_use]
    pub fn peer_from<T: Send + Sync + 'static>(
        mut self,
        read: impl Fn(&T) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.reader = self.reader.peer_from(read);
        self
    }
}

impl<S> Layer<S> for SetClientAddressLayer {
    type Service = SetClientAddress<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SetClientAddress {
            reader: self.reader.clone(),
            inner,
        }
    }
}

impl Describe for SetClientAddressLayer {
    /// It decides nothing, so a manifest does not list it.
    fn describe(&self, _: &mut Entry) {}
}

// === impl SetClientAddress ===

inner_accessors!(pub SetClientAddress);

impl<S, B> Service<Request<B>> for SetClientAddress<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let client = self.reader.client(request.extensions(), request.headers());
        if let Some(client) = client {
            request.extensions_mut().insert(client);
        }
        self.inner.call(request)
    }
}
