//! Runs the gateway with configuration files, and drives it from outside as clients and operators do.
#![cfg(unix)]

#[path = "gateway/access.rs"]
mod access;
#[path = "gateway/admin.rs"]
mod admin;
#[path = "gateway/answers.rs"]
mod answers;
#[path = "gateway/authority.rs"]
mod authority;
#[path = "gateway/contract.rs"]
mod contract;
#[path = "gateway/greedy.rs"]
mod greedy;
#[path = "gateway/harness.rs"]
mod harness;
#[path = "gateway/headers.rs"]
mod headers;
#[path = "gateway/issuers.rs"]
mod issuers;
#[path = "gateway/keys.rs"]
mod keys;
#[path = "gateway/limits.rs"]
mod limits;
#[path = "gateway/log.rs"]
mod log;
#[path = "gateway/operations.rs"]
mod operations;
#[path = "gateway/paths.rs"]
mod paths;
#[path = "support/process.rs"]
mod process;
#[path = "gateway/profiles.rs"]
mod profiles;
#[path = "gateway/protocols.rs"]
mod protocols;
#[path = "gateway/revocations.rs"]
mod revocations;
#[path = "gateway/routes.rs"]
mod routes;
#[path = "support/redis.rs"]
mod server;
#[path = "gateway/startup.rs"]
mod startup;
#[path = "gateway/stores.rs"]
mod stores;
#[path = "gateway/streams.rs"]
mod streams;
#[path = "gateway/tls.rs"]
mod tls;
#[path = "gateway/upstream.rs"]
mod upstream;
#[path = "gateway/world.rs"]
mod world;
