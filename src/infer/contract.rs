//! What a network file says of itself.
