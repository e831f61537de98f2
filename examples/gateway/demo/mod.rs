//! The demonstration: an auth service, two upstream services and the gateway before them, in one process.

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
use crate::serve::{self, Servers, told_to_end};
use crate::telemetry;
use auth_service::AuthService;

/// What tokens for this gateway have in `aud`.
const AUDIENCE: &str = "demo-api";

/// A part of the gateway that can be left out, to see that its absence is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Auth,
    Role,
    Limit,
    Headers,
    Rotation,
}

/// Where everything is.
#[derive(Clone)]
struct Places {
    gateway: String,
    auth_service: String,
    orders: String,
    admin: String,
}

/// Servers, and the gateway before them, which has yet to serve.
struct Demonstration {
    places: Places,
    servers: Servers,
    gateway: TcpListener,
    configuration: Configuration,
}

/// Runs until it is told to end, with the ports that the banner's readers know best where they are free.
pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let told = told_to_end()?;
    let demonstration = start([8080, 3001, 3002, 3003], None).await?;
    let banner = banner::Banner(&demonstration.places).to_string();
    let say = async {
        print!("{banner}");
        told.await;
    };
    demonstration.serve(say).await
}

/// Walks through it once, on free ports. The walk knows where everything is, and not what was left out.
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

    // Below /auth, so that the gateway can pass it on as it is; what is elsewhere only its operator reaches.
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
    /// Serves until `told` ends.
    async fn serve(self, told: impl Future<Output = ()>) -> Result<(), Box<dyn Error>> {
        let process = Process::new(self.configuration, telemetry::metrics()?)?;
        let bound = Bound {
            listener: self.gateway,
            admin: None,
        };
        process.serve(bound, told).await;
        self.servers.end().await;
        Ok(())
    }
}

/// A port that is taken is replaced by any free one.
async fn bind(port: u16) -> io::Result<(TcpListener, String)> {
    let listener = match TcpListener::bind(("127.0.0.1", port)).await {
        Err(_) => TcpListener::bind(("127.0.0.1", 0)).await?,
        Ok(listener) => listener,
    };
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

/// What `gateway.toml` would say.
fn configuration(places: &Places, issuer: &str) -> Result<Configuration, Box<dyn Error>> {
    let mut issuer = preset::issuer(issuer, AUDIENCE, KeySource::Discovery);
    // So that nobody has to wait for a rotation to be seen. Ten minutes would be usual.
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
    // So few orders may be asked for at once that a hand can reach the limit.
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
