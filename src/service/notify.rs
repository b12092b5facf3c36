//! Notifications to the service manager: READY, STATUS, WATCHDOG, RELOADING, STOPPING.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

use crate::time::Moment;

/// A notification of `sd_notify(3)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notification {
    /// All processes are ready.
    Ready,
    /// One line for `systemctl status`.
    Status(String),
    /// Readings are produced.
    Watchdog,
    /// The configuration has been read again since this moment.
    Reloading(Moment),
    /// The daemon is stopping.
    Stopping,
}

/// The interval within which a [`Notification::Watchdog`] must come; `None` where the service manager expects none.
#[must_use]
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Sends it, where there is a service manager. A failure is only logged: it is no reason to end the daemon.
pub(crate) fn send(notification: &Notification) {
    let sent = match notification {
        Notification::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Notification::Status(line) => sd_notify::notify(&[NotifyState::Status(&one_line(line))]),
        Notification::Watchdog => sd_notify::notify(&[NotifyState::Watchdog]),
        Notification::Reloading(since) => {
            let since_us = NotifyState::MonotonicUsec(i128::from(since.as_ns() / 1000));
            sd_notify::notify(&[NotifyState::Reloading, since_us])
        }
        Notification::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
    };
    if let Err(err) = sent {
        warn!(%err, ?notification, "the service manager could not be notified");
    }
}

/// The protocol separates its assignments by line ends, so a status must not hold any.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_contain_another_notification() {
        assert_eq!(one_line("2 cameras\nREADY=1"), "2 cameras READY=1");
    }
}
