//! The topics and their payloads: the interface that dashboards are built on.
//!
//! All JSON is flat with fixed keys, so that Telegraf, Home Assistant and Node-RED need no script. Telegraf stores
//! numbers only, so every word has a number beside it.

use serde::{Serialize, Serializer};

use crate::wire::record::{CameraState, Outcome, Provider, Reading, Vital};

/// The longest reading, bytes.
#[cfg(test)]
pub(crate) const READING_BYTES_MAX: usize = 256;

/// The largest time in a reading, ms: ten seconds or more.
pub(crate) const TIME_MAX_MS: u16 = 9_999;
/// The largest group size in a reading: 99 people or more.
pub(crate) const GROUP_MAX: i16 = 99;
/// The group size of a network that does not estimate it.
pub(crate) const GROUP_UNKNOWN: i16 = -1;
/// The code of a withheld reading is this minus the reason's code.
const CODE_WITHHELD: i8 = -10;
/// The version of the payloads. It changes when a key changes its meaning or is removed.
const VERSION: u8 = 1;

/// The payload of a box's status topic.
pub(crate) const ONLINE: &str = "online";
/// See [`ONLINE`]; also the last will.
pub(crate) const OFFLINE: &str = "offline";

/// The topics of a box.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    base: String,
}

impl Topics {
    /// The topics of the box `box_name` under `prefix`.
    #[must_use]
    pub(crate) fn new(prefix: &str, box_name: &str) -> Self {
        Self { base: format!("{prefix}/{box_name}") }
    }

    /// `online` or `offline`; retained.
    #[must_use]
    pub(crate) fn status(&self) -> String {
        format!("{}/status", self.base)
    }

    /// [`Info`]; retained.
    #[must_use]
    pub(crate) fn info(&self) -> String {
        format!("{}/info", self.base)
    }

    /// One of a camera's topics: `status`, `reading`, `last`, `health`.
    #[must_use]
    pub(crate) fn camera(&self, camera: &str, leaf: &str) -> String {
        format!("{}/{camera}/{leaf}", self.base)
    }
}

/// The payload of a reading: at most 256 bytes for every record that the filter accepts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ReadingText {
    /// The version of this text: 1.
    v: u8,
    /// The end of the window, milliseconds since 1970 UTC.
    ts_ms: u64,
    /// The run of the daemon. `(boot, seq)` identifies a reading of a camera: a message that comes twice, which QoS 1
    /// allows, has the same pair twice.
    boot: u32,
    /// The slot's number: it grows by one with every hop.
    seq: u64,
    /// `positive`, `neutral`, `negative` or `withheld`.
    label: &'static str,
    /// The label and the reason as one number: 1 positive, 0 neutral, -1 negative; withheld is -10 minus the
    /// reason's number: -11 `starting`, -12 `camera_offline`, -13 `video_gap`, -14 `damaged`, -15 `frozen`,
    /// -16 `dark`, -17 `format_change`, -18 `sound_missing`, -19 `too_few_people`, -20 `low_confidence`,
    /// -21 `overload`, -22 `model_invalid`, -23 `paused`.
    code: i8,
    /// The probability of `positive`, 0 to 1, four digits. 0 in all three where the reading is withheld: what is
    /// withheld (the mood of a group of one, for example) must not be readable from the probabilities.
    #[serde(serialize_with = "probability")]
    p_positive: u16,
    /// The probability of `neutral`.
    #[serde(serialize_with = "probability")]
    p_neutral: u16,
    /// The probability of `negative`.
    #[serde(serialize_with = "probability")]
    p_negative: u16,
    /// Why it is withheld; `none` where it is not.
    reason: &'static str,
    /// The group has at least so many people, 0 to 99; -1 where the network does not estimate it.
    group_min: i16,
    /// What became of the sound: `off`, `present`, `absent`, `silent`, `clipping`.
    sound: &'static str,
    /// The distance of the worst frame from its wanted moment, ms, up to 9999.
    offset_ms: u16,
    /// From the end of the window until the reading left `infer`, ms, up to 9999.
    latency_ms: u16,
    /// The network's part of that, ms, up to 9999.
    inference_ms: u16,
}

