//! HTTP clients for upstreams. They follow no redirects and ignore proxy settings of the
//! environment.

use std::time::Duration;

use axum::body::Body;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::config::model::Route;
use crate::tls;

pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, Body>;

/// Clients that trust the same authorities. Clones share connections.
#[derive(Clone)]
pub(crate) struct Clients {
    /// HTTP/1.1, or HTTP/2 over TLS if the upstream prefers it.
    pub(crate) any: HttpClient,
    /// HTTP/1.1 only, so that `Host` may differ from the upstream's.
    pub(crate) http1: HttpClient,
    /// HTTP/2 only, with prior knowledge if there is no TLS. gRPC needs it.
    pub(crate) http2: HttpClient,
}

/// The authorities trusted for upstreams.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Authorities {
    /// No TLS.
    None,
    System,
    /// Certificates in PEM.
    These(Vec<u8>),
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The maximum size of a response head, and of the buffered part of a body per connection.
const BUFFER: usize = 32 * 1024;
/// The buffered part of a body per HTTP/2 stream.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The buffered data per HTTP/2 connection. Covers more streams than an upstream is likely to
/// allow, so that unread streams cannot block the others.
const CONNECTION_WINDOW: u32 = 1024 * STREAM_WINDOW;

// === impl Clients ===

impl Clients {
    pub(crate) fn trusting(authorities: &Authorities) -> Result<Self, tls::Unusable> {
        let builder = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(tls::Unusable::new)?;
        let tls = match authorities {
            Authorities::None => builder.with_root_certificates(RootCertStore::empty()),
            Authorities::System => builder
                .try_with_platform_verifier()
                .map_err(tls::Unusable::new)?,
            Authorities::These(pem) => builder.with_root_certificates(tls::roots(pem)?),
        };
        let tls = tls.with_no_client_auth();
        let http = || {
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
            connector.enforce_http(false);
            connector
        };
        let https = || {
            HttpsConnectorBuilder::new()
                .with_tls_config(tls.clone())
                .https_or_http()
        };
        let mut http2 = Client::builder(TokioExecutor::new());
        http2.http2_only(true);
        Ok(Self {
            any: client(
                &mut Client::builder(TokioExecutor::new()),
                https().enable_all_versions().wrap_connector(http()),
            ),
            http1: client(
                &mut Client::builder(TokioExecutor::new()),
                https().enable_http1().wrap_connector(http()),
            ),
            http2: client(&mut http2, https().enable_http2().wrap_connector(http())),
        })
    }
}

// === impl Authorities ===

impl Authorities {
    pub(crate) fn of(route: &Route) -> Self {
        match &route.upstream_ca {
            Some(file) => Self::These(file.content.clone()),
            None if route.upstream.scheme_str() == Some("https") => Self::System,
            None => Self::None,
        }
    }
}

fn client(builder: &mut Builder, connector: HttpsConnector<HttpConnector>) -> HttpClient {
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http1_max_buf_size(BUFFER)
        // Many requests share a connection, so a dead peer must be detected quickly.
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .build(connector)
}
