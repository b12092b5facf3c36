//! edge-ger watches and listens to a room and publishes only the aggregate emotion of the group in it.
//!
//! One binary, a parent and three processes below it; data flows one way:
//! `ingest` (network, compressed media) → `infer` (pictures and sound, no network) → `publish` (64-byte records).

pub mod cli;
pub mod config;
pub mod supervisor;

pub mod infer;
pub mod ingest;
pub mod publish;

pub mod mqtt;

pub mod calibrate;
#[cfg(feature = "demo")]
pub mod demo;

pub mod evaluate;
pub mod watch;

pub mod backoff;
pub mod drift;
pub mod faults;
pub mod mask;
pub mod sandbox;
pub mod service;
pub mod terminal;
pub mod time;
pub mod wire;

// The whole-part tests are part of the crate, so that nothing is public for their sake alone and rustc sees dead code.
#[cfg(test)]
extern crate self as edge_ger;
#[cfg(test)]
#[path = "../tests/it/main.rs"]
mod it;
