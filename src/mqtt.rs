//! MQTT towards a broker: connection, TLS, and why a connection failed. `publish` and `watch` use it.
//!
//! ```text
//! Options ─▶ open ─▶ Client (publish, subscribe, disconnect)
//!               └──▶ EventLoop ─▶ Event, or the Failure that ended the connection
//! ```
//!
//! The only home of rumqttc and rustls. It connects once; the caller connects again, after the delay of
//! [`FailureKind::delays`].

mod connection;
mod failure;
mod tls;

use std::time::Duration;

pub use self::failure::FailureKind;
pub(crate) use self::{
    connection::{Client, Event, EventLoop, Message, Options, Will, open},
    failure::Failure,
    tls::{TlsError, client_config},
};

/// How long to wait for the answer to a connection request, or for space in the socket's buffer, s.
const TIMEOUT_S: u64 = 5;
/// After a connection that lasted longer than this, the next outage starts with short waits again.
pub(crate) const STABLE_CONNECTION: Duration = Duration::from_secs(10);
