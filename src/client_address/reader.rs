//! The address of the connection, from the extensions of a request.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{Extensions, HeaderMap};

use super::proxies::{ClientAddress, TrustedProxies};

/// The address at the other end of the connection, for stacks that keep it nowhere else.
///
/// Insert it into the extensions of a request. axum's `ConnectInfo<SocketAddr>` (inserted by
/// `into_make_service_with_connect_info::<SocketAddr>()`) and, in tests, its `MockConnectInfo` are
/// read too. If there are several, `PeerAddr` counts first: it may come from the PROXY protocol.
///
/// ```
/// use std::net::SocketAddr;
/// use portcullis::client_address::PeerAddr;
///
/// let mut request = http::Request::new(());
/// let peer: SocketAddr = "203.0.113.7:50000".parse()?;
/// request.extensions_mut().insert(PeerAddr::from(peer));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

/// How a layer finds the client's address.
#[derive(Clone)]
pub(crate) struct AddressReader {
    read_peer: Arc<ReadPeer>,
    pub(crate) proxies: TrustedProxies,
}

type ReadPeer = dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync;

// === impl PeerAddr ===

impl From<SocketAddr> for PeerAddr {
    fn from(address: SocketAddr) -> Self {
        Self(address)
    }
}

// === impl AddressReader ===

impl AddressReader {
    pub(crate) fn new(proxies: TrustedProxies) -> Self {
        Self {
            read_peer: Arc::new(peer),
            proxies,
        }
    }

    /// Reads the address of the connection from an extension of another type.
    pub(crate) fn peer_from<T, F>(mut self, read: F) -> Self
    where
        T: Send + Sync + 'static,
        F: Fn(&T) -> Option<SocketAddr> + Send + Sync + 'static,
    {
        self.read_peer = Arc::new(move |extensions| Some(read(extensions.get::<T>()?)?.ip()));
        self
    }

    /// The address alone, which is cheaper to find.
    pub(crate) fn ip(&self, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
        if let Some(client) = ClientAddress::of(extensions) {
            return Some(client.ip());
        }
        let peer = (self.read_peer)(extensions)?;
        Some(match self.proxies.is_empty() {
            true => peer.to_canonical(),
            false => self.proxies.client(peer, headers).ip(),
        })
    }

    /// The address that an outer layer has found, or else the one that this reader finds. `None`
    /// if the server does not provide the address of the connection.
    pub(crate) fn client(
        &self,
        extensions: &Extensions,
        headers: &HeaderMap,
    ) -> Option<ClientAddress> {
        ClientAddress::of(extensions).or_else(|| {
            let peer = (self.read_peer)(extensions)?;
            Some(self.proxies.client(peer, headers))
        })
    }
}

impl Default for AddressReader {
    fn default() -> Self {
        Self::new(TrustedProxies::default())
    }
}

impl fmt::Debug for AddressReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressReader")
            .field("proxies", &self.proxies)
            .finish_non_exhaustive()
    }
}

fn peer(extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<PeerAddr>().map(|peer| peer.0);
    #[cfg(feature = "axum")]
    let peer = peer.or_else(|| {
        use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};

        let real = extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| info.0);
        // As axum's own extractor does.
        real.or_else(|| Some(extensions.get::<MockConnectInfo<SocketAddr>>()?.0))
    });
    peer.map(|peer| peer.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_addr_counts_before_connect_info() {
        let mut extensions = Extensions::new();
        let seen: SocketAddr = "10.0.0.1:1".parse().unwrap();
        #[cfg(feature = "axum")]
        extensions.insert(axum::extract::ConnectInfo(seen));
        extensions.insert(PeerAddr("203.0.113.7:1".parse().unwrap()));
        assert_eq!(peer_ip(&extensions), "203.0.113.7", "{seen}");
    }

    #[test]
    fn mapped_addresses_are_unmapped() {
        let mut extensions = Extensions::new();
        extensions.insert(PeerAddr("[::ffff:203.0.113.7]:1".parse().unwrap()));
        assert_eq!(peer_ip(&extensions), "203.0.113.7");
        let proxies: TrustedProxies = "10.0.0.0/8".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-forwarded-for",
            "198.51.100.1, ::ffff:10.2.3.4".parse().unwrap(),
        );
        let client = proxies.client("::ffff:10.0.0.1".parse().unwrap(), &headers);
        assert_eq!(client.ip().to_string(), "198.51.100.1");
        assert_eq!(client.peer().to_string(), "10.0.0.1");
    }

    #[test]
    fn an_earlier_decision_is_kept() {
        let mut extensions = Extensions::new();
        extensions.insert(PeerAddr("10.0.0.1:1".parse().unwrap()));
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "198.51.100.1".parse().unwrap());
        let outer = TrustedProxies::default().client("192.0.2.9".parse().unwrap(), &headers);
        extensions.insert(outer);
        let reader = AddressReader::new("10.0.0.0/8".parse().unwrap());
        assert_eq!(reader.client(&extensions, &headers), Some(outer));
    }

    #[cfg(feature = "axum")]
    #[test]
    fn mock_connect_info_is_read_in_tests() {
        use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};

        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut extensions = Extensions::new();
        assert_eq!(peer(&extensions), None);
        extensions.insert(MockConnectInfo(address("203.0.113.7:1")));
        assert_eq!(peer_ip(&extensions), "203.0.113.7");
        extensions.insert(ConnectInfo(address("203.0.113.8:1")));
        assert_eq!(peer_ip(&extensions), "203.0.113.8");
    }

    fn peer_ip(extensions: &Extensions) -> String {
        let reader = AddressReader::default();
        let client = reader.client(extensions, &HeaderMap::new());
        client.unwrap().to_string()
    }
}
