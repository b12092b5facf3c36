//! The state of a fleet: messages in, a table out. It reads no clock and does no I/O.
//!
//! Messages are not trusted: the number of boxes and cameras and the memory of each are limited, and names that no
//! configuration permits are skipped.

use std::collections::{BTreeMap, VecDeque};

pub(crate) use self::table::{Row, Sort};
use super::text::{self, Info, Label, Reading};
use crate::{mqtt::Message, wire::record::CameraState};

mod table;

/// The largest number of boxes.
pub(crate) const BOXES_MAX: usize = 10_000;
/// The largest number of cameras of all boxes together.
pub(crate) const CAMERAS_MAX: usize = 20_000;
/// The number of readings kept per camera for its curve.
pub(crate) const HISTORY_MAX: usize = 48;
/// The number of reading ids kept per camera to recognise duplicates.
const RECENT_IDS_MAX: usize = 64;
/// The longest name in a topic.
const NAME_BYTES_MAX: usize = 32;
/// The rate is averaged over this time, s.
const RATE_S: u64 = 60;

/// The topic filters below the prefix: a box's topics, then a camera's.
pub(crate) const FILTERS: [&str; 5] = ["+/status", "+/info", "+/+/status", "+/+/last", "+/+/reading"];

/// What a message changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Update {
    pub(crate) box_name: String,
    /// `None` if the box itself changed.
    pub(crate) camera: Option<String>,
    pub(crate) change: Change,
}

/// A change of a box or a camera.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// A new reading.
    Reading(Reading),
    /// `online`, `stale` or `offline`.
    State(&'static str),
    /// It was removed.
    Removed,
}

/// All boxes.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    prefix: String,
    boxes: BTreeMap<String, BoxState>,
    /// Of all boxes.
    cameras: usize,
    /// Messages that no box sends.
    not_understood: u64,
    /// Messages of boxes and cameras above the limits.
    over_limit: u64,
    /// The second, and how many new readings it had.
    rate: VecDeque<(u64, u32)>,
}

/// One box.
#[derive(Debug, Default)]
pub(crate) struct BoxState {
    /// By its status or its last will.
    pub online: Option<bool>,
    /// Its description.
    pub info: Info,
    cameras: BTreeMap<String, Camera>,
}

/// One camera.
#[derive(Debug, Default)]
pub(crate) struct Camera {
    /// By its status.
    pub state: Option<CameraState>,
    /// The newest reading by the end of its window.
    pub newest: Option<Reading>,
    /// The oldest first, by the ends of their windows.
    pub history: VecDeque<Point>,
    /// `(boot, seq)` of the last readings, in the order of arrival.
    recent_ids: VecDeque<(u32, u64)>,
}

/// A point of a camera's curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// The end of the window, ms since 1970 UTC.
    pub ts_ms: u64,
    /// The probability of positive minus that of negative, -1 to 1; `None` where it is withheld.
    pub mood: Option<f32>,
}

impl Camera {
    /// Adds a reading. False for a duplicate: QoS 1 may deliver it twice, and every reading comes as `last`, too.
    fn add(&mut self, reading: &Reading) -> bool {
        let id = (reading.boot, reading.seq);
        let newest = self.newest.as_ref().map(|newest| (newest.boot, newest.seq));
        if newest == Some(id) || self.recent_ids.contains(&id) {
            return false;
        }
        push(&mut self.recent_ids, RECENT_IDS_MAX, id);
        let [positive, _, negative] = reading.probabilities;
        let mood = (reading.label != Label::Withheld).then_some(positive - negative);
        let at = self.history.partition_point(|point| point.ts_ms <= reading.ts_ms);
        self.history.insert(at, Point { ts_ms: reading.ts_ms, mood });
        self.history.drain(..self.history.len().saturating_sub(HISTORY_MAX));
        if self.newest.as_ref().is_none_or(|newest| newest.ts_ms <= reading.ts_ms) {
            self.newest = Some(reading.clone());
        }
        true
    }
}

fn push<T>(queue: &mut VecDeque<T>, max: usize, item: T) {
    if queue.len() == max {
        queue.pop_front();
    }
    queue.push_back(item);
}

