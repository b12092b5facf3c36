//! A fleet as its broker tells it: messages in, a table out. It asks no clock and does no I/O.
//!
//! The broker and the boxes are believed in nothing: boxes, cameras and what is kept of each have an end, and names that
//! no configuration allows are passed over.

use std::collections::{BTreeMap, VecDeque};

pub(crate) use self::table::{Row, Sort};
use super::text::{self, Info, Label, Reading};
use crate::{mqtt::Message, wire::record::CameraState};

mod table;

/// No fleet is larger.
pub(crate) const BOXES_MAX: usize = 10_000;
/// All boxes together have no more cameras.
pub(crate) const CAMERAS_MAX: usize = 20_000;
/// So many readings of a camera are remembered for its curve.
pub(crate) const HISTORY_MAX: usize = 48;
/// So many readings of a camera are remembered to know what comes twice.
const SEEN_MAX: usize = 64;
/// No name in a topic is longer.
const NAME_BYTES_MAX: usize = 32;
/// The rate is that of so many seconds.
const RATE_S: u64 = 60;

/// The topic filters below the prefix: a box's topics, then a camera's.
pub(crate) const FILTERS: [&str; 5] = ["+/status", "+/info", "+/+/status", "+/+/last", "+/+/reading"];

/// What a message told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct News {
    /// Whose.
    pub box_name: String,
    /// The camera; `None` if it is about the box.
    pub camera: Option<String>,
    /// What.
    pub what: What,
}

/// What there is to tell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// A reading that had not come before.
    Reading(Reading),
    /// `online`, `stale` or `offline`.
    State(&'static str),
    /// It was taken away.
    Removed,
}

/// All boxes.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    prefix: String,
    boxes: BTreeMap<String, Station>,
    /// Of all boxes.
    cameras: usize,
    /// Messages that are none of a box.
    not_understood: u64,
    /// Messages of boxes and cameras beyond what is kept.
    beyond: u64,
    /// The second, and how many new readings it had.
    rate: VecDeque<(u64, u32)>,
}

/// One box.
#[derive(Debug, Default)]
pub(crate) struct Station {
    /// What its status, or its last will, says.
    pub online: Option<bool>,
    /// What it says of itself.
    pub info: Info,
    cameras: BTreeMap<String, Camera>,
}

/// One camera.
#[derive(Debug, Default)]
pub(crate) struct Camera {
    /// What its status says.
    pub state: Option<CameraState>,
    /// The newest reading, however late others came.
    pub newest: Option<Reading>,
    /// The oldest first, by the ends of their windows.
    pub history: VecDeque<Point>,
    /// The runs and slots of the last that came, in the order in which they came.
    seen: VecDeque<(u32, u64)>,
}

/// What a curve is drawn of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// The end of the window, ms since 1970 UTC.
    pub ts_ms: u64,
    /// The probability of positive less that of negative, -1 to 1; `None` where it is withheld.
    pub mood: Option<f32>,
}

impl Camera {
    /// Takes a reading in. False if it came before: QoS 1 may bring it twice, and every one comes as `last`, too.
    fn take(&mut self, reading: &Reading) -> bool {
        let name = (reading.boot, reading.seq);
        let newest = self.newest.as_ref().map(|it| (it.boot, it.seq));
        if newest == Some(name) || self.seen.contains(&name) {
            return false;
        }
        push(&mut self.seen, SEEN_MAX, name);
        let [positive, _, negative] = reading.probabilities;
        let mood = (reading.label != Label::Withheld).then_some(positive - negative);
        let at = self.history.partition_point(|it| it.ts_ms <= reading.ts_ms);
        self.history.insert(at, Point { ts_ms: reading.ts_ms, mood });
        self.history.drain(..self.history.len().saturating_sub(HISTORY_MAX));
        if self.newest.as_ref().is_none_or(|it| it.ts_ms <= reading.ts_ms) {
            self.newest = Some(reading.clone());
        }
        true
    }
}

fn push<T>(queue: &mut VecDeque<T>, most: usize, it: T) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(it);
}

