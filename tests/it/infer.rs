//! Decoders, microphones and the network.

mod media;
