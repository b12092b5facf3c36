//! The names of the three processes.

use std::{fmt, str::FromStr};

/// A process of the daemon below the parent, in the order in which the data passes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ProcessName {
    /// Receives compressed video and sound from the cameras.
    Ingest,
    /// Decodes, records microphones and runs the network.
    Infer,
    /// Keeps records until the broker has acknowledged them.
    Publish,
}

impl ProcessName {
    /// All three, in the order of the data.
    pub(crate) const ALL: [Self; 3] = [Self::Ingest, Self::Infer, Self::Publish];

    /// The name on the command line and in the log.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Infer => "infer",
            Self::Publish => "publish",
        }
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names none of the three processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the processes are ingest, infer and publish")]
pub(crate) struct UnknownProcess;

impl FromStr for ProcessName {
    type Err = UnknownProcess;

    fn from_str(text: &str) -> Result<Self, UnknownProcess> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or(UnknownProcess)
    }
}
