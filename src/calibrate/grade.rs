//! The grade of a measurement.

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    /// It must be cured.
    Fail,
    /// It works, and could be better.
    Warn,
    /// It was not measured, or not yet.
    Unknown,
    /// It is right.
    Pass,
}

impl Grade {
    /// All, the best first.
    pub(crate) const ALL: [Self; 4] = [Self::Pass, Self::Warn, Self::Fail, Self::Unknown];

    /// The word for it.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}
