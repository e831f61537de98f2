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
#[cfg(feature = "issue")]
#[cfg_attr(docsrs, doc(cfg(feature = "issue")))]
pub mod issue;
#[cfg(feature = "test-util")]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod test_util;

pub use algorithm::Algorithm;
pub use answer::ResponseBody;
pub use clock::{Clock, ManualClock};
pub use error::ConfigError;
#[cfg(feature = "issue")]
pub use issue::KeyRing;
#[cfg(feature = "test-util")]
pub use test_util::TestIssuer;
