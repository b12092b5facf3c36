//! What a process needs to be a service: signals, logging, notifications to systemd, the lock of the state directory.

pub(crate) mod lock;
pub(crate) mod logging;
pub(crate) mod notify;
pub(crate) mod pause_file;
pub(crate) mod signals;
pub(crate) mod stop;
pub(crate) mod whole_file;

use std::process::ExitCode;

/// The exit code of the program. The numbers are those of `sysexits.h`, so that systemd and scripts can tell them apart:
/// a restart can only help after [`Exit::Internal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It was stopped, or has done its task.
    Stopped = 0,
    /// It ran to its end, with a negative result: no labelled reading of the demo arrived at the broker, a clip of an
    /// evaluation could not be decoded, `watch --once` did not reach its broker, or a verdict of a dry run is `fail`.
    Unanswered = 1,
    /// The command line is wrong (`EX_USAGE`).
    Usage = 64,
    /// A fault of edge-ger or of the machine (`EX_SOFTWARE`).
    Internal = 70,
    /// Another instance uses the same state directory (`EX_TEMPFAIL`).
    AlreadyRunning = 75,
    /// The configuration or the network is at fault, and a restart does not help (`EX_CONFIG`).
    Configuration = 78,
}

impl Exit {
    /// As a number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
