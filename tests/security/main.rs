//! The stack under attack: hostile requests, faulty issuers and published test vectors.

mod attacks;
#[path = "../support/forge.rs"]
mod forge;
mod jwks_faults;
#[path = "../support/stack.rs"]
mod support;
mod vectors;
