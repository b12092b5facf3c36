//! The first room: pulls compressed video and sound from the cameras, and lets through what the network will see.

pub mod backoff;
pub mod rtsp;
pub mod sampling;
