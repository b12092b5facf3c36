//! What the status page and the metrics show: the newest values of every camera, counters, and a day of readings.
//!
//! It contains only what is published anyway. It is kept in memory, has a fixed size for each camera, and ends with the
//! process.

use std::collections::{BTreeMap, VecDeque};

use super::payload::BoxFigures;
use crate::wire::{
    CameraId,
    record::{CameraFault, CameraState, Outcome, Reading, Vital, Withheld},
};

/// The number of single readings kept per camera: an hour at a hop of five seconds.
pub(crate) const RECENT_MAX: usize = 720;
/// The number of minutes kept per camera, as counts: a day.
pub(crate) const MINUTES_MAX: usize = 1440;
/// The upper bounds of the latency histogram's buckets, ms. The last bucket has no bound and is not listed.
pub(crate) const LATENCY_BOUNDS_MS: [u16; 9] = [25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];

/// The whole box.
#[derive(Debug, Default)]
pub(crate) struct History {
    cameras: BTreeMap<CameraId, (CameraSummary, CameraHistory)>,
    figures: BoxFigures,
}

/// The current state of a camera.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CameraUpdate<'a> {
    pub(crate) id: CameraId,
    /// Its name in the topics.
    pub(crate) name: &'a str,
    /// The published state.
    pub(crate) state: CameraState,
    /// Its newest vital.
    pub(crate) vital: Option<Vital>,
}

/// A camera's newest values, and its counters since the process started.
#[derive(Clone, Debug)]
pub(crate) struct CameraSummary {
    /// Its name in the topics.
    pub(crate) name: String,
    /// The published state.
    pub(crate) state: CameraState,
    /// Its newest vital.
    pub(crate) vital: Option<Vital>,
    /// Its newest reading. What is withheld has no probabilities.
    pub(crate) reading: Option<Reading>,
    /// Readings with a label: positive, neutral, negative.
    pub(crate) labelled: [u64; 3],
    /// Withheld readings by reason, in the order of [`Withheld::ALL`].
    pub(crate) withheld: [u64; Withheld::ALL.len()],
    /// Readings by latency, from the end of the window until they left `infer`: one count for each bucket of
    /// [`LATENCY_BOUNDS_MS`] and one for the rest.
    pub(crate) latency: [u64; LATENCY_BOUNDS_MS.len() + 1],
    /// The sum of the latencies, ms.
    pub(crate) latency_sum_ms: u64,
}

/// A camera's past readings, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CameraHistory {
    /// The last readings, at most [`RECENT_MAX`].
    pub(crate) recent: VecDeque<Point>,
    /// The minutes of the last day that had readings, at most [`MINUTES_MAX`].
    pub(crate) minutes: VecDeque<Minute>,
}

/// One reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// The end of its window, milliseconds since 1970 UTC.
    pub(crate) end_ms: u64,
    /// A label, or why it is withheld.
    pub(crate) outcome: Outcome,
    /// In units of 1/10000; all zero where it is withheld.
    pub(crate) probabilities: [u16; 3],
    /// From the end of the window until it left `infer`, ms, capped.
    pub(crate) latency_ms: u16,
}

/// The readings of one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Minute {
    /// Minutes since 1970 UTC.
    pub(crate) minute: u64,
    /// Readings with a label: positive, neutral, negative.
    pub(crate) labelled: [u16; 3],
    /// Withheld readings.
    pub(crate) withheld: u16,
    /// The newest reason among these.
    pub(crate) reason: Option<Withheld>,
}

impl History {
    /// Updates the cameras and the box. Cameras that are not among the updates are removed.
    pub(crate) fn update<'a>(&mut self, updates: impl Iterator<Item = CameraUpdate<'a>>, figures: &BoxFigures) {
        self.figures = *figures;
        let mut before = std::mem::take(&mut self.cameras);
        for update in updates {
            let known = before.remove(&update.id).filter(|(summary, _)| summary.name == update.name);
            let new = || (CameraSummary::new(update.name), CameraHistory::default());
            let (mut summary, history) = known.unwrap_or_else(new);
            (summary.state, summary.vital) = (update.state, update.vital);
            self.cameras.insert(update.id, (summary, history));
        }
    }

    /// Adds a reading and returns the name of its camera; `None` where there is no such camera.
    pub(crate) fn add(&mut self, reading: &Reading) -> Option<&str> {
        let (summary, history) = self.cameras.get_mut(&reading.camera)?;
        let probabilities = match reading.outcome {
            Outcome::Label(_) => reading.probabilities,
            Outcome::Withheld(_) => [0; 3],
        };
        let reading = Reading { probabilities, ..*reading };
        summary.count(&reading);
        history.add(&reading);
        Some(&summary.name)
    }

    /// The current figures of the box and summaries of its cameras.
    pub(crate) fn summary(&self) -> (BoxFigures, Vec<CameraSummary>) {
        (self.figures, self.cameras.values().map(|(summary, _)| summary.clone()).collect())
    }

    /// The readings of the camera of this name.
    pub(crate) fn history(&self, name: &str) -> Option<CameraHistory> {
        self.cameras.values().find(|(summary, _)| summary.name == name).map(|(_, history)| history.clone())
    }

    /// The present problems, one sentence each; empty if there is none.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> = self.cameras.values().filter_map(|(summary, _)| summary.problem()).collect();
        let waiting = self.figures.waiting;
        if !self.figures.broker_connected {
            problems.push(format!("broker: not connected, {waiting} readings wait"));
        }
        if !self.figures.on_disk {
            problems.push(format!("outbox: cannot be written, {waiting} readings are in memory only"));
        }
        problems
    }
}

