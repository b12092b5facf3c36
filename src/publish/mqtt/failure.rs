//! Why a connection to a broker ended, and who can do something about it: one list for both of rumqttc's sets of errors.

use std::{fmt::Write as _, io};

use rumqttc::v5::{self, mqttbytes::v5 as packets5};

use super::PATIENCE_S;

/// Why a connection ended, or did not come about.
#[derive(Debug)]
pub struct Failure {
    /// Who can do something about it.
    pub kind: FailureKind,
    /// In words; never with a secret in them.
    pub text: String,
}

/// What can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Wait: the broker is away.
    Away,
    /// Somebody must correct the user, the password or the broker's list of users.
    Unauthorised,
    /// Somebody must correct a certificate.
    Certificate,
}

/// Of a connection in MQTT 3.1.1.
#[must_use]
pub fn of_v311(err: &rumqttc::ConnectionError) -> Failure {
    use rumqttc::{ConnectReturnCode as Code, ConnectionError as Error};
    match err {
        Error::ConnectionRefused(code @ (Code::BadUserNamePassword | Code::NotAuthorized)) => unauthorised(code),
        Error::NetworkTimeout | Error::FlushTimeout => no_answer(),
        Error::Io(err) => away(err.to_string()),
        Error::Tls(err) => tls(err),
        err => away(chain(err)),
    }
}

/// Of a connection in MQTT 5.
#[must_use]
pub fn of_v5(err: &v5::ConnectionError) -> Failure {
    use packets5::ConnectReturnCode as Code;
    use v5::ConnectionError as Error;
    match err {
        Error::ConnectionRefused(
            code @ (Code::BadUserNamePassword | Code::NotAuthorized | Code::Banned | Code::BadAuthenticationMethod),
        ) => unauthorised(code),
        Error::Timeout(_) => no_answer(),
        Error::Io(err) => away(err.to_string()),
        Error::Tls(err) => tls(err),
        err => away(chain(err)),
    }
}

fn unauthorised(code: &impl std::fmt::Debug) -> Failure {
    Failure { kind: FailureKind::Unauthorised, text: format!("{code:?}") }
}

fn no_answer() -> Failure {
    away(format!("no answer within {PATIENCE_S} s"))
}

/// With TLS 1.3 a broker that does not like our certificate says so only after the handshake, as an alert in place
/// of its answer, which rumqttc passes on as words. What the system said has names of rumqttc's layers before it.
fn away(text: String) -> Failure {
    let text = text.rsplit_once("IO: ").map_or(text.as_str(), |(_, said)| said).to_owned();
    let kind = if text.contains("fatal alert") { FailureKind::Certificate } else { FailureKind::Away };
    Failure { kind, text }
}

/// A handshake that failed because the other side went away is an outage; anything else is about certificates.
fn tls(err: &rumqttc::TlsError) -> Failure {
    let kind = match err {
        rumqttc::TlsError::Io(err) if err.kind() != io::ErrorKind::InvalidData => FailureKind::Away,
        _ => FailureKind::Certificate,
    };
    Failure { kind, text: chain(err) }
}

/// An error with its causes that are not part of its own text yet.
fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        let words = err.to_string();
        if !text.contains(&words) {
            write!(text, ": {words}").ok();
        }
        cause = err.source();
    }
    text
}
