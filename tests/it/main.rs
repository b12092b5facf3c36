//! Every test that needs more than one module, in one binary: real cameras, brokers, microphones, networks.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where it fails, and waits for real events with real deadlines"
)]

mod harness;

mod config;
mod daemon;
mod dashboards;
#[cfg(feature = "demo")]
mod demo;
mod docs;
mod evaluate;
mod fleet;
mod infer;
mod ingest;
mod packages;
mod page;
mod probe;
mod processes;
mod publish;
mod tidy;
mod watch;
