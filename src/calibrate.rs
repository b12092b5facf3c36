//! `--dry-run`: the same ingest and infer, into a report instead of a broker.
//!
//! Only records arrive here, so the report can hold numbers and words from closed lists, and nothing else.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Write as _},
};

use crate::wire::{
    CameraId,
    record::{CameraFault, CameraState, Emotion, Outcome, PictureCodec, Reading, Record, SoundState, Vital},
};

/// What was seen of every camera.
#[derive(Debug)]
pub struct Report {
    cameras: BTreeMap<CameraId, Seen>,
    slots: Option<u64>,
}

/// What was seen of one camera.
#[derive(Debug, Default)]
struct Seen {
    name: String,
    vital: Option<Vital>,
    labels: [u32; Emotion::ALL.len()],
    withheld: BTreeMap<&'static str, u32>,
    latency_ms: Vec<u16>,
    inference_ms: Vec<u16>,
    frame_offset_ms: u16,
    slots: u64,
}

impl Report {
    /// An empty report on these cameras, which is complete after `slots` slots of each.
    #[must_use]
    pub fn new(cameras: impl IntoIterator<Item = (CameraId, String)>, slots: Option<u64>) -> Self {
        let cameras = cameras.into_iter().map(|(id, name)| (id, Seen { name, ..Seen::default() }));
        Self { cameras: cameras.collect(), slots }
    }

    /// Adds a record. Returns the line to show at once, for a reading.
    pub fn take(&mut self, record: Record) -> Option<String> {
        match record {
            Record::Vital(vital) => {
                self.cameras.get_mut(&vital.camera)?.vital = Some(vital);
                None
            }
            Record::Reading(reading) => Some(self.cameras.get_mut(&reading.camera)?.take(&reading)),
        }
    }

    /// Whether every camera has had its slots.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.slots.is_some_and(|slots| self.cameras.values().all(|seen| slots <= seen.slots))
    }
}

impl Seen {
    fn take(&mut self, reading: &Reading) -> String {
        self.slots += 1;
        let mut line = format!("{:<16} ", self.name);
        // Writing to a string cannot fail.
        match reading.outcome {
            Outcome::Label(emotion) => {
                self.labels[emotion as usize] += 1;
                let [positive, neutral, negative] = reading.probabilities.map(|it| f64::from(it) / 10_000.0);
                write!(
                    line,
                    "{:<9} positive {positive:.2}  neutral {neutral:.2}  negative {negative:.2}",
                    emotion.word()
                )
            }
            Outcome::Withheld(reason) => {
                *self.withheld.entry(reason.word()).or_default() += 1;
                write!(line, "withheld  {}", reason.word())
            }
        }
        .ok();
        // A small network takes less than a millisecond, and a group that is too small has no probabilities.
        if 0 < reading.inference_ms || reading.probabilities != [0; 3] {
            self.latency_ms.push(reading.latency_ms);
            self.inference_ms.push(reading.inference_ms);
        }
        self.frame_offset_ms = self.frame_offset_ms.max(reading.frame_offset_ms);
        line
    }

    fn stream(&self, f: &mut fmt::Formatter<'_>, vital: &Vital) -> fmt::Result {
        if vital.state != CameraState::Online {
            line(f, "camera", format_args!("{}: {}", vital.state.word(), cure(vital.fault)))?;
        }
        if vital.codec != PictureCodec::Unknown {
            let (codec, fps) = (vital.codec.word(), f64::from(vital.fps_x100) / 100.0);
            let size = format!("{}x{}", vital.width, vital.height);
            line(f, "stream", format_args!("{codec} {size}, {fps:.1} frames/s, {} kbit/s", vital.kbps))?;
        }
        match vital.key_distance_ms {
            0 => line(f, "key frames", format_args!("distance not known yet"))?,
            ms => line(f, "key frames", format_args!("every {:.2} s", f64::from(ms) / 1000.0))?,
        }
        let lost = format_args!(
            "{} packets lost, {} units dropped here, {} outages",
            vital.packets_lost, vital.units_dropped, vital.outages
        );
        line(f, "loss", lost)?;
        line(
            f,
            "picture",
            format_args!("mean luma {} of 255, camera clock {:+} ppm", vital.luma, vital.camera_drift_ppm),
        )?;
        match vital.sound {
            SoundState::Off => line(f, "sound", format_args!("none configured")),
            state => {
                let level = f64::from(vital.level_cdb) / 100.0;
                let (word, drift, lost) = (state.word(), vital.sound_drift_ppm, vital.sound_lost_ms);
                line(f, "sound", format_args!("{word}, {level:.1} dBFS, clock {drift:+} ppm, {lost} ms lost"))
            }
        }
    }

