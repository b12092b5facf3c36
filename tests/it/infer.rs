//! Decoders, microphones and the network.

mod media;
mod runtime;
