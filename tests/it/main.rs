//! Every test that needs more than one module, in one binary: real cameras, brokers, microphones, networks.

mod harness;

mod config;
mod daemon;
mod infer;
mod ingest;
mod publish;
mod rooms;
mod tidy;
