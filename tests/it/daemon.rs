//! The whole daemon.
