//! Headers that tell an upstream service who is calling.

mod field;
mod headers;
mod layer;
mod service;

pub use field::IdentityField;
pub use layer::IdentityHeadersLayer;
pub use service::{IdentityHeaders, ResponseFuture};

#[cfg(test)]
mod tests;
