//! Words to the service manager: READY, STATUS, WATCHDOG, RELOADING, STOPPING.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

use crate::time::Moment;

/// Something that the service manager should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// All rooms work.
    Ready,
    /// One line for `systemctl status`.
    Status(String),
    /// Readings are produced: do not restart us.
    Watchdog,
    /// The configuration is being read anew since this moment.
    Reloading(Moment),
    /// The end has begun.
    Stopping,
}

/// How often a [`Word::Watchdog`] must come at least; `None` where nobody waits for it.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Says it, where a service manager listens. A service manager that does not is no reason to stop reading a room's
/// mood, so that is only logged.
pub fn say(word: &Word) {
    let said = match word {
        Word::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Word::Status(line) => sd_notify::notify(&[NotifyState::Status(&one_line(line))]),
        Word::Watchdog => sd_notify::notify(&[NotifyState::Watchdog]),
        Word::Reloading(since) => {
            let since_us = NotifyState::MonotonicUsec(i128::from(since.as_ns() / 1000));
            sd_notify::notify(&[NotifyState::Reloading, since_us])
        }
        Word::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
    };
    if let Err(err) = said {
        warn!(%err, ?word, "the service manager did not hear us");
    }
}

/// The protocol separates its assignments by line ends, so a status must not hold any.
fn one_line(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_smuggle_another_word() {
        assert_eq!(one_line("2 cameras\nREADY=1"), "2 cameras READY=1");
    }
}
