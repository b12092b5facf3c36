//! Why a connection to a broker ended, and what can be done about it: one type for both of rumqttc's sets of errors.

use std::{error::Error, fmt::Write as _, io};

use rumqttc::v5::{self, mqttbytes::v5 as packets5};

use super::TIMEOUT_S;

/// Why a connection ended or could not be opened.
#[derive(Debug)]
pub struct Failure {
    /// What can be done about it.
    pub kind: FailureKind,
    /// The reason in words; it never contains a secret.
    pub text: String,
}

/// What can be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Wait: the broker cannot be reached.
    Away,
    /// Correct the user, the password or the broker's list of users.
    Unauthorised,
    /// Correct a certificate.
    Certificate,
}

pub(super) fn from_v311(err: &rumqttc::ConnectionError) -> Failure {
    use rumqttc::{ConnectReturnCode as Code, ConnectionError};
    match err {
        ConnectionError::ConnectionRefused(code @ (Code::BadUserNamePassword | Code::NotAuthorized)) => {
            unauthorised(code)
        }
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => no_answer(),
        ConnectionError::Io(err) => away(&err.to_string()),
        ConnectionError::Tls(err) => tls(err),
        err => away(&with_causes(err)),
    }
}

pub(super) fn from_v5(err: &v5::ConnectionError) -> Failure {
    use packets5::ConnectReturnCode as Code;
    use v5::ConnectionError;
    match err {
        ConnectionError::ConnectionRefused(
            code @ (Code::BadUserNamePassword | Code::NotAuthorized | Code::Banned | Code::BadAuthenticationMethod),
        ) => unauthorised(code),
        ConnectionError::Timeout(_) => no_answer(),
        ConnectionError::Io(err) => away(&err.to_string()),
        ConnectionError::Tls(err) => tls(err),
        err => away(&with_causes(err)),
    }
}

fn unauthorised(code: &impl std::fmt::Debug) -> Failure {
    Failure { kind: FailureKind::Unauthorised, text: format!("{code:?}") }
}

fn no_answer() -> Failure {
    away(&format!("no answer within {TIMEOUT_S} s"))
}

/// In TLS 1.3 a broker that rejects our certificate says so only after the handshake: an alert takes the place of its
/// CONNACK, and rumqttc passes it on as text. The names of rumqttc's layers before the system's message are cut off.
fn away(text: &str) -> Failure {
    let text = text.rsplit_once("IO: ").map_or(text, |(_, reason)| reason).to_owned();
    let kind = if text.contains("fatal alert") { FailureKind::Certificate } else { FailureKind::Away };
    Failure { kind, text }
}

/// A handshake that failed because the peer closed the connection is an outage; anything else is about certificates.
fn tls(err: &rumqttc::TlsError) -> Failure {
    let kind = match err {
        rumqttc::TlsError::Io(err) if err.kind() != io::ErrorKind::InvalidData => FailureKind::Away,
        _ => FailureKind::Certificate,
    };
    Failure { kind, text: with_causes(err) }
}

/// An error with those of its causes that its own text does not contain.
fn with_causes(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        let reason = err.to_string();
        if !text.contains(&reason) {
            write!(text, ": {reason}").ok();
        }
        cause = err.source();
    }
    text
}
