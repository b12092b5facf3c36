//! What the status page and the metrics show: the newest of every camera, counters, and a day of readings.
//!
//! It is fed with what is published anyway, and with nothing else. It lives in memory alone, has a fixed size for each
//! camera, and is gone with the room.

use std::collections::{BTreeMap, VecDeque};

use super::payload::Figures;
use crate::wire::{
    CameraId,
    record::{CameraFault, CameraState, Outcome, Reading, Vital, Withheld},
};

/// So many readings of a camera are kept one by one: an hour at a hop of five seconds.
pub const RECENT_MAX: usize = 720;
/// So many minutes of a camera are kept as counts: a day.
pub const MINUTES_MAX: usize = 1440;
/// The upper bounds of the latency's buckets, ms. The last bucket, which has none, is not named.
pub const LATENCY_BOUNDS_MS: [u16; 9] = [25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];

/// What is known of the whole box.
#[derive(Debug, Default)]
pub struct History {
    cameras: BTreeMap<CameraId, (CameraNow, CameraHistory)>,
    figures: Figures,
}

/// A camera as `publish` sees it just now.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Which camera.
    pub id: CameraId,
    /// Its name in the topics.
    pub name: &'a str,
    /// The published state.
    pub state: CameraState,
    /// Its newest vital.
    pub vital: Option<Vital>,
}

/// The newest of a camera, and its counters since the room began.
#[derive(Clone, Debug)]
pub struct CameraNow {
    /// Its name in the topics.
    pub name: String,
    /// The published state.
    pub state: CameraState,
    /// Its newest vital.
    pub vital: Option<Vital>,
    /// Its newest reading. What is withheld has no probabilities.
    pub reading: Option<Reading>,
    /// Readings with a label: positive, neutral, negative.
    pub labelled: [u64; 3],
    /// Readings without one, by reason, in the order of [`Withheld::ALL`].
    pub withheld: [u64; Withheld::ALL.len()],
    /// Readings by the time from the end of the window until they left `infer`: not above each of
    /// [`LATENCY_BOUNDS_MS`], and above all of them.
    pub latency: [u64; LATENCY_BOUNDS_MS.len() + 1],
    /// The sum of those times, ms.
    pub latency_sum_ms: u64,
}

/// What a camera's readings were. Oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CameraHistory {
    /// The last readings, at most [`RECENT_MAX`].
    pub recent: VecDeque<Point>,
    /// The minutes of the last day that had readings, at most [`MINUTES_MAX`].
    pub minutes: VecDeque<Minute>,
}

/// One reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The end of its window, milliseconds since 1970 UTC.
    pub end_ms: u64,
    /// How its slot ended.
    pub outcome: Outcome,
    /// In units of 1/10000; all zero where it is withheld.
    pub probabilities: [u16; 3],
    /// From the end of the window until it left `infer`, ms, capped.
    pub latency_ms: u16,
}

/// The readings of one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minute {
    /// Minutes since 1970 UTC.
    pub minute: u64,
    /// Readings with a label: positive, neutral, negative.
    pub labelled: [u16; 3],
    /// Readings without one.
    pub withheld: u16,
    /// The newest reason among those.
    pub reason: Option<Withheld>,
}

