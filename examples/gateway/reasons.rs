//! The gateway's own reasons to reject a request, in addition to the reasons of the library.

use axum::http::StatusCode;
use portcullis::{CustomReason, Reason};

/// The path can be read in two ways.
pub(crate) const BAD_PATH: Reason = Reason::Custom(&CustomReason::new(
    StatusCode::BAD_REQUEST,
    "bad_path",
    3,
    "the path is ambiguous",
));

/// No route has the path.
pub(crate) const NO_ROUTE: Reason = Reason::Custom(&CustomReason::new(
    StatusCode::NOT_FOUND,
    "no_route",
    12,
    "no route for this path",
));

/// The request body is larger than the gateway forwards.
pub(crate) const BODY_TOO_LARGE: Reason = Reason::Custom(&CustomReason::new(
    StatusCode::PAYLOAD_TOO_LARGE,
    "body_too_large",
    8,
    "the body is too large",
));

/// The upstream service could not be reached.
pub(crate) const UPSTREAM_UNREACHABLE: Reason = Reason::Custom(&CustomReason::new(
    StatusCode::BAD_GATEWAY,
    "upstream_unreachable",
    14,
    "the upstream service cannot be reached",
));

/// The upstream service did not answer in time.
pub(crate) const UPSTREAM_TIMEOUT: Reason = Reason::Custom(&CustomReason::new(
    StatusCode::GATEWAY_TIMEOUT,
    "upstream_timeout",
    4,
    "the upstream service did not answer in time",
));

/// The gateway does not forward protocol upgrades.
pub(crate) const UPGRADE_NOT_SUPPORTED: Reason = Reason::Custom(&CustomReason::new(
    StatusCode::NOT_IMPLEMENTED,
    "upgrade_not_supported",
    12,
    "protocol upgrades are not supported",
));
