//! The only types that cross a process boundary, and their exact bytes.
//!
//! * [`access_unit`]: `ingest` → `infer`, compressed access units and the state of their cameras. One way.
//! * [`record`]: `infer` → `publish`, records of exactly 64 bytes: numbers and enums from closed lists. One way.
//! * [`enums`]: the closed lists; [`estimate`]: the numbers that a network may estimate.
//! * [`control`]: parent ⇄ worker, orders and reports as JSON. No media.

pub(crate) mod access_unit;
pub(crate) mod control;
pub(crate) mod enums;
pub(crate) mod estimate;
pub(crate) mod process;
pub(crate) mod record;

pub use crate::config::CameraId;

/// Bytes that are not a valid message: the process that sent them has a fault or is compromised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}: {field}")]
pub struct Malformed {
    /// The kind of message.
    pub what: &'static str,
    /// The field with the invalid value.
    pub field: &'static str,
}
