//! The client's address: the address of the connection, or an address from a trusted proxy.
//!
//! How [`TrustedProxies::client`] decides:
//!
//! 1. If the connection does not come from a trusted proxy, its address is the client's. Headers
//!    are ignored.
//! 2. Otherwise `X-Forwarded-For` and `Forwarded` (RFC 7239) are read from the right. Each trusted
//!    proxy vouches for the entry to its left, and the first address that is not a trusted proxy
//!    is the client's. A malformed entry ends the walk at the proxy that wrote it.
//! 3. A proxy may write only one of the two fields and forward the client's value of the other. If
//!    the two fields name different clients, both are ignored, and the address of the connection is
//!    used.
//!
//! [`SetClientAddressLayer`] decides once per request and inserts a [`ClientAddress`] into the
//! extensions. Rate limits, events, and handlers then read the same address.
//!
//! Deployment: trust only networks in which every host is your own proxy. A host in a trusted
//! network can claim any client address.
//!
//! ```
//! use http::{Request, Response};
//! use portcullis::client_address::{ClientAddress, PeerAddr, SetClientAddressLayer, TrustedProxies};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let proxies: TrustedProxies = "10.0.0.0/8, fd00::/8".parse()?;
//! let service = service_fn(|request: Request<()>| async move {
//!     let client = ClientAddress::of(request.extensions()).expect("the layer inserted it");
//!     Ok::<_, std::convert::Infallible>(Response::new(client.ip().to_string()))
//! });
//! let service = SetClientAddressLayer::new(proxies).layer(service);
//!
//! // Behind a proxy; the leftmost entry is what the client claimed.
//! let request = |peer: &str| {
//!     let request = Request::builder().header("x-forwarded-for", "6.6.6.6, 198.51.100.1");
//!     let peer: std::net::SocketAddr = peer.parse().unwrap();
//!     request.extension(PeerAddr::from(peer)).body(()).unwrap()
//! };
//! let response = service.clone().oneshot(request("10.0.0.1:40000")).await?;
//! assert_eq!(response.body(), "198.51.100.1");
//!
//! // Not behind a proxy.
//! let response = service.oneshot(request("203.0.113.7:40000")).await?;
//! assert_eq!(response.body(), "203.0.113.7");
//! # Ok(())
//! # }
//! ```

mod layer;
mod proxies;
mod reader;

pub use layer::{SetClientAddress, SetClientAddressLayer};
pub use proxies::{AddressSource, ClientAddress, TrustedProxies};
pub use reader::PeerAddr;

pub(crate) use reader::AddressReader;