impl ReadingText {
    /// The payload of a reading of this run of the daemon.
    #[must_use]
    pub(crate) fn new(reading: &Reading, boot: u32) -> Self {
        let (label, code, reason, probabilities) = match reading.outcome {
            Outcome::Label(emotion) => (emotion.as_str(), emotion.code(), "none", reading.probabilities),
            Outcome::Withheld(why) => {
                let number = i8::try_from(why.code()).unwrap_or(i8::MAX);
                ("withheld", CODE_WITHHELD.saturating_sub(number), why.as_str(), [0; 3])
            }
        };
        let [p_positive, p_neutral, p_negative] = probabilities;
        Self {
            v: VERSION,
            ts_ms: reading.window_end_ms,
            boot,
            seq: reading.slot,
            label,
            code,
            p_positive,
            p_neutral,
            p_negative,
            reason,
            group_min: reading.group_at_least.map_or(GROUP_UNKNOWN, |people| i16::from(people).min(GROUP_MAX)),
            sound: reading.sound.as_str(),
            offset_ms: reading.frame_offset_ms.min(TIME_MAX_MS),
            latency_ms: reading.latency_ms.min(TIME_MAX_MS),
            inference_ms: reading.inference_ms.min(TIME_MAX_MS),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn probability<S: Serializer>(ten_thousandths: &u16, to: S) -> Result<S::Ok, S::Error> {
    match ten_thousandths {
        0 => to.serialize_u8(0),
        _ => to.serialize_f64(f64::from(*ten_thousandths) / 10_000.0),
    }
}

/// The figures of the whole box; the same in every camera's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoxFigures {
    /// Readings that the broker has not acknowledged.
    pub waiting: u64,
    /// Readings given up because a bound of the outbox was reached.
    pub given_up: u64,
    /// Whether readings are on disk. Otherwise they are in memory, and a loss of power loses them.
    pub on_disk: bool,
    /// Datagrams that the record filter refused.
    pub refused: u64,
    /// How often the broker was lost.
    pub broker_outages: u32,
    /// Whether the broker is connected. Only for the page and the metrics: a reader on MQTT knows it anyway.
    pub broker_connected: bool,
}

/// The payload of a camera's health.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HealthText {
    /// The version of this text: 1.
    v: u8,
    /// When it was written, milliseconds since 1970 UTC.
    ts_ms: u64,
    /// The run of the daemon.
    boot: u32,
    /// `online`, `stale` or `offline`.
    state: &'static str,
    /// 1 online, 2 stale, 3 offline.
    state_code: u8,
    /// Why it is not online, in one word; `none` where it is.
    fault: &'static str,
    /// The fault's number; 0 is none.
    fault_code: u8,
    /// What became of the sound: `off`, `present`, `absent`, `silent`, `clipping`.
    sound: &'static str,
    /// The sound's number, 0 to 4 in that order.
    sound_code: u8,
    /// What the network runs on: `none`, `cpu`, `cuda`, `tensorrt`.
    provider: &'static str,
    /// Its number, 0 to 3 in that order.
    provider_code: u8,
    /// The camera's frames per second.
    fps: f64,
    /// The measured key-frame distance, ms; 0 before it is known.
    key_ms: u16,
    /// Compressed bit rate, kbit/s.
    kbps: u32,
    /// RTP packets lost in the network.
    packets_lost: u32,
    /// Access units thrown away because `infer` did not keep up.
    units_dropped: u32,
    /// How often the camera was lost.
    outages: u16,
    /// The sound's level, dB below full scale; -100 for digital silence or none.
    level_db: f64,
    /// The camera's clock against this machine's, parts per million.
    camera_drift_ppm: i16,
    /// The microphone's clock against this machine's, parts per million.
    sound_drift_ppm: i16,
    /// Sound thrown away by full rings or gaps, ms.
    sound_lost_ms: u32,
    /// Mean luma of the last frame, 0 to 255.
    luma: u8,
    /// Decoding and scaling of one frame, ms, a running mean.
    decode_ms: f64,
    /// One run of the network, ms, a running mean.
    inference_ms: f64,
    /// Slots that ended with a label.
    labelled: u32,
    /// Slots that ended without one.
    withheld: u32,
    /// Of the whole box: readings that the broker has not acknowledged.
    waiting: u64,
    /// Of the whole box: readings given up because a bound of the outbox was reached.
    given_up: u64,
    /// Of the whole box: 1 while readings are kept on disk, 0 while only in memory.
    outbox_on_disk: u8,
    /// Of the whole box: datagrams that the record filter refused.
    refused: u64,
    /// Of the whole box: how often the broker was lost.
    broker_outages: u32,
}

impl HealthText {
    /// A camera's health. `state` is the published one, which may be worse than the vital's own.
    #[must_use]
    pub(crate) fn new(vital: &Vital, state: CameraState, figures: &BoxFigures, ts_ms: u64, boot: u32) -> Self {
        Self {
            v: VERSION,
            ts_ms,
            boot,
            state: state.as_str(),
            state_code: state.code(),
            fault: vital.fault.as_str(),
            fault_code: vital.fault.code(),
            sound: vital.sound.as_str(),
            sound_code: vital.sound.code(),
            provider: vital.provider.as_str(),
            provider_code: vital.provider.code(),
            fps: f64::from(vital.fps_x100) / 100.0,
            key_ms: vital.key_distance_ms,
            kbps: vital.kbps,
            packets_lost: vital.packets_lost,
            units_dropped: vital.units_dropped,
            outages: vital.outages,
            level_db: f64::from(vital.level_cdb) / 100.0,
            camera_drift_ppm: vital.camera_drift_ppm,
            sound_drift_ppm: vital.sound_drift_ppm,
            sound_lost_ms: vital.sound_lost_ms,
            luma: vital.luma,
            decode_ms: f64::from(vital.decode_us) / 1000.0,
            inference_ms: f64::from(vital.inference_us) / 1000.0,
            labelled: vital.labelled,
            withheld: vital.withheld,
            waiting: figures.waiting,
            given_up: figures.given_up,
            outbox_on_disk: u8::from(figures.on_disk),
            refused: figures.refused,
            broker_outages: figures.broker_outages,
        }
    }
}

/// The payload of a box's description.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Info {
    /// The version of this text: 1.
    v: u8,
    /// The daemon's version.
    version: &'static str,
    /// The run of the daemon.
    boot: u32,
    /// The network's name, as in its contract.
    model: String,
    /// What the network runs on: `none` before it runs, `cpu`, `cuda`, `tensorrt`.
    provider: &'static str,
    /// A smaller group is not read.
    min_group: u8,
    /// From the end of one window to the end of the next, ms.
    hop_ms: u32,
    /// A sentence about privacy.
    privacy: &'static str,
}

