//! The second room: decodes, listens, cuts windows, runs the network. It has no network of the other kind.

pub mod aggregate;
pub mod contract;
pub mod decode;
mod eye;
pub mod features;
mod intake;
pub mod microphone;
pub mod ring;
pub mod runtime;
pub mod window;