impl History {
    /// Takes in how the cameras and the room are. Cameras that are not among them are forgotten.
    pub fn look<'a>(&mut self, seen: impl Iterator<Item = Seen<'a>>, figures: &Figures) {
        self.figures = *figures;
        let mut before = std::mem::take(&mut self.cameras);
        for it in seen {
            let known = before.remove(&it.id).filter(|(now, _)| now.name == it.name);
            let (mut now, history) = known.unwrap_or_else(|| (CameraNow::new(it.name), CameraHistory::default()));
            (now.state, now.vital) = (it.state, it.vital);
            self.cameras.insert(it.id, (now, history));
        }
    }

    /// Takes a reading in, and says the name of its camera. `None` where there is no such camera.
    pub fn read(&mut self, reading: &Reading) -> Option<&str> {
        let (now, history) = self.cameras.get_mut(&reading.camera)?;
        let probabilities = match reading.outcome {
            Outcome::Label(_) => reading.probabilities,
            Outcome::Withheld(_) => [0; 3],
        };
        let reading = Reading { probabilities, ..*reading };
        now.count(&reading);
        history.add(&reading);
        Some(&now.name)
    }

    /// Every camera as it is now.
    #[must_use]
    pub fn now(&self) -> (Figures, Vec<CameraNow>) {
        (self.figures, self.cameras.values().map(|(now, _)| now.clone()).collect())
    }

    /// The readings of the camera of this name.
    #[must_use]
    pub fn history(&self, name: &str) -> Option<CameraHistory> {
        self.cameras.values().find(|(now, _)| now.name == name).map(|(_, history)| history.clone())
    }

    /// What is wrong, one sentence each, in words for whoever has to act; empty where all is well.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let of_cameras = self.cameras.values().filter_map(|(now, _)| now.trouble());
        let mut troubles: Vec<_> = of_cameras.collect();
        let waiting = self.figures.waiting;
        if !self.figures.broker_connected {
            troubles.push(format!("broker: not connected, {waiting} readings wait"));
        }
        if !self.figures.on_disk {
            troubles.push(format!("outbox: cannot be written, {waiting} readings are in memory only"));
        }
        troubles
    }
}

impl CameraNow {
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
            Outcome::Withheld(why) => self.withheld[place(why)] += 1,
        }
        let bucket = LATENCY_BOUNDS_MS.iter().position(|bound| reading.latency_ms <= *bound);
        self.latency[bucket.unwrap_or(LATENCY_BOUNDS_MS.len())] += 1;
        self.latency_sum_ms += u64::from(reading.latency_ms);
        self.reading = Some(*reading);
    }

    fn trouble(&self) -> Option<String> {
        let name = &self.name;
        let Some(vital) = &self.vital else { return Some(format!("camera {name}: nothing was heard of it yet")) };
        // A box that is meant to rest is well.
        if vital.fault == CameraFault::Paused && self.state == CameraState::Offline {
            return None;
        }
        if self.state != CameraState::Online {
            return Some(format!("camera {name}: {} ({})", self.state.as_str(), vital.fault.as_str()));
        }
        // The other reasons say something about the scene, these about the machine.
        match self.reading.map(|it| it.outcome) {
            Some(Outcome::Withheld(why @ (Withheld::Overload | Withheld::ModelInvalid))) => {
                Some(format!("camera {name}: readings are withheld ({})", why.as_str()))
            }
            _ => None,
        }
    }
}

/// A reason's place in [`Withheld::ALL`].
fn place(why: Withheld) -> usize {
    Withheld::ALL.iter().position(|it| *it == why).unwrap_or_default()
}