impl CameraSummary {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: CameraState::Offline,
            vital: None,
            reading: None,
            labelled: Default::default(),
            withheld: Default::default(),
            latency: Default::default(),
            latency_sum_ms: 0,
        }
    }

    fn count(&mut self, reading: &Reading) {
        match reading.outcome {
            Outcome::Label(emotion) => self.labelled[emotion as usize] += 1,
            Outcome::Withheld(why) => self.withheld[index_of(why)] += 1,
        }
        let bucket = LATENCY_BOUNDS_MS.iter().position(|bound| reading.latency_ms <= *bound);
        self.latency[bucket.unwrap_or(LATENCY_BOUNDS_MS.len())] += 1;
        self.latency_sum_ms += u64::from(reading.latency_ms);
        self.reading = Some(*reading);
    }

    fn problem(&self) -> Option<String> {
        let name = &self.name;
        let Some(vital) = &self.vital else { return Some(format!("camera {name}: nothing was heard of it yet")) };
        // A camera that is paused on schedule is no problem.
        if vital.fault == CameraFault::Paused && self.state == CameraState::Offline {
            return None;
        }
        if self.state != CameraState::Online {
            return Some(format!("camera {name}: {} ({})", self.state.as_str(), vital.fault.as_str()));
        }
        // The other reasons are about the scene, these are about the machine.
        match self.reading.map(|reading| reading.outcome) {
            Some(Outcome::Withheld(why @ (Withheld::Overload | Withheld::ModelInvalid))) => {
                Some(format!("camera {name}: readings are withheld ({})", why.as_str()))
            }
            _ => None,
        }
    }
}

/// The reason's index in [`Withheld::ALL`].
fn index_of(why: Withheld) -> usize {
    Withheld::ALL.iter().position(|reason| *reason == why).unwrap_or_default()
}

impl CameraHistory {
    fn add(&mut self, reading: &Reading) {
        let end_ms = reading.window_end_ms;
        let minute = end_ms / 60_000;
        // After the clock was set back, drop what now lies in the future.
        while self.minutes.back().is_some_and(|newest| minute < newest.minute) {
            self.minutes.pop_back();
        }
        while self.recent.back().is_some_and(|newest| end_ms < newest.end_ms) {
            self.recent.pop_back();
        }
        let Reading { outcome, probabilities, latency_ms, .. } = *reading;
        push(&mut self.recent, RECENT_MAX, Point { end_ms, outcome, probabilities, latency_ms });
        if self.minutes.back().is_none_or(|newest| newest.minute < minute) {
            let empty = Minute { minute, labelled: [0; 3], withheld: 0, reason: None };
            push(&mut self.minutes, MINUTES_MAX, empty);
        }
        let day = MINUTES_MAX as u64;
        while self.minutes.front().is_some_and(|oldest| oldest.minute + day <= minute) {
            self.minutes.pop_front();
        }
        let Some(newest) = self.minutes.back_mut() else { return };
        match outcome {
            Outcome::Label(emotion) => {
                let count = &mut newest.labelled[emotion as usize];
                *count = count.saturating_add(1);
            }
            Outcome::Withheld(why) => {
                newest.withheld = newest.withheld.saturating_add(1);
                newest.reason = Some(why);
            }
        }
    }
}

