//! What was seen of one camera: sums and short histories of its records, in bounded memory.

use std::collections::BTreeMap;

use super::{
    baseline::Baseline,
    history::{Tally, Trace},
};
use crate::{
    time::Span,
    wire::{
        estimate::Estimates,
        record::{CameraState, Emotion, Outcome, ProbeRecord, Reading, SoundState, Step, Vital, Withheld},
    },
};

/// A picture that changed so recently moves, ms.
const MOVES_MS: u32 = 2000;

/// What was seen of one camera.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observations {
    /// The newest.
    pub vital: Option<Vital>,
    /// The newest.
    pub probe: Option<ProbeRecord>,
    /// The newest.
    pub reading: Option<Reading>,
    /// The newest of a camera that was online, and of one whose picture was decoded.
    last_good: (Option<Vital>, Option<ProbeRecord>),
    /// A clap test runs, for which every picture is decoded: what comes of the slots meanwhile is no sign of anything.
    testing: Testing,
    /// How far a connection ever came.
    pub furthest: Option<Step>,
    /// RTP packets of all connections that arrived.
    pub packets: u64,
    /// Slots that ended, however.
    pub slots: u64,
    /// Those of them that a clap test disturbed: they are neither labels nor withheld here.
    pub tested: u64,
    /// Labels, in the order of [`Emotion::ALL`].
    pub labels: [u32; Emotion::ALL.len()],
    /// Slots without a label, by reason.
    pub withheld: BTreeMap<Withheld, u32>,
    /// From the end of a window to its reading, ms.
    pub latency_ms: Tally,
    /// The network's part of that, ms.
    pub inference_ms: Tally,
    /// The largest distance of a frame from its wanted moment, ms.
    pub frame_offset_ms: u16,
    /// The probability of the likeliest emotion before smoothing, in ten-thousandths.
    pub confidence: Tally,
    /// What the network estimated of each window beside the emotion, thousandths.
    pub estimates_permille: Estimates<Tally>,
    /// Whether the picture was ever seen to move.
    pub has_moved: bool,
    /// Mean luma, 0 to 255.
    pub luma: Trace<1>,
    /// The sound's level, dB below full scale.
    pub level: Trace<1>,
    /// The published probabilities, in the order of [`Emotion::ALL`].
    pub probabilities: Trace<3>,
    /// The clap test that was accepted.
    pub clap: Option<Clap>,
    /// What the guided baseline measured.
    pub baseline: Baseline,
    /// The masks that were drawn: polygons of fractions of width and height, origin top left.
    pub masks: Option<Vec<Vec<[f64; 2]>>>,
}

/// Whether a clap test disturbs the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Testing {
    #[default]
    No,
    Yes,
    /// It is over; the window that it ended in is not.
    LastWindow,
}

/// What a clap test came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clap {
    /// How much later the sound of an event arrives than its picture, ms.
    pub offset_ms: i16,
    /// How sure that is, percent.
    pub confidence: u8,
    /// How many claps it rests on.
    pub claps: u8,
}

impl Observations {
    /// Takes a reading that came so long after the run's beginning.
    pub(crate) fn reading(&mut self, reading: &Reading, at: Span) {
        self.slots += 1;
        self.frame_offset_ms = self.frame_offset_ms.max(reading.frame_offset_ms);
        self.reading = Some(*reading);
        if self.testing != Testing::No {
            self.tested += 1;
            if self.testing == Testing::LastWindow {
                self.testing = Testing::No;
            }
            return;
        }
        match reading.outcome {
            Outcome::Label(emotion) => self.labels[emotion as usize] += 1,
            Outcome::Withheld(reason) => *self.withheld.entry(reason).or_default() += 1,
        }
        // A small network takes less than a millisecond, and a group that is too small has no probabilities.
        if 0 < reading.inference_ms || reading.probabilities != [0; 3] {
            self.latency_ms.add(reading.latency_ms);
            self.inference_ms.add(reading.inference_ms);
        }
        if reading.probabilities != [0; 3] {
            self.probabilities.add(at, reading.probabilities.map(|it| f32::from(it) / 10_000.0));
        }
    }

    /// A clap test begins, or ends.
    pub(crate) fn test(&mut self, is_on: bool) {
        self.testing = if is_on { Testing::Yes } else { Testing::LastWindow };
    }

    /// Takes a vital.
    pub(crate) fn vital(&mut self, vital: &Vital, at: Span) {
        // Nothing is known of the light before a window was looked at, and the number is 0 then.
        let looked = u64::from(self.withheld_for(&[Withheld::Starting, Withheld::CameraOffline])) < self.slots;
        if vital.state == CameraState::Online && 0 < vital.width && (looked || 0 < vital.luma) {
            self.luma.add(at, [f32::from(vital.luma)]);
            self.baseline.light(vital.luma);
        }
        if !matches!(vital.sound, SoundState::Off | SoundState::Absent) {
            self.level.add(at, [f32::from(vital.level_cdb) / 100.0]);
        }
        self.vital = Some(*vital);
        if vital.state == CameraState::Online {
            self.last_good.0 = Some(*vital);
        }
    }

