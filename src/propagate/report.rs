//! What is told about a request that leaves: to whom, and whether with a token. Never the token.

use super::policy::{Destination, Verdict};

/// Counts and logs one verdict.
#[allow(unused_variables)]
pub(crate) fn report(verdict: &Verdict, destination: &Destination<'_>) {
    #[cfg(feature = "metrics")]
    metrics::counter!(
        "portcullis_propagation_total",
        "mode" => "forward",
        "result" => verdict.code(),
    )
    .increment(1);
    #[cfg(feature = "tracing")]
    tracing::debug!(
        target: "portcullis",
        event = match verdict {
            Verdict::Forward(_) => "propagation.sent",
            Verdict::Nothing(_) => "propagation.withheld",
        },
        mode = "forward",
        code = verdict.code(),
        origin = match destination {
            Destination::To(origin) => Some(tracing::field::display(origin)),
            Destination::Implied | Destination::Unclear => None,
        },
    );
}
