//! The third room: keeps records until the broker has them.

pub mod mqtt;
pub mod outbox;
