#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(test),
    warn(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

#[cfg(not(any(feature = "aws-lc-rs", feature = "rust-crypto")))]
compile_error!(
    "portcullis needs a crypto backend: enable the feature `aws-lc-rs` (the default) or `rust-crypto`"
);

mod algorithm;
mod body;
mod caller_scope;
mod claim_path;
pub mod client_address;
mod clock;
mod crypto;
mod decision;
mod duration;
mod error;
mod gate;
mod gated_service;
#[cfg(all(doc, feature = "full"))]
pub mod guide;
mod identity;
mod inner_accessors;
mod json;
pub mod manifest;
pub mod names;
mod observe;
mod on_rejection;
mod origin;
mod policy_name;
mod preflight;
mod protocol;
mod realm;
mod reason;
mod rejection;
mod respond;
mod route;
mod sharded;
#[cfg(feature = "redis")]
mod single_flight;
mod stage;
mod sync;
mod tenant;
mod words;

#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
mod axum;
#[cfg(feature = "issue")]
#[cfg_attr(docsrs, doc(cfg(feature = "issue")))]
pub mod issue;
pub mod jwks;
pub mod jwt;
pub mod propagate;
pub mod rate_limit;
#[cfg(feature = "redis")]
mod redis;
pub mod require;
pub mod revoke;
#[cfg(feature = "test-util")]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod test_util;

#[cfg(feature = "axum")]
pub use crate::axum::{Claims, GuardedRouter};
pub use algorithm::Algorithm;
pub use body::ResponseBody;
pub use claim_path::ClaimPath;
pub use client_address::PeerAddr;
pub use clock::{Clock, ManualClock};
pub use decision::{DecisionLog, DecisionRecord, Mode};
pub use error::ConfigError;
pub use identity::{Caller, Identity};
#[cfg(feature = "issue")]
pub use issue::KeyRing;
pub use jwks::{JwksCache, JwksCacheLayer, JwksSource, KeySet};
pub use jwt::{Issuer, JwtAuthLayer, Profile};
pub use names::Names;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use observe::describe_metrics;
pub use on_rejection::{OnRejection, OnRejectionFuture, OnRejectionLayer};
pub use propagate::{IdentityHeadersLayer, TokenPropagationLayer};
pub use protocol::{GrpcMediaType, Protocol};
pub use rate_limit::{Quota, RateLimitLayer};
pub use rejection::{CustomReason, Reason, Rejection};
pub use require::{
    RequireLayer, RequirePermissionLayer, RequireRoleLayer, RequireScopeLayer, Rule, Rules,
};
pub use revoke::Revocations;
pub use route::RouteTemplate;
pub use stage::Stage;
#[cfg(feature = "test-util")]
pub use test_util::TestIssuer;
