//! Processes: supervisor, sandbox, service.
//!
//! The rooms here are tiny ones of the tests' own, but they are processes of their own all the same, started by the
//! real parent over the real sockets. Each is this very test binary, told by its arguments to be a room.

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
