//! The metrics in Prometheus' text format 0.0.4, named by its conventions.
//!
//! Base units (seconds, bytes, ratios), `_total` for counters, `_info` for words. A camera is a label. An unknown value
//! is absent, not zero.

use std::fmt::{Display, Write as _};

use super::{
    history::{CameraSummary, LATENCY_BOUNDS_MS},
    payload::BoxFigures,
};
use crate::wire::record::{CameraState, Emotion, Outcome, SoundState, Vital, Withheld};

/// The content type that goes with [`text`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The box's name in the topics.
    pub(crate) box_name: String,
    /// The network's name, as in its contract.
    pub(crate) model: String,
    /// This run of the daemon.
    pub(crate) boot: u32,
    /// From the end of one window to the end of the next, ms.
    pub(crate) hop_ms: u32,
    /// A smaller group is not read.
    pub(crate) min_group: u8,
    /// When the process started, milliseconds since 1970 UTC.
    pub(crate) started_ms: u64,
}

/// All metrics of the box.
pub(crate) fn text(facts: &Facts, figures: &BoxFigures, cameras: &[CameraSummary]) -> String {
    let mut out = Exposition(String::with_capacity(4096 + cameras.len() * 8192));
    of_box(&mut out, facts, figures);
    of_readings(&mut out, cameras);
    of_latency(&mut out, cameras);
    of_states(&mut out, cameras);
    for (name, kind, help, value) in VITALS {
        out.family(name, *kind, help);
        for (camera, vital) in with_vitals(cameras) {
            out.sample(name, "", &[("camera", &camera.name)], value(vital));
        }
    }
    out.0
}

