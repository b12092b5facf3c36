//! Decoders, microphones and the network.

mod runtime;
