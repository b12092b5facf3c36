//! The table of a fleet: a line for each camera, filtered and sorted.

use std::cmp::{Ordering, Reverse};

use super::{BoxState, Camera};
use crate::{
    watch::text::{Label, Reading},
    wire::record::{CameraState, Withheld},
};

const PAUSED: &str = Withheld::Paused.as_str();

/// One line of the table: a camera, or a box without any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    /// The box's name.
    pub box_name: &'a str,
    /// The box.
    pub box_state: &'a BoxState,
    /// The camera's name and the camera.
    pub camera: Option<(&'a str, &'a Camera)>,
}

impl Row<'_> {
    /// `box/camera`.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        self.camera.map_or_else(|| self.box_name.to_owned(), |(camera, _)| format!("{}/{camera}", self.box_name))
    }

    /// The state in a word. While the box is offline, the last state of its cameras is not valid.
    #[must_use]
    pub(crate) fn state(&self) -> &'static str {
        match (self.box_state.online, self.camera.map(|(_, camera)| camera.state)) {
            (Some(false), _) => "box off",
            // A camera that is paused on schedule is no problem.
            (_, Some(Some(CameraState::Offline))) if self.reading().is_some_and(|reading| reading.reason == PAUSED) => {
                PAUSED
            }
            (_, Some(Some(state))) => state.as_str(),
            (Some(true), None) => "online",
            (_, Some(None)) | (None, None) => "unknown",
        }
    }

    /// The newest reading.
    #[must_use]
    pub(crate) fn reading(&self) -> Option<&Reading> {
        self.camera?.1.newest.as_ref()
    }

    /// The time since the end of its window, ms.
    #[must_use]
    pub(crate) fn age_ms(&self, now_ms: u64) -> Option<u64> {
        Some(now_ms.saturating_sub(self.reading()?.ts_ms))
    }
}

/// What the table is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    /// `box/camera`.
    #[default]
    Name,
    /// Those that are not online first.
    State,
    /// Negative, neutral, positive, withheld; the highest probability first.
    Label,
    /// The oldest reading first.
    Age,
    /// The slowest first.
    Latency,
}

impl Sort {
    /// All of them, in the order of the sort key.
    pub(crate) const ALL: [Self; 5] = [Self::Name, Self::State, Self::Label, Self::Age, Self::Latency];

    /// The displayed word.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state",
            Self::Label => "label",
            Self::Age => "age",
            Self::Latency => "latency",
        }
    }
}

/// The rows whose name, state, label or reason contains `filter`, sorted.
pub(super) fn rows<'a>(
    boxes: impl Iterator<Item = (&'a String, &'a BoxState)>,
    filter: &str,
    sort: Sort,
    reverse: bool,
) -> Vec<Row<'a>> {
    let mut rows: Vec<_> = boxes.flat_map(|(name, state)| rows_of(name, state)).collect();
    if !filter.is_empty() {
        rows.retain(|row| matches(row, filter));
    }
    rows.sort_by_cached_key(|row| natural_key(&row.name()));
    // Stable: equal rows stay in the order of their names.
    match sort {
        Sort::Name => (),
        Sort::State => rows.sort_by_key(|row| row.state() == "online"),
        Sort::Label => rows.sort_by(|a, b| by_label(a.reading(), b.reading())),
        Sort::Age => rows.sort_by_key(|row| row.reading().map_or(u64::MAX, |reading| reading.ts_ms)),
        Sort::Latency => rows.sort_by_key(|row| Reverse(row.reading().map_or(0, |reading| reading.latency_ms))),
    }
    if reverse {
        rows.reverse();
    }
    rows
}

fn rows_of<'a>(box_name: &'a str, box_state: &'a BoxState) -> impl Iterator<Item = Row<'a>> {
    let row = move |camera| Row { box_name, box_state, camera };
    let without_camera = box_state.cameras.is_empty().then(|| row(None));
    without_camera
        .into_iter()
        .chain(box_state.cameras.iter().map(move |(name, camera)| row(Some((name.as_str(), camera)))))
}

fn matches(row: &Row<'_>, filter: &str) -> bool {
    let filter = filter.to_lowercase();
    let reading = row.reading().map(|reading| [reading.label.as_str(), reading.reason.as_str()]);
    row.name().contains(&filter)
        || row.state().contains(&filter)
        || reading.into_iter().flatten().any(|word| word.contains(&filter))
}

/// A key for natural sorting: `box-2` before `box-10`. Each part is a text, and the length and the digits of the number
/// that follows.
fn natural_key(name: &str) -> Vec<(String, usize, String)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let (text, tail) = rest.split_at(rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len()));
        let (digits, tail) =
            tail.split_at(tail.find(|character: char| !character.is_ascii_digit()).unwrap_or(tail.len()));
        let digits = digits.trim_start_matches('0');
        parts.push((text.to_owned(), digits.len(), digits.to_owned()));
        rest = tail;
    }
    parts
}

/// Negative first, by falling probability; then neutral, positive, withheld, and rows without a reading.
fn by_label(a: Option<&Reading>, b: Option<&Reading>) -> Ordering {
    let key = |reading: Option<&Reading>| {
        reading.map_or((4, 0.0), |reading| match reading.label {
            Label::Emotion(emotion) => (2 - emotion as u8, -reading.probabilities[emotion as usize]),
            Label::Withheld => (3, 0.0),
        })
    };
    let (a, b) = (key(a), key(b));
    a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
}