    /// Takes a probe.
    pub(crate) fn probe(&mut self, probe: &ProbeRecord) {
        let before = self.probe.map_or(0, |it| it.packets);
        // A new connection counts from zero.
        let new = probe.packets.checked_sub(before).unwrap_or(probe.packets);
        self.packets += u64::from(new);
        self.furthest = self.furthest.max(Some(probe.step));
        self.has_moved |= probe.step == Step::Decoded && 0 < probe.contrast && probe.frozen_ms < MOVES_MS;
        if self.probe.map_or(0, |it| it.slot) < probe.slot {
            if probe.probabilities != [0; 3] {
                self.confidence.add(probe.probabilities.into_iter().max().unwrap_or(0));
            }
            for (tally, permille) in self.estimates_permille.iter_mut().zip(probe.estimates_permille) {
                if 0 < permille {
                    tally.add(permille);
                }
            }
            self.baseline.window(probe.probabilities, probe.motion());
        }
        self.probe = Some(*probe);
        if probe.step == Step::Decoded {
            self.last_good.1 = Some(*probe);
        }
    }

    /// The newest vital of a camera that was online then.
    #[must_use]
    pub(crate) fn online(&self) -> Option<&Vital> {
        self.vital.as_ref().filter(|it| it.state == CameraState::Online).or(self.last_good.0.as_ref())
    }

    /// The newest probe of a camera whose picture was decoded then.
    #[must_use]
    pub(crate) fn picture(&self) -> Option<&ProbeRecord> {
        self.probe.as_ref().filter(|it| it.step == Step::Decoded).or(self.last_good.1.as_ref())
    }

    /// Whether pictures are decoded now.
    #[must_use]
    pub(crate) fn is_seen(&self) -> bool {
        self.probe.is_some_and(|it| it.step == Step::Decoded)
    }

    /// How many slots have no label for one of these reasons.
    #[must_use]
    pub(crate) fn withheld_for(&self, reasons: &[Withheld]) -> u32 {
        reasons.iter().filter_map(|it| self.withheld.get(it)).sum()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wire::{CameraId, estimate::Estimate, record::example};

    pub(in super::super) fn reading(slot: u64, outcome: Outcome) -> Reading {
        Reading { outcome, probabilities: [7000, 2000, 1000], ..example::reading(CameraId(0), slot) }
    }

    pub(in super::super) fn vital() -> Vital {
        Vital { packets_lost: 0, units_dropped: 0, outages: 0, sound_lost_ms: 0, ..example::vital(CameraId(0)) }
    }

    pub(in super::super) fn probe(slot: u64) -> ProbeRecord {
        ProbeRecord {
            step: Step::Decoded,
            contrast: 48,
            sharpness: 600,
            frozen_ms: 40,
            jitter_us: 1200,
            round_trip_us: 2100,
            packets: 10_000,
            camera_clock_ms: 120,
            noise_floor_cdb: -5200,
            peak_cdb: -900,
            probabilities: [7000, 2000, 1000],
            estimates_permille: [84; Estimate::COUNT],
            motion_milli: 1600,
            slot,
            ..ProbeRecord::unknown(CameraId(0))
        }
    }

    /// A camera on which everything is right, after so many labelled slots.
    pub(in super::super) fn good(slots: u64) -> Observations {
        let mut seen = Observations::default();
        for slot in 1..=slots {
            let at = Span::from_ms(i64::try_from(slot).unwrap() * 5000);
            seen.vital(&vital(), at);
            seen.probe(&probe(slot));
            seen.reading(&reading(slot, Outcome::Label(Emotion::Positive)), at);
        }
        seen
    }

    #[test]
    fn packets_are_counted_over_connections() {
        let mut seen = Observations::default();
        for packets in [100, 250, 40, 50] {
            seen.probe(&ProbeRecord { packets, ..probe(1) });
        }
        assert_eq!(seen.packets, 300);
    }

    #[test]
    fn a_clap_test_is_no_sign_of_anything() {
        let mut seen = Observations::default();
        let gap = |slot| reading(slot, Outcome::Withheld(Withheld::VideoGap));
        seen.test(true);
        seen.reading(&gap(1), Span::ZERO);
        seen.test(false);
        seen.reading(&gap(2), Span::ZERO);
        assert_eq!((seen.slots, seen.tested, seen.withheld.len()), (2, 2, 0));
        seen.reading(&gap(3), Span::ZERO);
        assert_eq!((seen.slots, seen.tested, seen.withheld_for(&[Withheld::VideoGap])), (3, 2, 1));
    }

    #[test]
    fn a_camera_that_went_away_keeps_what_was_measured() {
        let mut seen = good(3);
        seen.vital(&Vital { state: CameraState::Offline, width: 0, ..vital() }, Span::ZERO);
        seen.probe(&ProbeRecord { step: Step::Connected, contrast: 0, ..probe(3) });
        assert_eq!((seen.online().unwrap().width, seen.picture().unwrap().contrast), (1920, 48));
        assert!(!seen.is_seen());
    }

    #[test]
    fn each_window_counts_once() {
        let mut seen = Observations::default();
        for slot in [1, 1, 2, 2, 2] {
            seen.probe(&probe(slot));
        }
        assert_eq!(seen.confidence.count(), 2);
    }
}
