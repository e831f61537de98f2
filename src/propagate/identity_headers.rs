//! Headers that tell an upstream service who is calling.

mod field;
mod layer;
mod names;
mod owned;
mod service;

pub use field::{IdentityField, Made};
pub use layer::IdentityHeadersLayer;
pub use service::{IdentityHeaders, ResponseFuture};

#[cfg(test)]
mod tests;
