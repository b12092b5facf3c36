//! What every room has and no stage owns: being stopped, logging, and talking to systemd.

pub mod stop;