impl CameraHistory {
    fn add(&mut self, reading: &Reading) {
        let end_ms = reading.window_end_ms;
        let minute = end_ms / 60_000;
        // A clock that was set back: what lies in its future now never was.
        while self.minutes.back().is_some_and(|it| minute < it.minute) {
            self.minutes.pop_back();
        }
        while self.recent.back().is_some_and(|it| end_ms < it.end_ms) {
            self.recent.pop_back();
        }
        let Reading { outcome, probabilities, latency_ms, .. } = *reading;
        push(&mut self.recent, RECENT_MAX, Point { end_ms, outcome, probabilities, latency_ms });
        if self.minutes.back().is_none_or(|it| it.minute < minute) {
            let empty = Minute { minute, labelled: [0; 3], withheld: 0, reason: None };
            push(&mut self.minutes, MINUTES_MAX, empty);
        }
        let day = MINUTES_MAX as u64;
        while self.minutes.front().is_some_and(|it| it.minute + day <= minute) {
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

/// Puts it at the end; where there are `most` already, the first one goes.
fn push<T>(to: &mut VecDeque<T>, most: usize, it: T) {
    if most <= to.len() {
        to.pop_front();
    }
    to.push_back(it);
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

    fn look(chronicle: &mut History, name: &str, state: CameraState, vital: Option<Vital>) {
        let figures = Figures { on_disk: true, broker_connected: true, ..Figures::default() };
        chronicle.look([Seen { id: CAMERA, name, state, vital }].into_iter(), &figures);
    }

    fn chronicle() -> History {
        let mut chronicle = History::default();
        look(&mut chronicle, "hall", CameraState::Online, Some(vital()));
        chronicle
    }

    const POSITIVE: Outcome = Outcome::Label(Emotion::Positive);

    #[test]
    fn two_days_take_no_more_room_than_one() {
        let mut chronicle = chronicle();
        for slot in 0..2 * 17_280 {
            assert_eq!(chronicle.read(&reading(slot, POSITIVE)), Some("hall"));
        }
        let history = chronicle.history("hall").unwrap();
        assert_eq!((history.recent.len(), history.minutes.len()), (RECENT_MAX, MINUTES_MAX));
        assert!(history.minutes.iter().all(|it| it.labelled == [12, 0, 0]));
        assert_eq!(history.recent.back().unwrap().end_ms, START_MS + (2 * 17_280 - 1) * 5000);
        assert_eq!(chronicle.now().1[0].labelled, [2 * 17_280, 0, 0]);
    }

    #[test]
    fn minutes_older_than_a_day_go_after_a_gap_too() {
        let mut chronicle = chronicle();
        for slot in [0, 12, 17_280] {
            chronicle.read(&reading(slot, POSITIVE));
        }
        let minutes: Vec<_> = chronicle.history("hall").unwrap().minutes.iter().map(|it| it.minute).collect();
        assert_eq!(minutes, [START_MS / 60_000 + 1, START_MS / 60_000 + 1440]);
    }

    #[test]
    fn a_clock_set_back_takes_its_future_along() {
        let mut chronicle = chronicle();
        for slot in [0, 100, 200, 50] {
            chronicle.read(&reading(slot, POSITIVE));
        }
        let history = chronicle.history("hall").unwrap();
        let ends: Vec<_> = history.recent.iter().map(|it| (it.end_ms - START_MS) / 5000).collect();
        assert_eq!((ends, history.minutes.len()), (vec![0, 50], 2));
    }

    #[test]
    fn what_is_withheld_is_counted_and_has_no_probabilities() {
        let mut chronicle = chronicle();
        chronicle.read(&reading(1, Outcome::Withheld(Withheld::TooFewPeople)));
        let (now, history) = (chronicle.now().1.remove(0), chronicle.history("hall").unwrap());
        assert_eq!(now.withheld[place(Withheld::TooFewPeople)], 1);
        assert_eq!((now.reading.unwrap().probabilities, history.recent[0].probabilities), ([0; 3], [0; 3]));
        let minute = history.minutes[0];
        assert_eq!((minute.withheld, minute.reason), (1, Some(Withheld::TooFewPeople)));
        assert_eq!((now.latency[2], now.latency_sum_ms), (1, 88));
    }

    #[test]
    fn another_name_begins_anew_and_a_camera_that_left_is_forgotten() {
        let mut chronicle = chronicle();
        chronicle.read(&reading(1, POSITIVE));
        look(&mut chronicle, "yard", CameraState::Online, Some(vital()));
        assert_eq!(chronicle.history("hall"), None);
        assert_eq!(chronicle.history("yard"), Some(CameraHistory::default()));
        chronicle.look(std::iter::empty(), &Figures::default());
        assert_eq!(chronicle.read(&reading(2, POSITIVE)), None);
    }

    #[test]
    fn troubles_name_who_has_them() {
        let mut chronicle = chronicle();
        let check = |chronicle: &History, expected: &[&str]| assert_eq!(chronicle.troubles(), expected);
        check(&chronicle, &[]);
        chronicle.read(&reading(1, Outcome::Withheld(Withheld::Dark)));
        check(&chronicle, &[]);
        chronicle.read(&reading(2, Outcome::Withheld(Withheld::Overload)));
        check(&chronicle, &["camera hall: readings are withheld (overload)"]);
        let fault = CameraFault::Unreachable;
        look(&mut chronicle, "hall", CameraState::Offline, Some(Vital { fault, ..vital() }));
        check(&chronicle, &["camera hall: offline (unreachable)"]);
        look(&mut chronicle, "hall", CameraState::Offline, None);
        check(&chronicle, &["camera hall: nothing was heard of it yet"]);
        chronicle.look(std::iter::empty(), &Figures { waiting: 7, ..Figures::default() });
        check(
            &chronicle,
            &["broker: not connected, 7 readings wait", "outbox: cannot be written, 7 readings are in memory only"],
        );
    }
}
