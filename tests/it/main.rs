//! Every test that needs more than one module, in one binary: real cameras, brokers, microphones, networks.

#![allow(clippy::disallowed_methods, reason = "tests wait for real events with real deadlines")]

mod harness;

mod config;
mod daemon;
mod infer;
mod ingest;
mod publish;
mod rooms;
mod tidy;
