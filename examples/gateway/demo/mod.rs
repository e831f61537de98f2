//! The demonstration: an auth service, two upstream services and the gateway in one process.

mod auth_service;
mod banner;
mod check;
mod echo;

use std::error::Error;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::http::Uri;
use clap::ValueEnum;
use portcullis::Rule;
use tokio::net::TcpListener;

use crate::config::model::{Access, Configuration, KeySource, LimitKey, RateLimit};
use crate::preset;
use crate::process::{Bound, Process};
use crate::serve::{self, Servers, shutdown_signal};
use crate::telemetry;
use auth_service::AuthService;

/// The audience (`aud`) of tokens for this gateway.
const AUDIENCE: &str = "demo-api";

/// A part of the gateway that can be disabled, to prove that the self-test notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Auth,
    Role,
    Limit,
    Headers,
    Rotation,
}

/// The URLs of all services.
#[derive(Clone)]
struct Places {
    gateway: String,
    auth_service: String,
    orders: String,
    admin: String,
}

/// Running services, and a gateway that is bound but not yet serving.
struct Demonstration {
    places: Places,
    servers: Servers,
    gateway: TcpListener,
    configuration: Configuration,
}

/// Runs until a signal ends the process. Uses the well-known ports if they are free.
pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let shutdown = shutdown_signal()?;
    let demonstration = start([8080, 3001, 3002, 3003], None).await?;
    let banner = banner::Banner(&demonstration.places).to_string();
    let say = async {
        print!("{banner}");
        shutdown.await;
    };
    demonstration.serve(say).await
}

/// Runs the self-test once, on free ports. The self-test does not know which part is disabled.
pub(crate) async fn check(without: Option<Part>) -> Result<(), Box<dyn Error>> {
    let demonstration = start([0; 4], without).await?;
    let places = demonstration.places.clone();
    let mut walked = Ok(());
    demonstration
        .serve(async { walked = check::walk(&places).await })
        .await?;
    Ok(walked?)
}

async fn start(ports: [u16; 4], without: Option<Part>) -> Result<Demonstration, Box<dyn Error>> {
    let [gateway, auth_service, orders, admin] = ports;
    let (gateway, gateway_url) = bind(gateway).await?;
    let (auth, auth_url) = bind(auth_service).await?;
    let (orders, orders_url) = bind(orders).await?;
    let (admin, admin_url) = bind(admin).await?;
    let places = Places {
        gateway: gateway_url,
        auth_service: auth_url,
        orders: orders_url,
        admin: admin_url,
    };

    // The issuer's URL is below /auth, which the gateway forwards. Everything else is reachable by
    // operators only.
    let issuer = format!("{}/auth", places.auth_service);
    let mut servers = Servers::default();
    let mut serve =
        |listener, router: Router| servers.start(listener, || None, router, serve::most());
    serve(auth, AuthService::new(&issuer, AUDIENCE)?.router());
    serve(orders, echo::router("orders"));
    serve(admin, echo::router("admin"));
    let mut configuration = configuration(&places, &issuer)?;
    if let Some(part) = without {
        leave_out(part, &mut configuration);
    }
    Ok(Demonstration {
        places,
        servers,
        gateway,
        configuration,
    })
}

// === impl Demonstration ===

impl Demonstration {
    /// Serves until `shutdown` completes.
    async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), Box<dyn Error>> {
        let process = Process::new(self.configuration, telemetry::metrics()?)?;
        let bound = Bound {
            listener: self.gateway,
            admin: None,
        };
        process.serve(bound, shutdown).await;
        self.servers.end().await;
        Ok(())
    }
}

/// Binds the port, or any free port if it is taken.
async fn bind(port: u16) -> io::Result<(TcpListener, String)> {
    let listener = match TcpListener::bind(("127.0.0.1", port)).await {
        Err(_) => TcpListener::bind(("127.0.0.1", 0)).await?,
        Ok(listener) => listener,
    };
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

/// The equivalent of a `gateway.toml`.
fn configuration(places: &Places, issuer: &str) -> Result<Configuration, Box<dyn Error>> {
    let mut issuer = preset::issuer(issuer, AUDIENCE, KeySource::Discovery);
    // Short, so that a rotation is visible at once. Ten minutes are usual.
    issuer.jwks.min_ttl = SECOND;
    issuer.jwks.max_stale = Duration::ZERO;

    let upstream = |url: &str| url.parse::<Uri>();
    let by_address = |name| preset::limit(name, LimitKey::Address, 5, SECOND, 20);
    let by_subject = |name, requests, per, burst| -> Vec<RateLimit> {
        vec![preset::limit(name, LimitKey::Subject, requests, per, burst)]
    };
    let require = |rule| Access::Verified {
        require: Some(rule),
        require_for: Vec::new(),
    };

    let mut auth = preset::route("/auth", upstream(&places.auth_service)?);
    auth.access = Access::Public;
    auth.rate_limits = vec![by_address("auth")];
    let mut orders = preset::route("/api/orders", upstream(&places.orders)?);
    orders.access = require(Rule::role("reader") | Rule::role("admin"));
    // A low quota, so that a few manual requests exceed it.
    orders.rate_limits = by_subject("orders", 12, MINUTE, 5);
    let mut admin = preset::route("/api/admin", upstream(&places.admin)?);
    admin.access = require(Rule::role("admin"));
    admin.rate_limits = by_subject("admin", 500, SECOND, 1_000);
    let mut public = preset::route("/public", upstream(&places.orders)?);
    public.access = Access::Public;
    public.rate_limits = vec![by_address("public")];

    let mut configuration = preset::configuration(([127, 0, 0, 1], 0).into());
    configuration.issuers = vec![issuer];
    configuration.routes = vec![auth, orders, admin, public];
    Ok(configuration)
}

fn leave_out(part: Part, configuration: &mut Configuration) {
    match part {
        Part::Headers => configuration.identity_headers.clear(),
        Part::Rotation => {
            for issuer in &mut configuration.issuers {
                issuer.jwks.min_ttl = HOUR;
            }
        }
        Part::Auth | Part::Role | Part::Limit => {}
    }
    for route in &mut configuration.routes {
        match (part, &mut route.access) {
            (Part::Auth, access) => *access = Access::Public,
            (Part::Role, Access::Verified { require, .. }) => *require = None,
            (Part::Limit, _) => route.rate_limits.clear(),
            (Part::Role | Part::Headers | Part::Rotation, _) => {}
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