/// Totals of the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    /// Boxes that are online.
    pub online: usize,
    /// Boxes that are not.
    pub offline: usize,
    /// Boxes without a status.
    pub unknown: usize,
    /// All cameras.
    pub cameras: usize,
    /// The number of cameras with each label, without those of offline boxes, in the order of [`Label::ALL`].
    pub labels: [usize; 4],
    /// New readings per second, averaged over the last minute.
    pub readings_per_s: f64,
    /// Messages that no box sends.
    pub not_understood: u64,
    /// Messages of boxes and cameras above the limits.
    pub over_limit: u64,
}

impl Fleet {
    /// A fleet without boxes below this topic prefix.
    #[must_use]
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..Self::default() }
    }

    /// Applies a message that arrived at `now_ms`. Returns what it changed.
    pub(crate) fn apply(&mut self, message: &Message, now_ms: u64) -> Option<Update> {
        let rest = message.topic.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('/'));
        let levels: Vec<_> = rest.unwrap_or_default().splitn(4, '/').collect();
        let payload = &message.payload;
        let applied = match levels[..] {
            [name, leaf] if is_name(name) => self.apply_to_box(name, leaf, payload),
            [name, camera, leaf] if is_name(name) && is_name(camera) => {
                self.apply_to_camera(name, camera, leaf, payload)
            }
            _ => Err(Rejected::NotUnderstood),
        };
        match applied {
            Ok(update) => {
                if !message.retained && matches!(update, Some(Update { change: Change::Reading(_), .. })) {
                    self.count_reading(now_ms);
                }
                update
            }
            Err(Rejected::NotUnderstood) => {
                self.not_understood += 1;
                None
            }
            Err(Rejected::OverLimit) => {
                self.over_limit += 1;
                None
            }
        }
    }

    /// Counts a message that is longer than any of a box.
    pub(crate) fn count_too_long(&mut self) {
        self.not_understood += 1;
    }

    fn apply_to_box(&mut self, name: &str, leaf: &str, payload: &[u8]) -> Result<Option<Update>, Rejected> {
        let update = |change| Some(Update { box_name: name.to_owned(), camera: None, change });
        match (leaf, payload) {
            // Its retained topics are being cleared.
            ("status", b"") => {
                let removed = self.boxes.remove(name);
                self.cameras -= removed.as_ref().map_or(0, |removed| removed.cameras.len());
                Ok(removed.and_then(|_| update(Change::Removed)))
            }
            ("status", b"online" | b"offline") => {
                let online = payload == b"online";
                let before = self.box_state(name)?.online.replace(online);
                let word = if online { "online" } else { "offline" };
                Ok((before != Some(online)).then(|| update(Change::State(word))).flatten())
            }
            ("info", b"") => Ok(None),
            ("info", _) => {
                self.box_state(name)?.info = text::info(payload).ok_or(Rejected::NotUnderstood)?;
                Ok(None)
            }
            _ => Err(Rejected::NotUnderstood),
        }
    }

    fn apply_to_camera(
        &mut self,
        name: &str,
        camera: &str,
        leaf: &str,
        payload: &[u8],
    ) -> Result<Option<Update>, Rejected> {
        let update = |change| Update { box_name: name.to_owned(), camera: Some(camera.to_owned()), change };
        match (leaf, payload) {
            ("status" | "last", b"") => {
                let removed = self.boxes.get_mut(name).and_then(|state| state.cameras.remove(camera));
                self.cameras -= usize::from(removed.is_some());
                Ok(removed.map(|_| update(Change::Removed)))
            }
            ("status", _) => {
                let state = text::camera_state(payload).ok_or(Rejected::NotUnderstood)?;
                let before = self.camera(name, camera)?.state.replace(state);
                Ok((before != Some(state)).then(|| update(Change::State(state.as_str()))))
            }
            ("last" | "reading", _) => {
                let reading = text::reading(payload).ok_or(Rejected::NotUnderstood)?;
                let is_new = self.camera(name, camera)?.add(&reading);
                Ok(is_new.then(|| update(Change::Reading(reading))))
            }
            _ => Err(Rejected::NotUnderstood),
        }
    }

    fn box_state(&mut self, name: &str) -> Result<&mut BoxState, Rejected> {
        if !self.boxes.contains_key(name) && BOXES_MAX <= self.boxes.len() {
            return Err(Rejected::OverLimit);
        }
        Ok(self.boxes.entry(name.to_owned()).or_default())
    }

    fn camera(&mut self, name: &str, camera: &str) -> Result<&mut Camera, Rejected> {
        let is_new = self.boxes.get(name).is_none_or(|state| !state.cameras.contains_key(camera));
        if is_new && CAMERAS_MAX <= self.cameras {
            return Err(Rejected::OverLimit);
        }
        self.box_state(name)?;
        self.cameras += usize::from(is_new);
        Ok(self.box_state(name)?.cameras.entry(camera.to_owned()).or_default())
    }

    fn count_reading(&mut self, now_ms: u64) {
        let second = now_ms / 1000;
        match self.rate.back_mut() {
            Some((at, count)) if *at == second => *count += 1,
            _ => self.rate.push_back((second, 1)),
        }
        // After the date was set back, this removes seconds of the future, too.
        self.rate.retain(|(at, _)| *at <= second && second < at + RATE_S);
    }

    /// The rows whose name, state, label or reason contains `filter`.
    #[must_use]
    pub(crate) fn rows(&self, filter: &str, sort: Sort, reverse: bool) -> Vec<Row<'_>> {
        table::rows(self.boxes.iter(), filter, sort, reverse)
    }

    /// The totals of the fleet.
    #[must_use]
    pub(crate) fn totals(&self, now_ms: u64) -> Totals {
        let mut totals = Totals {
            cameras: self.cameras,
            readings_per_s: self.per_second(now_ms),
            not_understood: self.not_understood,
            over_limit: self.over_limit,
            ..Totals::default()
        };
        for state in self.boxes.values() {
            match state.online {
                Some(true) => totals.online += 1,
                Some(false) => {
                    totals.offline += 1;
                    continue;
                }
                None => totals.unknown += 1,
            }
            for reading in state.cameras.values().filter_map(|camera| camera.newest.as_ref()) {
                let at = Label::ALL.iter().position(|label| *label == reading.label);
                totals.labels[at.unwrap_or(0)] += 1;
            }
        }
        totals
    }

    fn per_second(&self, now_ms: u64) -> f64 {
        let second = now_ms / 1000;
        let counts = self.rate.iter().filter(|(at, _)| *at <= second && second < at + RATE_S);
        let Some(first) = counts.clone().map(|(at, _)| *at).min() else { return 0.0 };
        let count: u32 = counts.map(|(_, count)| count).sum();
        // The current second counts, too; over less than a hop there is no meaningful rate.
        f64::from(count) / ((second - first + 1).max(5) as f64)
    }
}

