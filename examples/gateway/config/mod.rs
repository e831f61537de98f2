//! The configuration file: what it may say, and how it is read.
//!
//! Text becomes a tree whose values know their lines (`document`), the environment replaces some of them
//! (`environment`), and each section asks for its keys by name (`section`): what nobody asked for is an error, as is
//! every value that will not do. All errors are told at once. What may stand but is hardly meant becomes a warning.

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
