//! The real parts that tests run against, and ways to wait for an event with a deadline.

pub(crate) mod broker;
pub(crate) mod browser;
pub(crate) mod camera;
pub(crate) mod daemon;
pub(crate) mod http;
pub(crate) mod program;
pub(crate) mod pulse;
