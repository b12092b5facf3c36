//! Processes: supervisor, sandbox, service.
//!
//! The processes here are tiny ones of the tests, started by the real parent, with the real sockets. Each is this test
//! binary with the name of a test as argument.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper outside #[test] is not covered by allow-unwrap-in-tests"
)]

mod command;
mod daemon;
mod parent;
mod sandbox;
mod tiny;
mod unit;
