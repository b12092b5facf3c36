//! The table of a fleet: a line for each camera, filtered and sorted.

use std::cmp::{Ordering, Reverse};

use super::{Camera, Station};
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
    pub station: &'a Station,
    /// The camera's name and the camera.
    pub camera: Option<(&'a str, &'a Camera)>,
}

impl Row<'_> {
    /// `box/camera`.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        self.camera.map_or_else(|| self.box_name.to_owned(), |(camera, _)| format!("{}/{camera}", self.box_name))
    }

    /// The state in a word. Where the box is gone, what its camera said last is not true any more.
    #[must_use]
    pub(crate) fn state(&self) -> &'static str {
        match (self.station.online, self.camera.map(|(_, camera)| camera.state)) {
            (Some(false), _) => "box off",
            // A paused camera is no fault.
            (_, Some(Some(CameraState::Offline))) if self.reading().is_some_and(|it| it.reason == PAUSED) => PAUSED,
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

    /// From the end of its window until now, ms.
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
    /// What is not online first.
    State,
    /// Negative, neutral, positive, withheld; the surest first.
    Label,
    /// The oldest reading first.
    Age,
    /// The slowest first.
    Latency,
}

impl Sort {
    /// All of them, in the order in which a key goes through them.
    pub(crate) const ALL: [Self; 5] = [Self::Name, Self::State, Self::Label, Self::Age, Self::Latency];

    /// The word that is shown.
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

/// What holds `filter` in its name, its state, its label or its reason, in this order.
pub(super) fn rows<'a>(
    boxes: impl Iterator<Item = (&'a String, &'a Station)>,
    filter: &str,
    sort: Sort,
    reverse: bool,
) -> Vec<Row<'a>> {
    let mut rows: Vec<_> = boxes.flat_map(|(name, station)| rows_of(name, station)).collect();
    if !filter.is_empty() {
        rows.retain(|row| matches(row, filter));
    }
    rows.sort_by_cached_key(|it| counted(&it.name()));
    // Stable: what is alike stays in the order of the names.
    match sort {
        Sort::Name => (),
        Sort::State => rows.sort_by_key(|it| it.state() == "online"),
        Sort::Label => rows.sort_by(|a, b| by_label(a.reading(), b.reading())),
        Sort::Age => rows.sort_by_key(|it| it.reading().map_or(u64::MAX, |it| it.ts_ms)),
        Sort::Latency => rows.sort_by_key(|it| Reverse(it.reading().map_or(0, |it| it.latency_ms))),
    }
    if reverse {
        rows.reverse();
    }
    rows
}

fn rows_of<'a>(box_name: &'a str, station: &'a Station) -> impl Iterator<Item = Row<'a>> {
    let row = move |camera| Row { box_name, station, camera };
    let alone = station.cameras.is_empty().then(|| row(None));
    alone.into_iter().chain(station.cameras.iter().map(move |(name, camera)| row(Some((name.as_str(), camera)))))
}

fn matches(row: &Row<'_>, filter: &str) -> bool {
    let filter = filter.to_lowercase();
    let reading = row.reading().map(|it| [it.label.as_str(), it.reason.as_str()]);
    row.name().contains(&filter)
        || row.state().contains(&filter)
        || reading.into_iter().flatten().any(|it| it.contains(&filter))
}

/// A key that sorts names as people count: `box-2` before `box-10`. Texts, and the lengths and digits of the numbers
/// behind them.
fn counted(name: &str) -> Vec<(String, usize, String)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let (text, tail) = rest.split_at(rest.find(|it: char| it.is_ascii_digit()).unwrap_or(rest.len()));
        let (digits, tail) = tail.split_at(tail.find(|it: char| !it.is_ascii_digit()).unwrap_or(tail.len()));
        let digits = digits.trim_start_matches('0');
        parts.push((text.to_owned(), digits.len(), digits.to_owned()));
        rest = tail;
    }
    parts
}

/// The worst mood first, and of two alike the surer one; then what is withheld, then what has none.
fn by_label(a: Option<&Reading>, b: Option<&Reading>) -> Ordering {
    let key = |it: Option<&Reading>| {
        it.map_or((4, 0.0), |it| match it.label {
            Label::Mood(mood) => (2 - mood as u8, -it.probabilities[mood as usize]),
            Label::Withheld => (3, 0.0),
        })
    };
    let (a, b) = (key(a), key(b));
    a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
}
