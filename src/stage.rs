//! Which part of the stack decided about a request.

/// The layer, extractor or handler that decided about a request.
///
/// [`Rejection::stage`](crate::Rejection::stage) names the stage that rejected a request, and every
/// [`DecisionRecord`](crate::DecisionRecord) names the stage that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// `JwtAuthLayer`: the credential is missing, wrong, or cannot be verified now.
    Authentication,
    /// `RequireLayer` and its relatives: the caller lacks a right.
    Authorization,
    /// `RateLimitLayer`: a quota is used up, or its store is unavailable.
    RateLimit,
    /// `IdentityHeadersLayer`: the caller cannot be described in headers.
    Propagation,
    /// An axum extractor.
    Extractor,
    /// The application: a handler or its own layer.
    Application,
}

crate::words::words! {
    Stage: "stage" {
        Authentication => "authentication",
        Authorization => "authorization",
        RateLimit => "rate_limit",
        Propagation => "propagation",
        Extractor => "extractor",
        Application => "application",
    }
}
