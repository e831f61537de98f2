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
mod clock;
mod error;
mod flight;
pub mod jwks;

pub use algorithm::Algorithm;
pub use answer::ResponseBody;
pub use clock::{Clock, ManualClock};
pub use error::ConfigError;
pub use jwks::{JwksCache, JwksCacheLayer, JwksSource, KeySet};