fn with_vitals(cameras: &[CameraSummary]) -> impl Iterator<Item = (&CameraSummary, &Vital)> {
    cameras.iter().filter_map(|camera| Some((camera, camera.vital.as_ref()?)))
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A metric of a camera's vital: name, kind, help, and its value in base units.
type VitalMetric = (&'static str, Kind, &'static str, fn(&Vital) -> f64);

const VITALS: &[VitalMetric] = &[
    ("edge_ger_camera_frame_rate_hertz", Kind::Gauge, "Frames that the camera sends in a second.", |vital| {
        f64::from(vital.fps_x100) / 100.0
    }),
    (
        "edge_ger_camera_key_frame_distance_seconds",
        Kind::Gauge,
        "Time between key frames; 0 before it is known.",
        |vital| f64::from(vital.key_distance_ms) / 1e3,
    ),
    ("edge_ger_camera_bytes_per_second", Kind::Gauge, "Compressed bytes that the camera sends in a second.", |vital| {
        f64::from(vital.kbps) * 125.0
    }),
    ("edge_ger_camera_packets_lost_total", Kind::Counter, "RTP packets lost on the way.", |vital| {
        f64::from(vital.packets_lost)
    }),
    ("edge_ger_camera_outages_total", Kind::Counter, "How often the camera was lost.", |vital| {
        f64::from(vital.outages)
    }),
    (
        "edge_ger_camera_clock_drift_ratio",
        Kind::Gauge,
        "The camera's clock against this machine's; 1e-6 is 1 ppm.",
        |vital| f64::from(vital.camera_drift_ppm) / 1e6,
    ),
    ("edge_ger_camera_luma_ratio", Kind::Gauge, "Mean brightness of the last frame, 0 black to 1 white.", |vital| {
        f64::from(vital.luma) / 255.0
    }),
    (
        "edge_ger_units_dropped_total",
        Kind::Counter,
        "Frames thrown away because they could not be used in time.",
        |vital| f64::from(vital.units_dropped),
    ),
    ("edge_ger_sound_clock_drift_ratio", Kind::Gauge, "The microphone's clock against this machine's.", |vital| {
        f64::from(vital.sound_drift_ppm) / 1e6
    }),
    ("edge_ger_sound_lost_seconds_total", Kind::Counter, "Sound thrown away by full buffers or gaps.", |vital| {
        f64::from(vital.sound_lost_ms) / 1e3
    }),
    ("edge_ger_decode_mean_seconds", Kind::Gauge, "Decoding and scaling of one frame, a running mean.", |vital| {
        f64::from(vital.decode_us) / 1e6
    }),
    ("edge_ger_inference_mean_seconds", Kind::Gauge, "One run of the network, a running mean.", |vital| {
        f64::from(vital.inference_us) / 1e6
    }),
];

#[allow(clippy::cast_precision_loss, reason = "counters and dates are far below 2^53")]
fn of_box(out: &mut Exposition, facts: &Facts, figures: &BoxFigures) {
    let info = [("box", facts.box_name.as_str()), ("version", env!("CARGO_PKG_VERSION")), ("model", &facts.model)];
    out.family("edge_ger_info", Kind::Gauge, "What this box is; always 1.");
    out.sample("edge_ger_info", "", &info, 1);
    let mut one = |name, kind, help, value: f64| {
        out.family(name, kind, help);
        out.sample(name, "", &[], value);
    };
    let started_s = facts.started_ms as f64 / 1e3;
    one("edge_ger_start_time_seconds", Kind::Gauge, "When the counters began, since 1970 UTC.", started_s);
    let connected = f64::from(u8::from(figures.broker_connected));
    one("edge_ger_broker_connected", Kind::Gauge, "1 while the broker is connected, else 0.", connected);
    let outages = f64::from(figures.broker_outages);
    one("edge_ger_broker_outages_total", Kind::Counter, "How often the broker was lost.", outages);
    let waiting = figures.waiting as f64;
    one("edge_ger_outbox_readings", Kind::Gauge, "Readings that the broker has not acknowledged.", waiting);
    let given_up = figures.given_up as f64;
    one("edge_ger_outbox_given_up_total", Kind::Counter, "Readings given up for a bound of the outbox.", given_up);
    let on_disk = f64::from(u8::from(figures.on_disk));
    one(
        "edge_ger_outbox_on_disk",
        Kind::Gauge,
        "1 while waiting readings are on disk, 0 while only in memory.",
        on_disk,
    );
    let refused = figures.refused as f64;
    one("edge_ger_records_refused_total", Kind::Counter, "Records from infer refused as impossible.", refused);
}

fn of_readings(out: &mut Exposition, cameras: &[CameraSummary]) {
    let name = "edge_ger_readings_total";
    out.family(name, Kind::Counter, "Slots that ended, by label; every slot ends once.");
    for camera in cameras {
        for (emotion, count) in Emotion::ALL.iter().zip(camera.labelled) {
            out.sample(name, "", &[("camera", &camera.name), ("label", emotion.as_str())], count);
        }
        let withheld: u64 = camera.withheld.iter().sum();
        out.sample(name, "", &[("camera", &camera.name), ("label", "withheld")], withheld);
    }
    let name = "edge_ger_withheld_total";
    out.family(name, Kind::Counter, "Slots that ended without a label, by reason.");
    for camera in cameras {
        for (why, count) in Withheld::ALL.iter().zip(camera.withheld) {
            out.sample(name, "", &[("camera", &camera.name), ("reason", why.as_str())], count);
        }
    }
    let newest = || cameras.iter().filter_map(|camera| Some((&camera.name, camera.reading.as_ref()?)));
    let name = "edge_ger_reading_timestamp_seconds";
    out.family(name, Kind::Gauge, "The end of the newest reading's window, since 1970 UTC.");
    for (camera, reading) in newest() {
        #[allow(clippy::cast_precision_loss, reason = "the record filter accepts only dates far below 2^53")]
        out.sample(name, "", &[("camera", camera)], reading.window_end_ms as f64 / 1e3);
    }
    let name = "edge_ger_emotion_probability_ratio";
    out.family(name, Kind::Gauge, "The newest reading's probabilities; absent while it is withheld.");
    for (camera, reading) in newest().filter(|(_, reading)| matches!(reading.outcome, Outcome::Label(_))) {
        for (emotion, probability) in Emotion::ALL.iter().zip(reading.probabilities) {
            let labels = [("camera", camera.as_str()), ("emotion", emotion.as_str())];
            out.sample(name, "", &labels, f64::from(probability) / 1e4);
        }
    }
    let name = "edge_ger_group_people_min";
    out.family(name, Kind::Gauge, "The newest lower bound of the group's size; absent where it is not estimated.");
    for (camera, reading) in newest() {
        if let Some(people) = reading.group_at_least {
            out.sample(name, "", &[("camera", camera)], people);
        }
    }
}

fn of_latency(out: &mut Exposition, cameras: &[CameraSummary]) {
    let name = "edge_ger_reading_latency_seconds";
    out.family(name, Kind::Histogram, "From the end of a window until its reading left infer.");
    for camera in cameras {
        let bounds = LATENCY_BOUNDS_MS.iter().map(|bound| (f64::from(*bound) / 1e3).to_string()).chain(["+Inf".into()]);
        let mut below = 0;
        for (bound, count) in bounds.zip(camera.latency) {
            below += count;
            out.sample(name, "_bucket", &[("camera", &camera.name), ("le", &bound)], below);
        }
        let labels = [("camera", camera.name.as_str())];
        #[allow(clippy::cast_precision_loss, reason = "9 million years of latency are below 2^53 ms")]
        out.sample(name, "_sum", &labels, camera.latency_sum_ms as f64 / 1e3);
        out.sample(name, "_count", &labels, below);
    }
}

/// A metric with a word as its label: the metric's name, the label's name, help, and the word.
type InfoMetric = (&'static str, &'static str, &'static str, fn(&CameraSummary, &Vital) -> &'static str);

fn of_states(out: &mut Exposition, cameras: &[CameraSummary]) {
    let name = "edge_ger_camera_online";
    out.family(name, Kind::Gauge, "1 while pictures arrive, else 0.");
    for camera in cameras {
        out.sample(name, "", &[("camera", &camera.name)], u8::from(camera.state == CameraState::Online));
    }
    let words: [InfoMetric; 4] = [
        ("edge_ger_camera_state_info", "state", "The camera's state; always 1.", |camera, _| camera.state.as_str()),
        ("edge_ger_camera_fault_info", "fault", "Why the camera is not online; always 1.", |_, vital| {
            vital.fault.as_str()
        }),
        ("edge_ger_sound_state_info", "state", "What became of the sound; always 1.", |_, vital| vital.sound.as_str()),
        ("edge_ger_provider_info", "provider", "What the network runs on; always 1.", |_, vital| {
            vital.provider.as_str()
        }),
    ];
    for (name, label, help, word) in words {
        out.family(name, Kind::Gauge, help);
        for (camera, vital) in with_vitals(cameras) {
            out.sample(name, "", &[("camera", &camera.name), (label, word(camera, vital))], 1);
        }
    }
    let name = "edge_ger_sound_level_dbfs";
    out.family(name, Kind::Gauge, "The sound's level below full scale; absent where there is no sound.");
    for (camera, vital) in with_vitals(cameras) {
        if !matches!(vital.sound, SoundState::Off | SoundState::Absent) {
            out.sample(name, "", &[("camera", &camera.name)], f64::from(vital.level_cdb) / 100.0);
        }
    }
}

/// The text being written.
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a String cannot fail; the same below.
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        write!(self.0, "{name}{suffix}").ok();
        for (i, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            write!(self.0, "{}{label}=\"{text}\"", if i == 0 { '{' } else { ',' }).ok();
        }
        writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" }).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut out = Exposition(String::new());
        out.sample("a", "_total", &[("b", "x\"y\\z\n"), ("c", "")], 1.5);
        assert_eq!(out.0, "a_total{b=\"x\\\"y\\\\z\\n\",c=\"\"} 1.5\n");
    }

    #[test]
    fn a_box_without_cameras_has_its_own_metrics() {
        let facts = Facts {
            box_name: "hall".into(),
            model: "m \"1\"".into(),
            boot: 1,
            hop_ms: 5000,
            min_group: 5,
            started_ms: 1_795_000_000_123,
        };
        let text = text(&facts, &BoxFigures { waiting: 3, ..BoxFigures::default() }, &[]);
        assert!(text.contains("edge_ger_outbox_readings 3\n"), "{text}");
        assert!(text.contains("edge_ger_start_time_seconds 1795000000.123\n"), "{text}");
        assert!(text.contains("box=\"hall\"") && text.contains(r#"model="m \"1\"""#), "{text}");
    }
}
