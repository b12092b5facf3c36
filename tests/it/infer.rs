//! Decoders, microphones and the network.