/// The fleet in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    /// Boxes that are online.
    pub online: usize,
    /// Boxes that are not.
    pub offline: usize,
    /// Boxes that have not said.
    pub unknown: usize,
    /// All cameras.
    pub cameras: usize,
    /// How many cameras of boxes that are not offline have each label now, in the order of [`Label::ALL`].
    pub labels: [usize; 4],
    /// New readings in a second, of the last minute.
    pub readings_per_s: f64,
    /// Messages that are none of a box.
    pub not_understood: u64,
    /// Messages of boxes and cameras beyond what is kept.
    pub beyond: u64,
}

impl Fleet {
    /// No box is known yet below this prefix.
    #[must_use]
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..Self::default() }
    }

    /// Takes a message in that came at `now_ms`. Returns what it tells, if that is new.
    pub(crate) fn take(&mut self, message: &Message, now_ms: u64) -> Option<News> {
        let rest = message.topic.strip_prefix(&self.prefix).and_then(|it| it.strip_prefix('/'));
        let levels: Vec<_> = rest.unwrap_or_default().splitn(4, '/').collect();
        let payload = &message.payload;
        let news = match levels[..] {
            [name, leaf] if is_name(name) => self.take_box(name, leaf, payload),
            [name, camera, leaf] if is_name(name) && is_name(camera) => self.take_camera(name, camera, leaf, payload),
            _ => Err(Passed::NotUnderstood),
        };
        match news {
            Ok(news) => {
                if !message.retained && matches!(news, Some(News { what: What::Reading(_), .. })) {
                    self.count(now_ms);
                }
                news
            }
            Err(Passed::NotUnderstood) => {
                self.not_understood += 1;
                None
            }
            Err(Passed::Beyond) => {
                self.beyond += 1;
                None
            }
        }
    }

    /// A message came that is longer than any of a box.
    pub(crate) fn too_long(&mut self) {
        self.not_understood += 1;
    }

    fn take_box(&mut self, name: &str, leaf: &str, payload: &[u8]) -> Result<Option<News>, Passed> {
        let news = |what| Some(News { box_name: name.to_owned(), camera: None, what });
        match (leaf, payload) {
            // Its retained topics are being cleared.
            ("status", b"") => {
                let gone = self.boxes.remove(name);
                self.cameras -= gone.as_ref().map_or(0, |it| it.cameras.len());
                Ok(gone.and_then(|_| news(What::Removed)))
            }
            ("status", b"online" | b"offline") => {
                let online = payload == b"online";
                let before = self.station(name)?.online.replace(online);
                let word = if online { "online" } else { "offline" };
                Ok((before != Some(online)).then(|| news(What::State(word))).flatten())
            }
            ("info", b"") => Ok(None),
            ("info", _) => {
                self.station(name)?.info = text::info(payload).ok_or(Passed::NotUnderstood)?;
                Ok(None)
            }
            _ => Err(Passed::NotUnderstood),
        }
    }

    fn take_camera(&mut self, name: &str, camera: &str, leaf: &str, payload: &[u8]) -> Result<Option<News>, Passed> {
        let news = |what| News { box_name: name.to_owned(), camera: Some(camera.to_owned()), what };
        match (leaf, payload) {
            ("status" | "last", b"") => {
                let gone = self.boxes.get_mut(name).and_then(|it| it.cameras.remove(camera));
                self.cameras -= usize::from(gone.is_some());
                Ok(gone.map(|_| news(What::Removed)))
            }
            ("status", _) => {
                let state = text::camera_state(payload).ok_or(Passed::NotUnderstood)?;
                let before = self.camera(name, camera)?.state.replace(state);
                Ok((before != Some(state)).then(|| news(What::State(state.as_str()))))
            }
            ("last" | "reading", _) => {
                let reading = text::reading(payload).ok_or(Passed::NotUnderstood)?;
                let is_new = self.camera(name, camera)?.take(&reading);
                Ok(is_new.then(|| news(What::Reading(reading))))
            }
            _ => Err(Passed::NotUnderstood),
        }
    }

    fn station(&mut self, name: &str) -> Result<&mut Station, Passed> {
        if !self.boxes.contains_key(name) && BOXES_MAX <= self.boxes.len() {
            return Err(Passed::Beyond);
        }
        Ok(self.boxes.entry(name.to_owned()).or_default())
    }

    fn camera(&mut self, name: &str, camera: &str) -> Result<&mut Camera, Passed> {
        let is_new = self.boxes.get(name).is_none_or(|it| !it.cameras.contains_key(camera));
        if is_new && CAMERAS_MAX <= self.cameras {
            return Err(Passed::Beyond);
        }
        self.station(name)?;
        self.cameras += usize::from(is_new);
        Ok(self.station(name)?.cameras.entry(camera.to_owned()).or_default())
    }

    fn count(&mut self, now_ms: u64) {
        let second = now_ms / 1000;
        match self.rate.back_mut() {
            Some((at, count)) if *at == second => *count += 1,
            _ => self.rate.push_back((second, 1)),
        }
        // Also what seems to be of the future, after the date was set back.
        self.rate.retain(|(at, _)| *at <= second && second < at + RATE_S);
    }

    /// The table: what holds `filter` in its name, its state, its label or its reason.
    #[must_use]
    pub(crate) fn rows(&self, filter: &str, sort: Sort, reverse: bool) -> Vec<Row<'_>> {
        table::rows(self.boxes.iter(), filter, sort, reverse)
    }

    /// The fleet in numbers.
    #[must_use]
    pub(crate) fn totals(&self, now_ms: u64) -> Totals {
        let mut totals = Totals {
            cameras: self.cameras,
            readings_per_s: self.per_second(now_ms),
            not_understood: self.not_understood,
            beyond: self.beyond,
            ..Totals::default()
        };
        for station in self.boxes.values() {
            match station.online {
                Some(true) => totals.online += 1,
                Some(false) => {
                    totals.offline += 1;
                    continue;
                }
                None => totals.unknown += 1,
            }
            for reading in station.cameras.values().filter_map(|it| it.newest.as_ref()) {
                let at = Label::ALL.iter().position(|it| *it == reading.label);
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
        // The second that runs counts, too, and a rate of less than a hop is none.
        f64::from(count) / ((second - first + 1).max(5) as f64)
    }
}

/// Why a message was passed over.
enum Passed {
    NotUnderstood,
    Beyond,
}

/// Whether a configuration could have it as a name.
fn is_name(name: &str) -> bool {
    let fits = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"_-".contains(&it);
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
        messages.iter().for_each(|(topic, payload)| drop(fleet.take(&message(topic, payload), NOW_MS)));
        fleet
    }

    fn names(fleet: &Fleet, filter: &str, sort: Sort, reverse: bool) -> Vec<String> {
        fleet.rows(filter, sort, reverse).iter().map(Row::name).collect()
    }

    #[test]
    fn a_reading_counts_once_however_often_it_comes() {
        let mut fleet = Fleet::new("edge-ger");
        let text = reading(7, "positive", [0.8, 0.1, 0.1]);
        let told = fleet.take(&message("b/c/reading", &text), NOW_MS).unwrap();
        assert!(matches!(told.what, What::Reading(Reading { seq: 7, .. })));
        assert_eq!(fleet.take(&message("b/c/last", &text), NOW_MS), None);
        assert_eq!(fleet.take(&message("b/c/reading", &text), NOW_MS), None);
        // The same slot of another run is another reading.
        let other_run = text.replace("\"boot\":1", "\"boot\":2");
        assert!(fleet.take(&message("b/c/reading", &other_run), NOW_MS).is_some());
        assert!((fleet.totals(NOW_MS).readings_per_s - 2.0 / 5.0).abs() < 1e-9);
        assert!(fleet.totals(NOW_MS + 61_000).readings_per_s.abs() < 1e-9);
    }

    #[test]
    fn what_comes_late_takes_its_place_and_the_newest_stays() {
        let mut fleet = Fleet::new("edge-ger");
        for seq in [100, 1, 3, 2, 200] {
            fleet.take(&message("b/c/reading", &reading(seq, "neutral", [0.2, 0.7, 0.1])), NOW_MS);
        }
        let rows = fleet.rows("", Sort::Name, false);
        let camera = rows[0].camera.unwrap().1;
        let slots: Vec<_> = camera.history.iter().map(|it| (it.ts_ms - NOW_MS) / 5000).collect();
        assert_eq!((slots, rows[0].reading().unwrap().seq), (vec![1, 2, 3, 100, 200], 200));
        assert_eq!(rows[0].age_ms(NOW_MS + 201 * 5000), Some(5000));
        for seq in 201..1000 {
            fleet.take(&message("b/c/reading", &reading(seq, "neutral", [0.2, 0.7, 0.1])), NOW_MS);
        }
        // Older than the whole curve: told, but not drawn.
        assert!(fleet.take(&message("b/c/reading", &reading(50, "withheld", [0.0; 3])), NOW_MS).is_some());
        let camera = fleet.rows("", Sort::Name, false)[0].camera.unwrap().1;
        assert_eq!((camera.history.len(), camera.seen.len()), (HISTORY_MAX, SEEN_MAX));
        assert!(camera.history.iter().all(|it| it.mood.is_some()));
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
        let told = fleet.take(&message("b/status", "offline"), NOW_MS).unwrap();
        assert_eq!((told.camera, told.what), (None, What::State("offline")));
        let totals = fleet.totals(NOW_MS);
        assert_eq!(fleet.rows("", Sort::Name, false)[0].state(), "box off");
        assert_eq!((totals.online, totals.offline, totals.cameras, totals.labels), (0, 1, 1, [0; 4]));
    }

    #[test]
    fn a_camera_that_is_meant_to_be_away_is_paused() {
        let text = reading(1, "withheld", [0.0; 3]).replace("dark", "paused");
        let fleet = fleet(&[("b/status", "online"), ("b/c/status", "offline"), ("b/c/last", &text)]);
        assert_eq!(fleet.rows("", Sort::Name, false)[0].state(), "paused");
    }

    #[test]
    fn what_is_cleared_is_gone() {
        let mut fleet = fleet(&[("b/status", "online"), ("b/c/status", "stale"), ("b/d/status", "online")]);
        assert_eq!(fleet.take(&message("b/c/status", ""), NOW_MS).unwrap().what, What::Removed);
        assert_eq!(fleet.take(&message("b/c/last", ""), NOW_MS), None);
        assert_eq!(names(&fleet, "", Sort::Name, false), ["b/d"]);
        fleet.take(&message("b/status", ""), NOW_MS);
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
        ["box-10", "box-9", "box-2b", "box-02", "a"].iter().for_each(|it| {
            many.take(&message(&format!("{it}/status"), "online"), NOW_MS);
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
            assert_eq!(fleet.take(&message(topic, "online"), NOW_MS), None, "{topic:?}");
        }
        assert_eq!(fleet.take(&Message { topic: "other/b/status".into(), ..message("", "online") }, NOW_MS), None);
        assert_eq!(fleet.take(&message("b/status", "online\u{1b}[2J"), NOW_MS), None);
        assert_eq!((fleet.totals(NOW_MS).not_understood, fleet.boxes.len()), (8, 0));
        for n in 0..BOXES_MAX + 10 {
            fleet.take(&message(&format!("box-{n}/status"), "online"), NOW_MS);
        }
        for n in 0..CAMERAS_MAX + 10 {
            fleet.take(&message(&format!("box-1/cam-{n}/status"), "online"), NOW_MS);
        }
        let totals = fleet.totals(NOW_MS);
        assert_eq!((totals.online, totals.cameras, totals.beyond), (BOXES_MAX, CAMERAS_MAX, 20));
    }

    #[test]
    fn a_date_that_is_set_back_stops_no_rate() {
        let mut fleet = Fleet::new("edge-ger");
        fleet.take(&message("b/c/reading", &reading(1, "neutral", [0.2, 0.7, 0.1])), NOW_MS + 1_000_000);
        fleet.take(&message("b/c/reading", &reading(2, "neutral", [0.2, 0.7, 0.1])), NOW_MS);
        assert_eq!(fleet.rate.len(), 1);
        assert!((fleet.totals(NOW_MS).readings_per_s - 0.2).abs() < 1e-9);
    }
}
