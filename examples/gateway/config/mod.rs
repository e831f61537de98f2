//! The configuration file: what it may say, and how it is read.
#![allow(dead_code)] // Until the gateway is built from it.

pub(crate) mod model;
pub(crate) mod secrets;
