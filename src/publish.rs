//! The third room: keeps records until the broker has them.

pub mod board;
pub mod gate;
pub mod mqtt;
pub mod outbox;
pub mod payload;