/// Appends `item`; if there are `max` items already, the first one is removed.
fn push<T>(items: &mut VecDeque<T>, max: usize, item: T) {
    if max <= items.len() {
        items.pop_front();
    }
    items.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::record::{CameraFault, Emotion, example};

    const CAMERA: CameraId = CameraId(3);
    const START_MS: u64 = 1_795_000_020_000;

    fn reading(slot: u64, outcome: Outcome) -> Reading {
        Reading { window_end_ms: START_MS + slot * 5000, outcome, ..example::reading(CAMERA, slot) }
    }

    fn vital() -> Vital {
        example::vital(CAMERA)
    }

    fn update(history: &mut History, name: &str, state: CameraState, vital: Option<Vital>) {
        let figures = BoxFigures { on_disk: true, broker_connected: true, ..BoxFigures::default() };
        history.update([CameraUpdate { id: CAMERA, name, state, vital }].into_iter(), &figures);
    }

    fn hall() -> History {
        let mut history = History::default();
        update(&mut history, "hall", CameraState::Online, Some(vital()));
        history
    }

    const POSITIVE: Outcome = Outcome::Label(Emotion::Positive);

    #[test]
    fn two_days_need_no_more_memory_than_one() {
        let mut history = hall();
        for slot in 0..2 * 17_280 {
            assert_eq!(history.add(&reading(slot, POSITIVE)), Some("hall"));
        }
        let camera = history.history("hall").unwrap();
        assert_eq!((camera.recent.len(), camera.minutes.len()), (RECENT_MAX, MINUTES_MAX));
        assert!(camera.minutes.iter().all(|minute| minute.labelled == [12, 0, 0]));
        assert_eq!(camera.recent.back().unwrap().end_ms, START_MS + (2 * 17_280 - 1) * 5000);
        assert_eq!(history.summary().1[0].labelled, [2 * 17_280, 0, 0]);
    }

    #[test]
    fn minutes_older_than_a_day_are_dropped_after_a_gap_too() {
        let mut history = hall();
        for slot in [0, 12, 17_280] {
            history.add(&reading(slot, POSITIVE));
        }
        let minutes: Vec<_> = history.history("hall").unwrap().minutes.iter().map(|minute| minute.minute).collect();
        assert_eq!(minutes, [START_MS / 60_000 + 1, START_MS / 60_000 + 1440]);
    }

    #[test]
    fn what_lies_in_the_future_after_the_clock_was_set_back_is_dropped() {
        let mut history = hall();
        for slot in [0, 100, 200, 50] {
            history.add(&reading(slot, POSITIVE));
        }
        let camera = history.history("hall").unwrap();
        let ends: Vec<_> = camera.recent.iter().map(|point| (point.end_ms - START_MS) / 5000).collect();
        assert_eq!((ends, camera.minutes.len()), (vec![0, 50], 2));
    }

    #[test]
    fn a_withheld_reading_is_counted_and_has_no_probabilities() {
        let mut history = hall();
        history.add(&reading(1, Outcome::Withheld(Withheld::TooFewPeople)));
        let (summary, camera) = (history.summary().1.remove(0), history.history("hall").unwrap());
        assert_eq!(summary.withheld[index_of(Withheld::TooFewPeople)], 1);
        assert_eq!((summary.reading.unwrap().probabilities, camera.recent[0].probabilities), ([0; 3], [0; 3]));
        let minute = camera.minutes[0];
        assert_eq!((minute.withheld, minute.reason), (1, Some(Withheld::TooFewPeople)));
        assert_eq!((summary.latency[2], summary.latency_sum_ms), (1, 88));
    }

    #[test]
    fn a_renamed_camera_starts_empty_and_a_removed_one_is_forgotten() {
        let mut history = hall();
        history.add(&reading(1, POSITIVE));
        update(&mut history, "yard", CameraState::Online, Some(vital()));
        assert_eq!(history.history("hall"), None);
        assert_eq!(history.history("yard"), Some(CameraHistory::default()));
        history.update(std::iter::empty(), &BoxFigures::default());
        assert_eq!(history.add(&reading(2, POSITIVE)), None);
    }

    #[test]
    fn problems_name_their_camera() {
        let mut history = hall();
        let check = |history: &History, expected: &[&str]| assert_eq!(history.problems(), expected);
        check(&history, &[]);
        history.add(&reading(1, Outcome::Withheld(Withheld::Dark)));
        check(&history, &[]);
        history.add(&reading(2, Outcome::Withheld(Withheld::Overload)));
        check(&history, &["camera hall: readings are withheld (overload)"]);
        let fault = CameraFault::Unreachable;
        update(&mut history, "hall", CameraState::Offline, Some(Vital { fault, ..vital() }));
        check(&history, &["camera hall: offline (unreachable)"]);
        update(&mut history, "hall", CameraState::Offline, None);
        check(&history, &["camera hall: nothing was heard of it yet"]);
        history.update(std::iter::empty(), &BoxFigures { waiting: 7, ..BoxFigures::default() });
        check(
            &history,
            &["broker: not connected, 7 readings wait", "outbox: cannot be written, 7 readings are in memory only"],
        );
    }
}
