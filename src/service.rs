//! What every room has and no stage owns: being stopped, logging, and talking to systemd.

pub mod lock;
pub mod logging;
pub mod notify;
pub mod pause;
pub mod signals;
pub mod stop;
pub mod whole_file;

use std::process::ExitCode;

/// How the program ends. The numbers are those of `sysexits.h`, so that systemd and scripts can tell what to do:
/// only [`Exit::Internal`] is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It was stopped, or has done what it was asked to do.
    Stopped = 0,
    /// It ran to its end, and something had no answer or must be cured: no labelled reading of the demo arrived at the
    /// broker, a clip of an evaluation could not be decoded, `watch --once` did not reach its broker, or a verdict of a
    /// dry run is `fail`.
    Unanswered = 1,
    /// The command line is wrong (`EX_USAGE`).
    Usage = 64,
    /// A fault of edge-ger or of the machine (`EX_SOFTWARE`).
    Internal = 70,
    /// Another instance uses the same state directory (`EX_TEMPFAIL`).
    AlreadyRunning = 75,
    /// The configuration or the network is at fault: it will be no better the next time (`EX_CONFIG`).
    Configuration = 78,
}

impl Exit {
    /// The number that the shell sees.
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