impl Info {
    /// What does not change while the process runs; the provider is not known yet.
    #[must_use]
    pub(crate) fn new(boot: u32, model: &str, min_group: u8, hop_ms: u32) -> Self {
        Self {
            v: VERSION,
            version: env!("CARGO_PKG_VERSION"),
            boot,
            model: model.to_owned(),
            provider: Provider::None.as_str(),
            min_group,
            hop_ms,
            privacy: "pictures and sound never leave this device; only the mood of the group is published, no person's",
        }
    }

    /// Sets what the network runs on. False if nothing changed.
    pub(crate) fn set_provider(&mut self, provider: Provider) -> bool {
        let changed = provider != Provider::None && provider.as_str() != self.provider;
        if changed {
            self.provider = provider.as_str();
        }
        changed
    }
}

/// As JSON. These structures contain only what JSON can represent, so the text is never empty.
#[must_use]
pub(crate) fn json(text: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        publish::record_filter::{DATE_MAX_MS, SLOT_MAX},
        wire::{
            CameraId,
            record::{Emotion, SoundState, Withheld},
        },
    };

    fn largest() -> Reading {
        Reading {
            camera: CameraId(u16::MAX),
            slot: SLOT_MAX,
            window_end_ms: DATE_MAX_MS,
            outcome: Outcome::Label(Emotion::Negative),
            probabilities: [3333, 3334, 3333],
            group_at_least: Some(254),
            sound: SoundState::Clipping,
            frame_offset_ms: u16::MAX,
            latency_ms: u16::MAX,
            inference_ms: u16::MAX,
        }
    }

    #[test]
    fn no_reading_is_longer_than_its_bound() {
        let outcomes = Emotion::ALL.map(Outcome::Label).into_iter();
        let outcomes = outcomes.chain(Withheld::ALL.iter().copied().map(Outcome::Withheld));
        let mut longest = 0;
        for outcome in outcomes {
            for sound in SoundState::ALL.iter().copied() {
                for group_at_least in [None, Some(0), Some(99), Some(254)] {
                    let text =
                        json(&ReadingText::new(&Reading { outcome, sound, group_at_least, ..largest() }, u32::MAX));
                    longest = longest.max(text.len());
                    assert!(text.len() <= READING_BYTES_MAX, "{} {}", text.len(), String::from_utf8_lossy(&text));
                }
            }
        }
        // The bound is tight: were it loose, the table above would not hold the extremes.
        assert_eq!(longest, READING_BYTES_MAX);
    }

    #[test]
    fn no_probability_has_more_than_four_digits() {
        for ten_thousandths in 0..=10_000 {
            let text = ReadingText::new(&Reading { probabilities: [ten_thousandths, 0, 0], ..largest() }, 1);
            let text = String::from_utf8(json(&text)).unwrap();
            let number = text.split("\"p_positive\":").nth(1).unwrap().split(',').next().unwrap();
            assert!(number.len() <= 6, "{number}");
            let back: f64 = number.parse().unwrap();
            assert!((back - f64::from(ten_thousandths) / 1e4).abs() < 1e-9, "{number}");
        }
    }

    #[test]
    fn a_reading_has_the_documented_form() {
        let reading = Reading { slot: 7, window_end_ms: 1_795_000_000_000, latency_ms: 88, ..largest() };
        assert_eq!(
            String::from_utf8(json(&ReadingText::new(&reading, 42))).unwrap(),
            r#"{"v":1,"ts_ms":1795000000000,"boot":42,"seq":7,"label":"negative","code":-1,"p_positive":0.3333,"#
                .to_owned()
                + r#""p_neutral":0.3334,"p_negative":0.3333,"reason":"none","group_min":99,"sound":"clipping","#
                + r#""offset_ms":9999,"latency_ms":88,"inference_ms":9999}"#
        );
    }

    #[test]
    fn a_withheld_reading_has_no_probabilities() {
        let reading = Reading { outcome: Outcome::Withheld(Withheld::TooFewPeople), ..largest() };
        let text = String::from_utf8(json(&ReadingText::new(&reading, 42))).unwrap();
        assert!(
            text.contains(r#""code":-19,"p_positive":0,"p_neutral":0,"p_negative":0,"reason":"too_few_people""#),
            "{text}"
        );
    }

    #[test]
    fn the_provider_changes_once() {
        let mut info = Info::new(1, "ger-small", 5, 5000);
        assert!(!info.set_provider(Provider::None));
        assert!(info.set_provider(Provider::Cpu));
        assert!(!info.set_provider(Provider::Cpu));
        assert!(String::from_utf8(json(&info)).unwrap().contains(r#""provider":"cpu""#));
    }
}
