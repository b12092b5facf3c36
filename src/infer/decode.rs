//! From access units to pictures and samples.
