//! Why a connection to a broker ended, and what can be done about it: one type for both of rumqttc's sets of errors.

use std::{error::Error, fmt::Write as _, io};

use rumqttc::v5::{self, mqttbytes::v5 as packets5};

use super::TIMEOUT_S;
use crate::backoff::Delays;

const AWAY: Delays = Delays::new(1000, 30_000, 0.5);
/// Brokers count wrong passwords and lock users out, so those are tried rarely.
const UNAUTHORISED: Delays = Delays::new(60_000, 600_000, 0.5);

/// Why a connection ended or could not be opened.
#[derive(Debug)]
pub(crate) struct Failure {
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

impl FailureKind {
    /// How long to wait before the next connection.
    #[must_use]
    pub const fn delays(self) -> Delays {
        match self {
            Self::Away | Self::Certificate => AWAY,
            Self::Unauthorised => UNAUTHORISED,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Backoff;

    #[test]
    fn delays_double_and_have_an_upper_bound() {
        let check = |kind: FailureKind, random: f64, expected_s: [f64; 8]| {
            let mut backoff = Backoff::default();
            let delays_s = [(); 8].map(|()| backoff.next(kind.delays(), random).as_secs_f64());
            assert_eq!(delays_s, expected_s, "{kind:?}");
        };
        check(FailureKind::Away, 0.0, [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]);
        check(FailureKind::Certificate, 1.0, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        check(FailureKind::Unauthorised, 1.0, [60.0, 120.0, 240.0, 480.0, 600.0, 600.0, 600.0, 600.0]);
        let mut backoff = Backoff::default();
        assert!((0..100).all(|_| backoff.next(FailureKind::Away.delays(), 1.0).as_secs_f64() <= 30.0));
    }
}
