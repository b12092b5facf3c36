//! What each room may do.
