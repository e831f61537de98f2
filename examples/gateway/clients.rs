//! The HTTP clients that speak to upstreams. They follow no redirects and read no proxy settings from the environment.

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

/// Clients that trust the same authorities. Clones share the connections.
#[derive(Clone)]
pub(crate) struct Clients {
    /// HTTP/1.1, and over TLS HTTP/2 where the upstream prefers it.
    pub(crate) any: HttpClient,
    /// HTTP/1.1 alone, whose `Host` may be another than the upstream's.
    pub(crate) http1: HttpClient,
    /// HTTP/2 alone, without asking where there is no TLS. gRPC needs it.
    pub(crate) http2: HttpClient,
}

/// Who vouches for upstreams.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Authorities {
    /// Nobody has to, without TLS.
    None,
    System,
    /// In PEM.
    These(Vec<u8>),
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The largest head of a response, and what one connection may keep of a body.
const BUFFER: usize = 32 * 1024;
/// What one HTTP/2 stream may keep of a body that its client does not take.
const STREAM_WINDOW: u32 = 64 * 1024;
/// What a connection may keep: of more streams than an upstream is likely to allow, so that those that nobody reads never
/// leave too little for the others.
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
        // A connection that many requests share must not fail them all for long once its peer is gone.
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .build(connector)
}
