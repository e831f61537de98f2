//! The connection to a Redis or Valkey server. It is independent of the stored data.
//!
//! * [`Address`](address::Address) reads the URL and opens a stream: TCP, a Unix socket, or TLS.
//! * [`RedisClient`] keeps one connection, bounds every call, and reconnects.
//! * [`Breaker`](breaker::Breaker) stops the calls to a server that keeps failing, and lets one
//!   probe at a time try it again.

mod address;
mod breaker;
mod client;
#[cfg(feature = "redis-tls")]
mod tls;

pub(crate) use breaker::BreakerStats;
pub(crate) use client::{DEADLINE, Events, RedisClient};
