//! Bounded rings of frames and samples.
