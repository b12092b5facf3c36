//! The JSON that the page's script reads: the same texts as on MQTT, and a day of readings as short rows.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    publish::{
        history::{CameraHistory, CameraSummary, Minute, Point},
        metrics::Facts,
        payload::{BoxFigures, HealthText, ReadingText, json},
    },
    wire::record::{Outcome, Reading, Withheld},
};

#[derive(Serialize)]
struct ReadingEvent<'a> {
    camera: &'a str,
    reading: ReadingText,
}

#[derive(Serialize)]
struct Status<'a> {
    v: u8,
    #[serde(rename = "box")]
    box_name: &'a str,
    version: &'static str,
    model: &'a str,
    boot: u32,
    hop_ms: u32,
    min_group: u8,
    started_ms: u64,
    broker_connected: bool,
    broker_outages: u32,
    waiting: u64,
    given_up: u64,
    outbox_on_disk: bool,
    refused: u64,
    troubles: &'a [String],
    cameras: Vec<Camera<'a>>,
}

#[derive(Serialize)]
struct Camera<'a> {
    name: &'a str,
    state: &'static str,
    health: Option<HealthText>,
    reading: Option<ReadingText>,
    positive: u64,
    neutral: u64,
    negative: u64,
    /// By reason; absent reasons have no readings.
    withheld: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct HistoryText<'a> {
    v: u8,
    camera: &'a str,
    /// End of the window in ms, code, three probabilities in 1/10000, latency in ms.
    recent: Vec<(u64, i16, u16, u16, u16, u16)>,
    /// The minute since 1970, readings with each label, withheld ones, and the number of the newest reason or 0.
    minutes: Vec<(u64, u16, u16, u16, u16, u8)>,
}

/// A new reading.
pub(super) fn reading(camera: &str, reading: &Reading, boot: u32) -> Vec<u8> {
    json(&ReadingEvent { camera, reading: ReadingText::new(reading, boot) })
}

/// The current state of the whole box.
pub(super) fn status(
    facts: &Facts,
    figures: &BoxFigures,
    cameras: &[CameraSummary],
    problems: &[String],
    wall_ms: u64,
) -> Vec<u8> {
    json(&Status {
        v: 1,
        box_name: &facts.box_name,
        version: env!("CARGO_PKG_VERSION"),
        model: &facts.model,
        boot: facts.boot,
        hop_ms: facts.hop_ms,
        min_group: facts.min_group,
        started_ms: facts.started_ms,
        broker_connected: figures.broker_connected,
        broker_outages: figures.broker_outages,
        waiting: figures.waiting,
        given_up: figures.given_up,
        outbox_on_disk: figures.on_disk,
        refused: figures.refused,
        troubles: problems,
        cameras: cameras.iter().map(|summary| camera(summary, facts, figures, wall_ms)).collect(),
    })
}

fn camera<'a>(summary: &'a CameraSummary, facts: &Facts, figures: &BoxFigures, wall_ms: u64) -> Camera<'a> {
    let [positive, neutral, negative] = summary.labelled;
    let withheld = Withheld::ALL.iter().zip(summary.withheld).filter(|(_, count)| 0 < *count);
    Camera {
        name: &summary.name,
        state: summary.state.as_str(),
        health: summary.vital.as_ref().map(|vital| HealthText::new(vital, summary.state, figures, wall_ms, facts.boot)),
        reading: summary.reading.as_ref().map(|reading| ReadingText::new(reading, facts.boot)),
        positive,
        neutral,
        negative,
        withheld: withheld.map(|(why, count)| (why.as_str(), count)).collect(),
    }
}

/// A camera's past readings.
pub(super) fn history(camera: &str, history: &CameraHistory) -> Vec<u8> {
    let recent = history.recent.iter().map(|point| {
        let [positive, neutral, negative] = point.probabilities;
        (point.end_ms, code(point), positive, neutral, negative, point.latency_ms)
    });
    let minutes = history.minutes.iter().map(|minute: &Minute| {
        let [positive, neutral, negative] = minute.labelled;
        let reason = minute.reason.map_or(0, Withheld::code);
        (minute.minute, positive, neutral, negative, minute.withheld, reason)
    });
    json(&HistoryText { v: 1, camera, recent: recent.collect(), minutes: minutes.collect() })
}

/// The `code` of a published reading.
fn code(point: &Point) -> i16 {
    match point.outcome {
        Outcome::Label(emotion) => i16::from(emotion.code()),
        Outcome::Withheld(why) => -10 - i16::from(why.code()),
    }
}
