//! Runs the examples as processes and drives them from outside, as clients and operators do.
#![cfg(unix)]

mod access;
mod admin;
mod answers;
mod authority;
mod contract;
mod demo;
mod greedy;
mod harness;
mod headers;
mod issuers;
mod keys;
mod limits;
mod log;
mod operations;
mod paths;
#[path = "../support/process.rs"]
mod process;
mod profiles;
mod protocols;
mod revocations;
mod routes;
#[path = "../support/redis.rs"]
mod server;
mod setup;
mod startup;
mod stores;
mod streams;
mod tls;
mod upstream;
