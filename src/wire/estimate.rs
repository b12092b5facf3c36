//! What a network may estimate of a clip beside the emotion and the group's size: one number from 0 to 1 each.
//!
//! This table is all that the daemon knows of an estimate. A network gives it as an output `f32 [clips, 1]` of the same
//! name; its contract says from which to which value it was trained (`outputs.NAME.trained`), and what the golden case
//! answers (`golden.NAME`). Estimates stay on the box: only a dry run's records hold them.

/// One number per clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Estimate {
    /// How wide people's heads are, the median: a share of the picture's width.
    HeadWidth,
}

/// A value for each estimate, in the order of [`Estimate::ALL`].
pub(crate) type Estimates<T> = [T; Estimate::COUNT];

impl Estimate {
    /// All of them.
    pub(crate) const ALL: [Self; Self::COUNT] = [Self::HeadWidth];
    /// How many there are. A dry run's record has room for three.
    pub(crate) const COUNT: usize = 1;

    /// The name of the output, of its keys in the contract and, with `_permille`, of its key in a dry run's JSON.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::HeadWidth => "head_width",
        }
    }

    /// Whether it says something of people, and so nothing where there are none.
    #[must_use]
    pub(crate) const fn is_of_people(self) -> bool {
        match self {
            Self::HeadWidth => true,
        }
    }

    /// Its value among those of all.
    #[must_use]
    pub(crate) fn of<T>(self, all: &Estimates<T>) -> &T {
        &all[self as usize]
    }
}
