//! A gateway in front of services that know nothing of tokens, to be forked.
//!
//! `cargo run --example gateway` runs a whole demonstration in one process and prints `curl` lines to try. See README.md.

mod config;
mod demo;
mod entrance;
mod gateway;
mod headers;
mod proxy;
mod serve;
mod upstream;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use gateway::Gateway;
use serve::Servers;
use upstream::Upstream;

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
    #[arg(long, value_name = "URL", requires = "issuer")]
    upstream: Option<Upstream>,

    /// Where the issuer's keys are, if its metadata should not be asked.
    #[arg(long, value_name = "URL", requires = "issuer")]
    jwks_uri: Option<String>,

    /// Where this gateway listens; 127.0.0.1:8080 if not given.
    #[arg(long, value_name = "ADDRESS", requires = "issuer")]
    listen: Option<SocketAddr>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_writer(std::io::stderr)
        .init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    if let Some(file) = &arguments.config {
        let configuration = config::load(file, std::env::vars_os())?;
        if arguments.check {
            print!("{configuration}");
            return Ok(());
        }
        return Err("a configuration can only be checked yet: add --check".into());
    }
    if let (Some(issuer), Some(audience), Some(upstream)) =
        (&arguments.issuer, &arguments.audience, &arguments.upstream)
    {
        let keys = arguments.jwks_uri.as_deref();
        let gateway = Gateway::before(upstream.clone(), issuer, audience, keys)?;
        let address = arguments.listen.unwrap_or(([127, 0, 0, 1], 8080).into());
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        let mut servers = Servers::default();
        servers.start(listener, gateway.router()?);
        let told = serve::told_to_end()?;
        println!("listening on http://{bound}");
        return Ok(servers.run_until(told).await?);
    }
    if arguments.demo_check {
        return demo::check(arguments.without).await;
    }
    demo::run().await
}
