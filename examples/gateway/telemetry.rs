//! Logs as JSON lines on standard output, and metrics for Prometheus.

use std::error::Error;
use std::fmt;
use std::iter;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Changes the log level while the process runs.
#[derive(Clone)]
pub(crate) struct Log(reload::Handle<EnvFilter, Registry>);

/// Displays an error followed by its sources, outermost first.
pub(crate) struct Causes<'e>(pub(crate) &'e (dyn Error + 'static));

/// Buckets from 1 ms to 10 s; for decisions, from 1 µs to 100 ms.
const SECONDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const DECISION_SECONDS: [f64; 12] = [
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 1e-2, 1e-1,
];

// === impl Log ===

impl Log {
    /// Installs the subscriber. `RUST_LOG` takes precedence over the configuration.
    pub(crate) fn start(level: &str) -> Result<Self, Box<dyn Error>> {
        let (filter, handle) = reload::Layer::new(filter(level)?);
        let lines = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false);
        tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .init();
        Ok(Self(handle))
    }

    pub(crate) fn change(&self, level: &str) -> Result<(), Box<dyn Error>> {
        Ok(self.0.reload(filter(level)?)?)
    }
}

fn filter(level: &str) -> Result<EnvFilter, Box<dyn Error>> {
    if let Ok(filter) = EnvFilter::try_from_default_env() {
        return Ok(filter);
    }
    Ok(EnvFilter::try_new(level)?)
}

/// Logs to stderr, because the demonstration prints its banner on stdout.
pub(crate) fn log_to_stderr() {
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_writer(std::io::stderr)
        .init();
}

// === impl Causes ===

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut causes = iter::successors(self.0.source(), |error| (*error).source());
        causes.try_for_each(|cause| write!(f, ": {cause}"))
    }
}

/// Installs the metrics recorder. Counts before this call are lost.
pub(crate) fn metrics() -> Result<PrometheusHandle, Box<dyn Error>> {
    let decisions = Matcher::Full("portcullis_auth_duration_seconds".to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets(&SECONDS)?
        .set_buckets_for_metric(decisions, &DECISION_SECONDS)?
        .install_recorder()?;
    portcullis::describe_metrics();
    Ok(handle)
}
