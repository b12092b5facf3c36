//! From pictures and samples to the network's inputs.
