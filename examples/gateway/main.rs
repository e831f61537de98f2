//! An API gateway for services that do not verify tokens themselves. Copy it and adapt it.
//!
//! `cargo run --example gateway` runs a complete demonstration in one process and prints `curl`
//! commands to try. See README.md.

mod access;
mod admin;
mod body;
mod build;
mod clients;
mod config;
mod consumers;
mod demo;
mod gateway;
mod headers;
mod preset;
mod process;
mod proxy;
mod reasons;
mod reload_state;
mod revocations;
mod serve;
mod stack;
mod stall_guard;
mod table;
mod target;
mod telemetry;
mod tls;
mod watch;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use clap::Parser;

use config::model::{Configuration, KeySource, LimitKey};
use gateway::Gateway;
use process::{Bound, Process};
use reload_state::ReloadState;
use telemetry::Log;

/// A gateway that verifies tokens. Without arguments it runs a demonstration with its own services.
#[derive(Parser)]
struct Arguments {
    /// Runs the demonstration's self-test; the exit code is 0 only if every step succeeds.
    #[arg(long, conflicts_with = "issuer")]
    demo_check: bool,

    /// Disables one part of the gateway. The self-test must then fail.
    #[arg(long = "break", value_name = "PART", requires = "demo_check")]
    without: Option<demo::Part>,

    /// The configuration file: listeners, issuers, limits, routes.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["issuer", "demo_check"])]
    config: Option<PathBuf>,

    /// Validates the configuration, prints the effective values without secrets, and exits.
    #[arg(long, requires = "config")]
    check: bool,

    /// The issuer whose tokens are accepted, spelled exactly as in the `iss` claim.
    #[arg(long, value_name = "URL", requires_all = ["audience", "upstream"])]
    issuer: Option<String>,

    /// The audience (`aud`) of tokens for this gateway.
    #[arg(long, value_name = "NAME", requires = "issuer")]
    audience: Option<String>,

    /// The service behind this gateway.
    #[arg(long, value_name = "URL", requires = "issuer", value_parser = config::upstream)]
    upstream: Option<Uri>,

    /// The URL of the issuer's key set. Default: taken from the issuer's metadata.
    #[arg(long, value_name = "URL", requires = "issuer")]
    jwks_uri: Option<String>,

    /// The address to listen on. Default: 127.0.0.1:8080.
    #[arg(long, value_name = "ADDRESS", requires = "issuer")]
    listen: Option<SocketAddr>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    if let Some(file) = arguments.config {
        let configuration = config::load(&file, std::env::vars_os())?;
        if arguments.check {
            let shown = configuration.to_string();
            for warning in &configuration.warnings {
                eprintln!("warning: {warning}");
            }
            Gateway::new(configuration, &ReloadState::default())?;
            print!("{shown}");
            return Ok(());
        }
        let log = Log::start(&configuration.log)?;
        return gateway(configuration, Some((file, log))).await;
    }
    telemetry::log_to_stderr();
    if let Some(configuration) = from_flags(&arguments) {
        return gateway(configuration, None).await;
    }
    if arguments.demo_check {
        return demo::check(arguments.without).await;
    }
    demo::run().await
}

/// One route that admits every caller with a valid token of the issuer.
fn from_flags(arguments: &Arguments) -> Option<Configuration> {
    let listen = arguments.listen.unwrap_or(([127, 0, 0, 1], 8080).into());
    let mut configuration = preset::configuration(listen);
    let jwks_uri = arguments.jwks_uri.clone();
    let keys = jwks_uri.map_or(KeySource::Discovery, KeySource::JwksUri);
    let (issuer, audience) = (arguments.issuer.as_ref()?, arguments.audience.as_ref()?);
    configuration.issuers = vec![preset::issuer(issuer, audience, keys)];
    let mut route = preset::route("/", arguments.upstream.clone()?);
    let second = Duration::from_secs(1);
    route.rate_limits = vec![
        preset::limit("address", LimitKey::Address, 500, second, 1_000),
        preset::limit("default", LimitKey::Subject, 100, second, 200),
    ];
    configuration.routes = vec![route];
    Some(configuration)
}

/// Serves until a signal ends the process. A configuration file is reloaded when it changes.
async fn gateway(
    configuration: Configuration,
    file: Option<(PathBuf, Log)>,
) -> Result<(), Box<dyn Error>> {
    let metrics = telemetry::metrics()?;
    let process = Process::new(configuration, metrics)?;
    let gateway = process.gateway();
    let configuration = &gateway.configuration;
    let bound = Bound::to(configuration)?;
    let shutdown = serve::shutdown_signal()?;
    let hangups = watch::Hangups::new();
    let scheme = if gateway.tls.is_some() {
        "https"
    } else {
        "http"
    };
    println!("listening on {scheme}://{}", bound.listener.local_addr()?);
    if let Some(admin) = &bound.admin {
        println!("admin on http://{}", admin.local_addr()?);
    }
    watch::log_warnings(&configuration.warnings, &[]);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = %bound.listener.local_addr()?,
        tls = gateway.tls.is_some(),
        issuers = configuration.issuers.len(),
        consumers = configuration.consumers.len(),
        routes = configuration.routes.len(),
        "started",
    );
    watch::warm(&gateway);
    tokio::spawn(watch::watch(Arc::clone(&process), file, hangups));
    drop(gateway);
    process.serve(bound, shutdown).await;
    Ok(())
}
