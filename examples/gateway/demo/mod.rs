//! The demonstration: an auth service, two upstream services and the gateway before them, in one process.

mod auth_service;
mod banner;
mod check;
mod echo;

use std::error::Error;
use std::io;
use std::time::Duration;

use clap::ValueEnum;
use portcullis::{
    ConfigError, IdentityHeadersLayer, Issuer, JwksCache, JwksSource, JwtAuthLayer, Quota,
    RateLimitLayer, RequireRoleLayer,
};
use tokio::net::TcpListener;

use crate::gateway::{Access, Gateway, Route};
use crate::proxy::Proxy;
use crate::serve::{Servers, told_to_end};
use crate::upstream::Upstream;
use auth_service::AuthService;

/// What tokens for this gateway have in `aud`.
const AUDIENCE: &str = "demo-api";

/// So few orders may be asked for at once that a hand can reach the limit.
const ORDERS: Quota = Quota::per_minute(12).burst(5);
const PUBLIC: Quota = Quota::per_second(5).burst(20);
const PLENTY: Quota = Quota::per_second(500).burst(1_000);

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
struct Places {
    gateway: String,
    auth_service: String,
    orders: String,
    admin: String,
}

/// Runs until it is told to end, with the ports that the banner's readers know best where they are free.
pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let told = told_to_end()?;
    let (places, servers) = start([8080, 3001, 3002, 3003], None).await?;
    print!("{}", banner::Banner(&places));
    servers.run_until(told).await?;
    Ok(())
}

/// Walks through it once, on free ports. The walk knows where everything is, and not what was left out.
pub(crate) async fn check(without: Option<Part>) -> Result<(), Box<dyn Error>> {
    let (places, servers) = start([0; 4], without).await?;
    let walk = check::walk(&places).await;
    servers.run_until(async {}).await?;
    Ok(walk?)
}

async fn start(
    ports: [u16; 4],
    without: Option<Part>,
) -> Result<(Places, Servers), Box<dyn Error>> {
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
    servers.start(auth, AuthService::new(&issuer, AUDIENCE)?.router());
    servers.start(orders, echo::router("orders"));
    servers.start(admin, echo::router("admin"));
    servers.start(
        gateway,
        gateway_before(&places, &issuer, without)?.router()?,
    );
    Ok((places, servers))
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

fn gateway_before(
    places: &Places,
    issuer: &str,
    without: Option<Part>,
) -> Result<Gateway, Box<dyn Error>> {
    let has = |part| without != Some(part);
    let limit = |name, quota| -> Result<_, ConfigError> {
        let limit = RateLimitLayer::new(quota).named(name)?;
        Ok(limit.enabled(has(Part::Limit)))
    };
    let role = |layer: RequireRoleLayer| Access::Callers(layer.enabled(has(Part::Role)));

    // `JwtAuthLayer::from_issuer(issuer, AUDIENCE)` does the same, with times to live for production.
    let keys = JwksCache::new([JwksSource::discover(issuer)?
        .min_ttl(if has(Part::Rotation) { SECOND } else { HOUR })
        .max_stale(Duration::ZERO)])?;
    let auth = JwtAuthLayer::new([Issuer::new(issuer).audience(AUDIENCE).with_keys(keys)])?;

    let orders: Upstream = places.orders.parse()?;
    let admin: Upstream = places.admin.parse()?;
    Ok(Gateway {
        floods: limit("address", PLENTY)?,
        auth: auth.enabled(has(Part::Auth)),
        identity: IdentityHeadersLayer::new().enabled(has(Part::Headers)),
        proxy: Proxy::new()?,
        routes: vec![
            Route {
                path: "/auth",
                upstream: places.auth_service.parse()?,
                limit: limit("auth", PUBLIC)?,
                access: Access::Public,
            },
            Route {
                path: "/api/orders",
                upstream: orders.clone(),
                limit: limit("orders", ORDERS)?,
                access: role(RequireRoleLayer::any(["reader", "admin"])),
            },
            Route {
                path: "/api/admin",
                upstream: admin.http2(),
                limit: limit("admin", PLENTY)?,
                access: role(RequireRoleLayer::any(["admin"])),
            },
            Route {
                path: "/public",
                upstream: orders,
                limit: limit("public", PUBLIC)?,
                access: Access::Public,
            },
        ],
    })
}

/// How long keys are kept here, so that nobody has to wait for a rotation to be seen. Ten minutes would be usual.
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
