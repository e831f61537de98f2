//! The process: an active gateway that can be replaced while it serves, and its state for
//! operators.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::PrometheusHandle;
use portcullis::{Protocol, Reason, RouteTemplate};
use tokio::net::TcpListener;
use tower::service_fn;

use crate::access::Entry;
use crate::admin;
use crate::body::Limited;
use crate::config::model::Configuration;
use crate::gateway::{Gateway, Unbuildable, answer};
use crate::reload_state::ReloadState;
use crate::serve::{self, Connection, OPERATORS, Servers};

/// State shared by all requests and by the admin listener.
pub(crate) struct Process {
    gateway: ArcSwap<Gateway>,
    is_draining: AtomicBool,
    pub(crate) metrics: PrometheusHandle,
}

/// The bound listeners.
pub(crate) struct Bound {
    pub(crate) listener: TcpListener,
    pub(crate) admin: Option<TcpListener>,
}

/// How long load balancers have to notice that the process is shutting down.
const NOTICE: Duration = Duration::from_secs(2);

// === impl Bound ===

impl Bound {
    pub(crate) fn to(configuration: &Configuration) -> Result<Self, Box<dyn Error>> {
        let listener = bind("listen", configuration.listen)?;
        let admin = match configuration.admin_listen {
            Some(address) => Some(bind("admin_listen", address)?),
            None => None,
        };
        Ok(Self { listener, admin })
    }
}

fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, String> {
    serve::listen(address).map_err(|error| format!("`{key}`: cannot listen on {address}: {error}"))
}

// === impl Process ===

impl Process {
    pub(crate) fn new(
        configuration: Configuration,
        metrics: PrometheusHandle,
    ) -> Result<Arc<Self>, Unbuildable> {
        let gateway = Gateway::new(configuration, &ReloadState::default())?;
        Ok(Arc::new(Self {
            gateway: ArcSwap::from_pointee(gateway),
            is_draining: AtomicBool::new(false),
            metrics,
        }))
    }

    pub(crate) fn gateway(&self) -> Arc<Gateway> {
        self.gateway.load_full()
    }

    pub(crate) fn replace(&self, gateway: Gateway) {
        self.gateway.store(Arc::new(gateway));
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Serves until `shutdown` completes. Then reports itself as not ready, stops accepting
    /// connections after a delay, and finally waits for the requests in progress.
    pub(crate) async fn serve(self: Arc<Self>, bound: Bound, shutdown: impl Future<Output = ()>) {
        let mut servers = Servers::default();
        let mut operators = Servers::default();
        let has_operators = bound.admin.is_some();
        let asked = Arc::clone(&self);
        let service = service_fn(move |request| {
            let process = Arc::clone(&asked);
            async move { Ok::<_, Infallible>(process.handle(request).await) }
        });
        let with_tls = Arc::clone(&self);
        let tls = move || with_tls.gateway.load().tls.clone();
        servers.start(bound.listener, tls, service, serve::most());
        if let Some(admin) = bound.admin {
            let address = admin.local_addr().unwrap_or(([0, 0, 0, 0], 0).into());
            let router = admin::router(Arc::clone(&self), address);
            operators.start(admin, || None, router, OPERATORS);
        }
        shutdown.await;
        tracing::info!("draining");
        self.is_draining.store(true, Ordering::Relaxed);
        if has_operators {
            tokio::time::sleep(NOTICE).await;
        }
        servers.end().await;
        operators.end().await;
        tracing::info!("ended");
    }

    async fn handle(&self, mut request: Request) -> Response {
        let gateway = self.gateway();
        let protocol = Protocol::of(&request);
        let extensions = request.extensions_mut();
        let Some(connection) = extensions.get::<Connection>().copied() else {
            return answer(Reason::NotConfigured.into(), protocol);
        };
        if request.uri().path() == "/healthz" && request.uri().query().is_none() {
            return "ok\n".into_response();
        }
        let client = gateway.client(connection, request.headers());
        let extensions = request.extensions_mut();
        extensions.insert(client);
        let (mut parts, body) = request.into_parts();
        let (body, outcome) = Limited::new(body, gateway.configuration.max_body, &parts.headers);
        parts.extensions.insert(outcome);
        let mut request = Request::from_parts(parts, Body::new(body));
        let mut entry = Entry::begin(Arc::clone(&gateway), client, &mut request);
        let response = match gateway.find(&request) {
            Ok(route) => {
                entry.route = Some(Arc::clone(&route.template));
                let template = RouteTemplate(Arc::clone(&route.template));
                request.extensions_mut().insert(template);
                gateway.pass(&route, request).await
            }
            Err(reason) => answer(reason.into(), protocol).map(Body::new),
        };
        entry.end_with(response)
    }
}
