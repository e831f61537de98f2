//! portcullis
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

mod algorithm;
mod answer;
mod claim_path;
mod clock;
mod error;
mod gate;
mod identity;
mod names;
mod observe;
mod peer;
pub mod propagate;
mod rejection;
mod respond;

pub use algorithm::Algorithm;
pub use answer::ResponseBody;
pub use claim_path::ClaimPath;
pub use clock::{Clock, ManualClock};
pub use error::ConfigError;
pub use identity::{Caller, Identity};
pub use names::Names;
pub use peer::PeerAddr;
pub use propagate::{IdentityHeadersLayer, TokenPropagationLayer};
pub use rejection::{Reason, Rejection};
pub use respond::Protocol;
