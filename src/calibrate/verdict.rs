//! A verdict on each thing that can be wrong with a camera on site: pure functions over what was seen of it.

mod connection;
mod machine;
mod picture;
mod sound;
mod stream;

pub(crate) use connection::step_words;

use super::{
    facts::{CameraFacts, Facts},
    grade::Grade,
    observations::Observations,
};

/// What the thing belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// The camera's connection.
    Connection,
    /// The compressed picture.
    Stream,
    /// The picture itself.
    Picture,
    /// The sound.
    Sound,
    /// This machine.
    Machine,
    /// What comes out.
    Readings,
}

/// One thing, with its verdict.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    /// What it belongs to.
    pub section: Section,
    /// Its name for programs, which never changes.
    pub key: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// The verdict.
    pub grade: Grade,
    /// The number that was graded, where it is one.
    pub measured: Option<f64>,
    /// That number's unit.
    pub unit: &'static str,
    /// What was measured, in words.
    pub value: String,
    /// What is right, in words.
    pub bound: String,
    /// What to do; empty where it passes.
    pub cure: String,
}

impl Section {
    /// All, in the order of a report.
    pub(crate) const ALL: [Self; 6] =
        [Self::Connection, Self::Stream, Self::Picture, Self::Sound, Self::Machine, Self::Readings];

    /// The word for it.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Stream => "stream",
            Self::Picture => "picture",
            Self::Sound => "sound",
            Self::Machine => "machine",
            Self::Readings => "readings",
        }
    }
}

impl Item {
    /// Something that was not measured.
    fn new(section: Section, key: &'static str, title: &'static str) -> Self {
        Self {
            section,
            key,
            title,
            grade: Grade::Unknown,
            measured: None,
            unit: "",
            value: "not measured yet".into(),
            bound: String::new(),
            cure: String::new(),
        }
    }

    /// The number that is graded.
    fn measured(self, number: f64, unit: &'static str) -> Self {
        Self { measured: Some(number), unit, ..self }
    }

    /// What was measured, in words.
    fn is(self, value: impl Into<String>) -> Self {
        Self { value: value.into(), ..self }
    }

    /// What is right, in words.
    fn should_be(self, bound: impl Into<String>) -> Self {
        Self { bound: bound.into(), ..self }
    }

    /// The verdict, and what to do where it is not a pass.
    fn graded(self, grade: Grade, cure: impl Into<String>) -> Self {
        let cure = if grade == Grade::Pass { String::new() } else { cure.into() };
        Self { grade, cure, ..self }
    }
}

/// What a verdict looks at.
#[derive(Clone, Copy)]
struct View<'a> {
    seen: &'a Observations,
    facts: &'a Facts,
    camera: &'a CameraFacts,
}

/// The verdicts on one camera, always the same items in the same order.
#[must_use]
pub(crate) fn all(seen: &Observations, facts: &Facts, camera: &CameraFacts) -> Vec<Item> {
    let view = View { seen, facts, camera };
    let parts = [
        connection::items(&view),
        stream::items(&view),
        picture::items(&view),
        sound::items(&view),
        machine::items(&view),
        machine::readings(&view),
    ];
    parts.into_iter().flatten().collect()
}

/// How many of each grade, in the order of [`Grade::ALL`].
#[must_use]
pub(crate) fn counts<'a>(items: impl Iterator<Item = &'a Item>) -> [usize; 4] {
    let mut counts = [0; 4];
    for item in items {
        if let Some(at) = Grade::ALL.iter().position(|it| *it == item.grade) {
            counts[at] += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::{super::facts::tests::facts, *};
    use crate::calibrate::observations::tests::good;

    /// The verdict on `key` after something was changed about a good camera.
    #[track_caller]
    pub(super) fn item(key: &str, change: impl FnOnce(&mut Observations, &mut Facts)) -> Item {
        let (mut seen, mut facts) = (good(24), facts());
        change(&mut seen, &mut facts);
        let camera = facts.cameras[0].clone();
        let found = all(&seen, &facts, &camera).into_iter().find(|it| it.key == key);
        found.unwrap_or_else(|| panic!("there is no {key}"))
    }

    #[track_caller]
    pub(super) fn grades(key: &str, expected: Grade, change: impl FnOnce(&mut Observations, &mut Facts)) {
        let item = item(key, change);
        assert_eq!(item.grade, expected, "{item:?}");
        let is_cured = matches!(expected, Grade::Warn | Grade::Fail);
        assert!(!is_cured || !item.cure.is_empty(), "what to do about it? {item:?}");
        assert!(!item.value.is_empty() && !item.bound.is_empty(), "{item:?}");
    }

    #[test]
    fn a_good_camera_passes_everything_that_is_measured() {
        let facts = facts();
        let items = all(&good(24), &facts, &facts.cameras[0]);
        let not_passed: Vec<_> = items.iter().filter(|it| it.grade != Grade::Pass).map(|it| it.key).collect();
        // Nobody has clapped.
        assert_eq!(not_passed, ["sync"], "{items:#?}");
        let mut keys: Vec<_> = items.iter().map(|it| it.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), items.len(), "a key names one thing");
    }

    #[test]
    fn nothing_is_said_of_a_camera_that_was_not_heard_of() {
        let facts = facts();
        let items = all(&Observations::default(), &facts, &facts.cameras[0]);
        assert!(items.iter().all(|it| it.grade == Grade::Unknown && it.measured.is_none()), "{items:#?}");
        assert_eq!(counts(items.iter()), [0, 0, 0, items.len()]);
    }
}
