//! Diagnostics of a configuration: the place, the key, what is wrong, and the cure.
//!
//! None repeats a value of a file or of the environment: `user = "admin:1234"` must not get into the journal.

use std::{fmt, path::PathBuf};

/// Where something was written, or should have been. In the order in which diagnostics are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// On the command line.
    CommandLine,
    /// In a file.
    File {
        /// As it was named on the command line, or the folder that was named there and the file in it.
        path: PathBuf,
        /// From 1; 0 where it is about the whole file.
        line: usize,
    },
    /// In this variable of the environment.
    Environment(String),
    /// Nowhere: the default applies.
    Default,
}

impl Place {
    /// Reads a value's origin, which is a place's text.
    pub(super) fn from_origin(origin: &str) -> Self {
        if let Some(name) = origin.strip_prefix(ENVIRONMENT) {
            return Self::Environment(name.to_owned());
        }
        let (path, line) = origin.rsplit_once(':').unwrap_or((origin, ""));
        Self::File { path: path.into(), line: line.parse().unwrap_or(0) }
    }
}

/// Before the name of a variable.
const ENVIRONMENT: &str = "environment: ";

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "{ENVIRONMENT}{name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A fault or a warning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Diagnostic {
    /// Where.
    pub place: Place,
    /// `section.key`, `section`, or empty where it is about neither.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do; may be empty.
    pub cure: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [colon, semicolon] =
            [(&self.key, ": "), (&self.cure, "; ")].map(|(text, mark)| if text.is_empty() { "" } else { mark });
        write!(f, "{}: {}{colon}{}{semicolon}{}", self.place, self.key, self.what, self.cure)
    }
}

/// Everything that is wrong with a configuration: at least one fault, sorted by place. One line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Faults(pub Vec<Diagnostic>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }
}

/// What is wrong with a value, and the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) what: String,
    pub(super) cure: String,
}

impl Problem {
    pub(super) fn new(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { what: what.into(), cure: cure.into() }
    }
}

/// Faults and warnings while they are gathered.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    pub(super) faults: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(super) fn fault(&mut self, place: Place, key: impl Into<String>, problem: Problem) {
        self.faults.push(Diagnostic { place, key: key.into(), what: problem.what, cure: problem.cure });
    }

    pub(super) fn warning(&mut self, place: Place, key: impl Into<String>, problem: Problem) {
        self.warnings.push(Diagnostic { place, key: key.into(), what: problem.what, cure: problem.cure });
    }

    /// Sorts by place. A variable's fault that was found for several cameras is kept once.
    pub(super) fn sort(&mut self) {
        for diagnostics in [&mut self.faults, &mut self.warnings] {
            diagnostics.sort();
            diagnostics.dedup();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_place() {
        let file = Place::File { path: "/etc/edge-ger/a: b.toml".into(), line: 17 };
        for place in [file, Place::Environment("EDGE_GER__MQTT__PORT".into())] {
            assert_eq!(Place::from_origin(&place.to_string()), place);
        }
    }
}
