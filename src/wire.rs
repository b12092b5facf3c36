//! The only types that cross a process border, and their exact bytes.
//!
//! * [`unit`]: `ingest → infer`, compressed access units and what is known about their camera. One way.
//! * [`record`]: `infer → publish`, records of exactly 64 bytes, numbers and enums from closed lists. One way.
//! * [`words`]: the closed lists themselves.
//! * [`control`]: parent ⇄ room, orders and reports. No media.

pub mod access_unit;
pub mod control;
pub mod enums;
pub mod record;

pub use crate::config::CameraId;

/// Bytes that are not what they should be. Whoever sent them is broken or hostile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}: {field}")]
pub struct Malformed {
    /// Which kind of message.
    pub what: &'static str,
    /// Which part of it is wrong.
    pub field: &'static str,
}