/// Why a message was rejected.
enum Rejected {
    NotUnderstood,
    OverLimit,
}

/// Whether the configuration permits it as a name.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_795_000_000_000;

    fn message(topic: &str, payload: &str) -> Message {
        Message { topic: format!("edge-ger/{topic}"), payload: payload.into(), retained: false }
    }

    fn reading(seq: u64, label: &str, p: [f32; 3]) -> String {
        let reason = if label == "withheld" { "dark" } else { "none" };
        format!(
            r#"{{"v":1,"ts_ms":{},"boot":1,"seq":{seq},"label":"{label}","code":0,"p_positive":{},"p_neutral":{},"p_negative":{},"reason":"{reason}","group_min":5,"sound":"off","offset_ms":1,"latency_ms":{seq},"inference_ms":3}}"#,
            NOW_MS + seq * 5000,
            p[0],
            p[1],
            p[2]
        )
    }

    fn fleet(messages: &[(&str, &str)]) -> Fleet {
        let mut fleet = Fleet::new("edge-ger");
        messages.iter().for_each(|(topic, payload)| drop(fleet.apply(&message(topic, payload), NOW_MS)));
        fleet
    }

    fn names(fleet: &Fleet, filter: &str, sort: Sort, reverse: bool) -> Vec<String> {
        fleet.rows(filter, sort, reverse).iter().map(Row::name).collect()
    }

    #[test]
    fn a_reading_counts_once_however_often_it_comes() {
        let mut fleet = Fleet::new("edge-ger");
        let text = reading(7, "positive", [0.8, 0.1, 0.1]);
        let update = fleet.apply(&message("b/c/reading", &text), NOW_MS).unwrap();
        assert!(matches!(update.change, Change::Reading(Reading { seq: 7, .. })));
        assert_eq!(fleet.apply(&message("b/c/last", &text), NOW_MS), None);
        assert_eq!(fleet.apply(&message("b/c/reading", &text), NOW_MS), None);
        // The same slot of another run is another reading.
        let other_run = text.replace("\"boot\":1", "\"boot\":2");
        assert!(fleet.apply(&message("b/c/reading", &other_run), NOW_MS).is_some());
        assert!((fleet.totals(NOW_MS).readings_per_s - 2.0 / 5.0).abs() < 1e-9);
        assert!(fleet.totals(NOW_MS + 61_000).readings_per_s.abs() < 1e-9);
    }

    #[test]
    fn a_late_reading_is_sorted_in_and_the_newest_stays() {
        let mut fleet = Fleet::new("edge-ger");
        for seq in [100, 1, 3, 2, 200] {
            fleet.apply(&message("b/c/reading", &reading(seq, "neutral", [0.2, 0.7, 0.1])), NOW_MS);
        }
        let rows = fleet.rows("", Sort::Name, false);
        let camera = rows[0].camera.unwrap().1;
        let slots: Vec<_> = camera.history.iter().map(|point| (point.ts_ms - NOW_MS) / 5000).collect();
        assert_eq!((slots, rows[0].reading().unwrap().seq), (vec![1, 2, 3, 100, 200], 200));
        assert_eq!(rows[0].age_ms(NOW_MS + 201 * 5000), Some(5000));
        for seq in 201..1000 {
            fleet.apply(&message("b/c/reading", &reading(seq, "neutral", [0.2, 0.7, 0.1])), NOW_MS);
        }
        // Older than the whole curve: an update, but not drawn.
        assert!(fleet.apply(&message("b/c/reading", &reading(50, "withheld", [0.0; 3])), NOW_MS).is_some());
        let camera = fleet.rows("", Sort::Name, false)[0].camera.unwrap().1;
        assert_eq!((camera.history.len(), camera.recent_ids.len()), (HISTORY_MAX, RECENT_IDS_MAX));
        assert!(camera.history.iter().all(|point| point.mood.is_some()));
    }

    #[test]
    fn cameras_of_a_box_that_is_off_are_not_online() {
        let text = reading(1, "negative", [0.1, 0.1, 0.8]);
        let mut fleet = fleet(&[("b/status", "online"), ("b/c/status", "online"), ("b/c/last", &text)]);
        assert_eq!(
            (fleet.rows("", Sort::Name, false)[0].state(), fleet.totals(NOW_MS).labels),
            ("online", [0, 0, 1, 0])
        );
        // The last will.
        let update = fleet.apply(&message("b/status", "offline"), NOW_MS).unwrap();
        assert_eq!((update.camera, update.change), (None, Change::State("offline")));
        let totals = fleet.totals(NOW_MS);
        assert_eq!(fleet.rows("", Sort::Name, false)[0].state(), "box off");
        assert_eq!((totals.online, totals.offline, totals.cameras, totals.labels), (0, 1, 1, [0; 4]));
    }

    #[test]
    fn a_camera_paused_on_schedule_is_shown_as_paused() {
        let text = reading(1, "withheld", [0.0; 3]).replace("dark", "paused");
        let fleet = fleet(&[("b/status", "online"), ("b/c/status", "offline"), ("b/c/last", &text)]);
        assert_eq!(fleet.rows("", Sort::Name, false)[0].state(), "paused");
    }

    #[test]
    fn a_cleared_topic_removes_its_camera_or_box() {
        let mut fleet = fleet(&[("b/status", "online"), ("b/c/status", "stale"), ("b/d/status", "online")]);
        assert_eq!(fleet.apply(&message("b/c/status", ""), NOW_MS).unwrap().change, Change::Removed);
        assert_eq!(fleet.apply(&message("b/c/last", ""), NOW_MS), None);
        assert_eq!(names(&fleet, "", Sort::Name, false), ["b/d"]);
        fleet.apply(&message("b/status", ""), NOW_MS);
        assert_eq!((names(&fleet, "", Sort::Name, false).len(), fleet.totals(NOW_MS).cameras), (0, 0));
    }

    #[test]
    fn the_table_is_filtered_and_sorted() {
        let (p, n, w) = (
            reading(9, "positive", [0.8, 0.1, 0.1]),
            reading(3, "negative", [0.1, 0.1, 0.8]),
            reading(5, "withheld", [0.0; 3]),
        );
        let fleet = fleet(&[
            ("b/hall/last", &p),
            ("a/door/last", &n),
            ("a/yard/last", &w),
            ("a/yard/status", "offline"),
            ("a/door/status", "online"),
            ("b/hall/status", "online"),
            ("z/status", "online"),
        ]);
        let check = |filter, sort, expected: &[&str]| assert_eq!(names(&fleet, filter, sort, false), expected);
        check("", Sort::Name, &["a/door", "a/yard", "b/hall", "z"]);
        let mut many = Fleet::new("edge-ger");
        ["box-10", "box-9", "box-2b", "box-02", "a"].iter().for_each(|name| {
            many.apply(&message(&format!("{name}/status"), "online"), NOW_MS);
        });
        assert_eq!(names(&many, "", Sort::Name, false), ["a", "box-02", "box-2b", "box-9", "box-10"]);
        check("", Sort::State, &["a/yard", "a/door", "b/hall", "z"]);
        check("", Sort::Label, &["a/door", "b/hall", "a/yard", "z"]);
        check("", Sort::Age, &["a/door", "a/yard", "b/hall", "z"]);
        check("", Sort::Latency, &["b/hall", "a/yard", "a/door", "z"]);
        check("A/", Sort::Name, &["a/door", "a/yard"]);
        check("dark", Sort::Name, &["a/yard"]);
        check("positive", Sort::Name, &["b/hall"]);
        assert_eq!(names(&fleet, "", Sort::Name, true)[0], "z");
    }

    #[test]
    fn a_hostile_broker_fills_no_memory_and_names_nothing() {
        let mut fleet = Fleet::new("edge-ger");
        for topic in ["\u{1b}[2J/status", "B/status", "b/c/d/e/status", "b/c/config", "/status", "b//status"] {
            assert_eq!(fleet.apply(&message(topic, "online"), NOW_MS), None, "{topic:?}");
        }
        assert_eq!(fleet.apply(&Message { topic: "other/b/status".into(), ..message("", "online") }, NOW_MS), None);
        assert_eq!(fleet.apply(&message("b/status", "online\u{1b}[2J"), NOW_MS), None);
        assert_eq!((fleet.totals(NOW_MS).not_understood, fleet.boxes.len()), (8, 0));
        for n in 0..BOXES_MAX + 10 {
            fleet.apply(&message(&format!("box-{n}/status"), "online"), NOW_MS);
        }
        for n in 0..CAMERAS_MAX + 10 {
            fleet.apply(&message(&format!("box-1/cam-{n}/status"), "online"), NOW_MS);
        }
        let totals = fleet.totals(NOW_MS);
        assert_eq!((totals.online, totals.cameras, totals.over_limit), (BOXES_MAX, CAMERAS_MAX, 20));
    }

    #[test]
    fn a_date_that_is_set_back_stops_no_rate() {
        let mut fleet = Fleet::new("edge-ger");
        fleet.apply(&message("b/c/reading", &reading(1, "neutral", [0.2, 0.7, 0.1])), NOW_MS + 1_000_000);
        fleet.apply(&message("b/c/reading", &reading(2, "neutral", [0.2, 0.7, 0.1])), NOW_MS);
        assert_eq!(fleet.rate.len(), 1);
        assert!((fleet.totals(NOW_MS).readings_per_s - 0.2).abs() < 1e-9);
    }
}
