//! The first room against real cameras.
