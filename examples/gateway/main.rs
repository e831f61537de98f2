//! A gateway in front of services that know nothing of tokens, to be forked.
//!
//! `cargo run --example gateway` runs a whole demonstration in one process and prints `curl` lines to try. See README.md.

mod access;
mod admin;
mod body;
mod build;
mod clients;
mod config;
mod consumers;
mod demo;
mod entrance;
mod exchange;
mod gateway;
mod headers;
mod kept;
mod preset;
mod process;
mod proxy;
mod reasons;
mod revocations;
mod serve;
mod stack;
mod table;
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
use kept::Kept;
use process::{Bound, Process};
use telemetry::Log;

/// A gateway that verifies tokens. Without arguments: a demonstration with services of its own.
#[derive(Parser)]
struct Arguments {
    /// Walks through the demonstration and ends, with exit code 0 only if all went as it should.
    #[arg(long, conflicts_with = "issuer")]
    demo_check: bool,

    /// Leaves one part of the gateway out, which the walk-through has to notice.
    #[arg(long = "break", value_name = "PART", requires = "demo_check")]
    without: Option<demo::Part>,

    /// The configuration file: listeners, issuers, limits, routes.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["issuer", "demo_check"])]
    config: Option<PathBuf>,

    /// Validates the configuration, prints what is in force without its secrets, and ends.
    #[arg(long, requires = "config")]
    check: bool,

    /// The issuer whose tokens are accepted, exactly as their `iss` claim spells it.
    #[arg(long, value_name = "URL", requires_all = ["audience", "upstream"])]
    issuer: Option<String>,

    /// The name that tokens for this gateway have in `aud`.
    #[arg(long, value_name = "NAME", requires = "issuer")]
    audience: Option<String>,

    /// The service behind this gateway.
    #[arg(long, value_name = "URL", requires = "issuer", value_parser = config::upstream)]
    upstream: Option<Uri>,

    /// Where the issuer's keys are, if its metadata should not be asked.
    #[arg(long, value_name = "URL", requires = "issuer")]
    jwks_uri: Option<String>,

    /// Where this gateway listens; 127.0.0.1:8080 if not given.
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
            Gateway::new(configuration, &Kept::default())?;
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

/// One route, for every caller whom the issuer knows.
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

/// Serves until it is told to end. A configuration that came from a file is read again when that changes.
async fn gateway(
    configuration: Configuration,
    file: Option<(PathBuf, Log)>,
) -> Result<(), Box<dyn Error>> {
    let metrics = telemetry::metrics()?;
    let process = Process::new(configuration, metrics)?;
    let gateway = process.gateway();
    let configuration = &gateway.configuration;
    let bound = Bound::to(configuration)?;
    let told = serve::told_to_end()?;
    let scheme = if gateway.tls.is_some() {
        "https"
    } else {
        "http"
    };
    println!("listening on {scheme}://{}", bound.listener.local_addr()?);
    if let Some(admin) = &bound.admin {
        println!("admin on http://{}", admin.local_addr()?);
    }
    watch::tell(&configuration.warnings, &[]);
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
    tokio::spawn(watch::watch(Arc::clone(&process), file));
    drop(gateway);
    process.serve(bound, told).await;
    Ok(())
}