    fn readings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = self.vital.map_or("unknown", |it| it.provider.word());
        if let (Some((latency, worst)), Some((inference, _))) = (middle(&self.latency_ms), middle(&self.inference_ms)) {
            let text = format_args!(
                "window end to reading: median {latency} ms, worst {worst} ms; network {inference} ms on {provider}"
            );
            line(f, "latency", text)?;
            line(f, "frames", format_args!("at most {} ms from the wanted moment", self.frame_offset_ms))?;
        }
        let mut words: Vec<_> =
            Emotion::ALL.iter().map(|it| format!("{} {}", self.labels[*it as usize], it.word())).collect();
        words.extend(self.withheld.iter().map(|(reason, count)| format!("{count} withheld ({reason})")));
        line(f, "readings", format_args!("{} slots: {}", self.slots, words.join(", ")))
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for seen in self.cameras.values() {
            writeln!(f, "{}", seen.name)?;
            match &seen.vital {
                Some(vital) => seen.stream(f, vital)?,
                None => line(f, "camera", format_args!("nothing was heard of it"))?,
            }
            seen.readings(f)?;
        }
        writeln!(f, "nothing was published")
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, text: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "  {what:<12}{text}")
}

/// The median and the largest.
fn middle(values: &[u16]) -> Option<(u16, u16)> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    Some((*sorted.get(sorted.len() / 2)?, *sorted.last()?))
}

/// What to do about a camera, in an installer's words.
fn cure(fault: CameraFault) -> &'static str {
    match fault {
        CameraFault::None => "nothing is wrong",
        CameraFault::Connecting => "still connecting",
        CameraFault::Unreachable => "no answer: check the cable, the address, the port and the firewall",
        CameraFault::Unauthorised => {
            "the camera refused the user or the password: check camera.user and camera.password_file"
        }
        CameraFault::NotFound => "the camera has no such stream: check the path in camera.url",
        CameraFault::Busy => "the camera serves as many viewers as it can: close one, or raise its limit",
        CameraFault::Certificate => {
            "the certificate is not the expected one: check camera.tls_fingerprint or camera.tls_ca_file"
        }
        CameraFault::Codec => "the camera sends a codec that is not supported: set it to H.264, H.265 or MJPEG",
        CameraFault::Stalled => "connected, but nothing arrives: restart the camera, or try transport = \"tcp\"",
        CameraFault::Ended => "the camera ended the stream",
        CameraFault::SoundOnly => "sound arrives, pictures do not: check the camera's video settings",
        CameraFault::Other => "see the log",
        CameraFault::Paused => "paused: by `edge-ger pause`, by a signal, or because it is outside of camera.schedule",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::record::{Provider, Withheld};

    fn reading(slot: u64, outcome: Outcome) -> Record {
        Record::Reading(Reading {
            camera: CameraId(0),
            slot,
            window_end_ms: 0,
            outcome,
            probabilities: [7000, 2000, 1000],
            group_at_least: Some(5),
            sound: SoundState::Present,
            frame_offset_ms: 40,
            latency_ms: 90,
            inference_ms: 50,
        })
    }

    fn vital() -> Vital {
        Vital {
            camera: CameraId(0),
            state: CameraState::Online,
            fault: CameraFault::None,
            sound: SoundState::Present,
            provider: Provider::Cpu,
            fps_x100: 2500,
            key_distance_ms: 1000,
            kbps: 4000,
            packets_lost: 3,
            units_dropped: 0,
            outages: 1,
            level_cdb: -3020,
            camera_drift_ppm: -4,
            sound_drift_ppm: 11,
            decode_us: 9000,
            inference_us: 50_000,
            labelled: 1,
            withheld: 1,
            luma: 101,
            codec: PictureCodec::H264,
            width: 1920,
            height: 1080,
            sound_lost_ms: 0,
        }
    }

    #[test]
    fn a_report_says_what_was_seen() {
        let mut report = Report::new([(CameraId(0), "hall".to_owned())], Some(2));
        assert_eq!(report.take(Record::Vital(vital())), None);
        let line = report.take(reading(1, Outcome::Label(Emotion::Positive))).unwrap();
        assert_eq!(line, "hall             positive  positive 0.70  neutral 0.20  negative 0.10");
        assert!(!report.complete());
        report.take(reading(2, Outcome::Withheld(Withheld::Dark)));
        assert!(report.complete());
        let expected = "\
hall
  stream      h264 1920x1080, 25.0 frames/s, 4000 kbit/s
  key frames  every 1.00 s
  loss        3 packets lost, 0 units dropped here, 1 outages
  picture     mean luma 101 of 255, camera clock -4 ppm
  sound       present, -30.2 dBFS, clock +11 ppm, 0 ms lost
  latency     window end to reading: median 90 ms, worst 90 ms; network 50 ms on cpu
  frames      at most 40 ms from the wanted moment
  readings    2 slots: 1 positive, 0 neutral, 0 negative, 1 withheld (dark)
nothing was published
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn a_lost_camera_comes_with_its_cure() {
        let mut report = Report::new([(CameraId(0), "hall".to_owned())], None);
        let (state, fault, codec) = (CameraState::Offline, CameraFault::Unauthorised, PictureCodec::Unknown);
        report.take(Record::Vital(Vital { state, fault, codec, ..vital() }));
        assert!(report.to_string().contains("offline: the camera refused the user or the password"));
        assert!(!report.complete());
    }
}
