//! Reloads the configuration on SIGHUP, and when its file or a file that it names changes.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis::JwksCache;

use crate::config::model::{Configuration, File, KeySource};
use crate::config::{self, Problem};
use crate::gateway::Gateway;
use crate::process::Process;
use crate::telemetry::Log;

/// Modification time and length of a file when it was last checked.
type Stamp = Option<(SystemTime, u64)>;

/// The addresses of the public listener and of the admin listener.
type Addresses = (SocketAddr, Option<SocketAddr>);

const SECOND: Duration = Duration::from_secs(1);
/// How long a reload waits for the keys of new issuers, so that their first requests do not have
/// to.
const WARMING: Duration = Duration::from_secs(5);

/// Watches the configuration, and fetches missing keys before the first request needs them. Never
/// returns.
pub(crate) async fn watch(
    process: Arc<Process>,
    file: Option<(PathBuf, Log)>,
    mut hangups: Hangups,
) {
    let running = addresses(&process.gateway().configuration);
    let mut seen = file.as_ref().map(|(file, _)| stamps(&process, file));
    loop {
        let is_signaled = tokio::select! {
            () = hangups.next() => true,
            () = tokio::time::sleep(SECOND) => false,
        };
        process.metrics.run_upkeep();
        warm(&process.gateway());
        let Some((file, log)) = &file else {
            continue;
        };
        if is_signaled || seen != Some(stamps(&process, file)) {
            // Taken before the files are read, so that a change during the reload is seen the next
            // time.
            let before = stamps(&process, file);
            reload(&process, file, log, running).await;
            // The new configuration may name other files.
            let after = stamps(&process, file);
            let is_same = before.iter().all(|stamp| after.contains(stamp));
            seen = Some(if is_same { after } else { before });
        }
    }
}

async fn reload(process: &Process, file: &Path, log: &Log, running: Addresses) {
    let before = process.gateway();
    let built = || -> Result<Gateway, Box<dyn Error>> {
        let configuration = config::load(file, std::env::vars_os())?;
        Ok(Gateway::new(configuration, &before.state)?)
    };
    let gateway = match built().map_err(|problem| problem.to_string()) {
        Ok(gateway) => gateway,
        Err(problem) => {
            metrics::counter!("gateway_reloads_total", "result" => "refused").increment(1);
            tracing::error!(problem, "reload failed, the old configuration stays active");
            return;
        }
    };
    let (old, new) = (&before.configuration, &gateway.configuration);
    if ![running, addresses(old)].contains(&addresses(new)) {
        tracing::warn!("a changed listen address needs a restart");
    }
    if old.tls.is_some() != new.tls.is_some() {
        tracing::warn!("new connections change between plain HTTP and TLS");
    }
    log_warnings(&new.warnings, &old.warnings);
    if let Err(error) = log.change(&new.log) {
        tracing::warn!(%error, "the log level could not be changed");
    }
    let _ = tokio::time::timeout(WARMING, all_warm(&gateway.keys)).await;
    let (issuers, routes) = (new.issuers.len(), new.routes.len());
    process.replace(gateway);
    metrics::counter!("gateway_reloads_total", "result" => "ok").increment(1);
    tracing::info!(issuers, routes, "reloaded");
}

/// Logs the warnings that are new.
pub(crate) fn log_warnings(warnings: &[Problem], logged: &[Problem]) {
    let new = warnings.iter().filter(|warning| !logged.contains(warning));
    new.for_each(|warning| tracing::warn!("{warning}"));
}

fn addresses(configuration: &Configuration) -> Addresses {
    (configuration.listen, configuration.admin_listen)
}

/// Starts the key fetches that are due, within the backoff of each issuer.
pub(crate) fn warm(gateway: &Gateway) {
    for keys in &gateway.keys {
        keys.is_ready();
    }
}

/// Waits for the keys of issuers that the previous gateway did not have.
async fn all_warm(keys: &[JwksCache]) {
    for keys in keys.iter().filter(|keys| !keys.is_ready()) {
        if let Err(error) = keys.warm().await {
            tracing::warn!(%error, "keys could not be fetched");
        }
    }
}

fn stamps(process: &Process, file: &Path) -> Vec<(PathBuf, Stamp)> {
    let gateway = process.gateway();
    let named = named(&gateway.configuration);
    let paths = named.into_iter().map(|file| file.path.clone());
    let paths = [file.to_owned()].into_iter().chain(paths);
    paths.map(|path| (path.clone(), stamp(&path))).collect()
}

/// Both values are compared, because some volumes change only one of them.
fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn named(configuration: &Configuration) -> Vec<&File> {
    let tls = configuration
        .tls
        .iter()
        .flat_map(|tls| [&tls.cert, &tls.key].into_iter().chain(&tls.client_ca));
    let issuers = configuration.issuers.iter().flat_map(|issuer| {
        let keys = match &issuer.keys {
            KeySource::JwksFile(file) | KeySource::PublicKeyFile(file) => Some(file),
            KeySource::Discovery | KeySource::JwksUri(_) | KeySource::Secret(_) => None,
        };
        keys.into_iter().chain(&issuer.ca)
    });
    let routes = configuration.routes.iter();
    let routes = routes.filter_map(|route| route.upstream_ca.as_ref());
    tls.chain(issuers).chain(routes).collect()
}

/// The reload signal, on platforms that have one. From its creation on, it does not end the
/// process.
pub(crate) struct Hangups {
    #[cfg(unix)]
    signals: Option<tokio::signal::unix::Signal>,
}

// === impl Hangups ===

impl Hangups {
    #[cfg(unix)]
    pub(crate) fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let signals = signal(SignalKind::hangup()).ok();
        Self { signals }
    }

    #[cfg(not(unix))]
    pub(crate) fn new() -> Self {
        Self {}
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signals) = &mut self.signals {
            signals.recv().await;
            return;
        }
        std::future::pending().await
    }
}
