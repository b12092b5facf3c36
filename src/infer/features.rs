//! From pictures and samples to the network's inputs, equal to what the training libraries make of them.
//!
//! Pure: no I/O, no clock. Every part is built once and keeps its buffers.

pub(crate) mod hum;
pub(crate) mod picture;
pub(crate) mod sound;
