//! The configuration file and its reader.
//!
//! The text is parsed into a tree whose values know their lines (`document`). Environment variables
//! replace some values (`environment`). Each section then reads its keys by name (`section`).
//! Unknown keys and invalid values are errors, and all errors are reported at once. Valid but
//! suspicious settings produce warnings.

mod build;
mod callers;
mod document;
mod environment;
mod files;
mod issuers;
pub(crate) mod keys;
mod limits;
pub(crate) mod model;
mod names;
mod print;
mod problems;
mod read;
mod requirement;
mod route;
mod routes;
pub(crate) mod secrets;
mod section;
mod store;
mod values;

pub(crate) use names::upstream;
pub(crate) use problems::Problem;
pub(crate) use read::load;

#[cfg(test)]
mod tests;
