//! The third room against a real broker.
