//! A camera, a broker and the daemon in one command.

pub mod broker;
pub mod camera;
