//! The only module that emits metrics and events.
//!
//! `names` lists every metric and event; `docs/observability.md` is checked against it. A function
//! does nothing if its feature (`metrics`, `tracing`) is off, so callers need no `cfg`.

mod decision;
mod emit;
mod metric;
mod names;
mod report;
#[cfg(feature = "redis")]
pub(crate) mod store;
#[cfg(all(test, feature = "tracing"))]
pub(crate) mod testing;

pub(crate) use decision::{CachedMetrics, Description, RequestView, Stopwatch};
pub(crate) use emit::{
    FetchFailure, IssuerLabel, KeyChange, TokenCacheMetrics, jwks_age, jwks_failed, jwks_refreshed,
    jwks_restored, jwks_unknown_kid, limit_trusts_no_proxy, propagated, propagation_without_caller,
    revocation_added, token_outlives_revocations,
};
#[cfg(feature = "metrics")]
pub use names::describe_metrics;
pub(crate) use report::report;

#[cfg(all(test, feature = "redis", feature = "tracing", feature = "metrics"))]
mod tests;
