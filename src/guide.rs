//! The guides of the project, as pages of this documentation.

#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]

#[doc = include_str!("../docs/authorization.md")]
pub mod authorization {}

#[doc = include_str!("../docs/rate-limits.md")]
pub mod rate_limits {}

#[doc = include_str!("../docs/observability.md")]
pub mod observability {}

#[doc = include_str!("../docs/performance.md")]
pub mod performance {}

#[doc = include_str!("../docs/attacks.md")]
pub mod attacks {}

#[doc = include_str!("../docs/jwks-faults.md")]
pub mod issuer_faults {}
