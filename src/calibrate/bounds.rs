//! The bounds of all verdicts, in one place, each with where it comes from.

use super::grade::Grade;

/// A number that should be small.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Upper {
    /// Above this it is a warning.
    pub warn: f64,
    /// Above this it is a failure; infinite where it never is one.
    pub fail: f64,
}

/// A number that should be large.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lower {
    /// Below this it is a warning.
    pub warn: f64,
    /// Below this it is a failure; negative infinite where it never is one.
    pub fail: f64,
}

const NEVER: f64 = f64::INFINITY;

/// How often the camera was lost. A camera on a sound network is never lost in the minutes of a dry run; twice may be a
/// cable that was moved.
pub(crate) const OUTAGES: Upper = Upper { warn: 0.0, fail: 2.0 };
/// Lost RTP packets, percent. At 1 % of a camera's packets some 20 are lost per window of 5 s (measured: 51 in 12 s of
/// 25 frames per second), which is the default of `gates.packets_lost_max`, so that windows are withheld.
pub(crate) const LOSS_PERCENT: Upper = Upper { warn: 0.1, fail: 1.0 };
/// Jitter, as a share of the jitter buffer. RFC 3550's jitter is a mean deviation, and single packets deviate four times
/// as much.
pub(crate) const JITTER_OF_BUFFER: f64 = 0.25;
/// The jitter buffer that a verdict on jitter assumes at least, ms: the default of `camera.latency_ms`.
pub(crate) const BUFFER_MS: f64 = 200.0;
/// Round trip of an RTSP request, ms. A camera in the same building answers within tens of milliseconds; beyond this it is
/// overloaded, or behind a slow link.
pub(crate) const ROUND_TRIP_MS: Upper = Upper { warn: 200.0, fail: NEVER };
/// The camera's wall clock against ours, ms. The daemon does not use it; what somebody compares with the camera's own
/// recordings is off by this much.
pub(crate) const CLOCK_MS: Upper = Upper { warn: 2000.0, fail: NEVER };
/// Drift of a clock, ppm. Quartzes are within 100; ten times of that is a fault of the time stamps, and beyond 5000 the
/// daemon does not follow (`drift.rs`).
pub(crate) const DRIFT_PPM: Upper = Upper { warn: 200.0, fail: 1000.0 };
/// Pixels of a picture. Decoding more than Full HD costs more, and the network does not see it.
pub(crate) const PIXELS: Upper = Upper { warn: 1920.0 * 1088.0, fail: NEVER };
/// The picture's height against what the network sees: below it there are pixels that no camera saw.
pub(crate) const HEIGHT_OF_NETWORK: Lower = Lower { warn: 1.0, fail: 0.5 };
/// Frames per second for each frame per second that the network looks at. Below 1 frames are missing by rule; a camera
/// that sends less than five has long exposures, in which people smear.
pub(crate) const FRAME_RATE: Lower = Lower { warn: 5.0, fail: 1.0 };
/// Cores that decoding takes. One decoder of one camera runs on one thread or a few; above one core it falls behind.
pub(crate) const DECODING_CORES: Upper = Upper { warn: 0.25, fail: 0.9 };
/// Bit rate, kbit/s. A fifth of a network of 100 Mbit/s, the port of most cameras.
pub(crate) const BIT_RATE_KBPS: Upper = Upper { warn: 20_000.0, fail: NEVER };
/// Mean luma below which a picture is dim although it passes `gates.luma_min`. Video black is 16, mid grey 126.
pub(crate) const LUMA: Lower = Lower { warn: 40.0, fail: f64::NEG_INFINITY };
/// Mean luma above which most of the picture is burnt out. Video white is 235.
pub(crate) const LUMA_BRIGHT: Upper = Upper { warn: 200.0, fail: NEVER };
/// Standard deviation of luma. A covered or fogged lens, or a wall: a scene of people has 30 to 70.
pub(crate) const CONTRAST: Lower = Lower { warn: 20.0, fail: 6.0 };
/// Variance of the Laplacian at a width of 640. 100 is the customary border of blur (Pech-Pacheco et al., 2000, as used in
/// practice); a lens that is covered or far out of focus stays below 10.
pub(crate) const SHARPNESS: Lower = Lower { warn: 100.0, fail: 10.0 };
/// Since the picture last changed, ms. People who stand still breathe, and light flickers; a camera that repeats itself
/// does not. Longer than the second bound an empty place may stand still, too.
pub(crate) const FROZEN_MS: Upper = Upper { warn: 15_000.0, fail: 60_000.0 };
/// The sound's level, dB below full scale. Speech at a few metres is at -40 to -20; below -60 it drowns in the noise of
/// 16 bit and a cheap microphone.
pub(crate) const LEVEL_DB: Lower = Lower { warn: -60.0, fail: f64::NEG_INFINITY };
/// The noise floor, dB below full scale: speech should stand 10 to 20 dB above it.
pub(crate) const NOISE_DB: Upper = Upper { warn: -40.0, fail: -20.0 };
/// Samples at full scale, of 1000. Any is clipping; one in a hundred can be heard as distortion throughout.
pub(crate) const CLIPPED_PERMILLE: Upper = Upper { warn: 0.0, fail: 10.0 };
/// Hum against all other sound, dB. At -20 it is a hundredth of the sound's power; at 0 it is half of everything.
pub(crate) const HUM_DB: Upper = Upper { warn: -20.0, fail: 0.0 };
/// Picture against sound after `sync.offset_ms`, ms: what the clap test promises, and one frame of 25 per second.
pub(crate) const SYNC_MS: Upper = Upper { warn: 40.0, fail: NEVER };
/// The network's time, of a hop. Windows are computed one after the other, and three tenths stay free
/// ([`super::headroom::MARGIN`]).
pub(crate) const INFERENCE_OF_HOP: Upper = Upper { warn: 0.7, fail: 1.0 };
/// From the end of a window to its reading, of a hop: a window that is later than the next one's end is `overload`.
pub(crate) const LATENCY_OF_HOP: Upper = Upper { warn: 0.5, fail: 1.0 };
/// Readings withheld for a technical reason, percent. A camera that works has none; one in ten is a sign, half is useless.
pub(crate) const WITHHELD_PERCENT: Upper = Upper { warn: 10.0, fail: 50.0 };
/// Readings without a label because nothing was likely enough, percent.
pub(crate) const UNSURE_PERCENT: Upper = Upper { warn: 50.0, fail: NEVER };

impl Upper {
    /// The grade of a number.
    #[must_use]
    pub(crate) fn grade(self, number: f64) -> Grade {
        if number <= self.warn {
            Grade::Pass
        } else if number <= self.fail {
            Grade::Warn
        } else {
            Grade::Fail
        }
    }

    /// The bound in words.
    #[must_use]
    pub(crate) fn words(self, unit: &str) -> String {
        words("at most", self.warn, self.fail, "above", unit)
    }

    /// The same bound of a number in another unit, so many of which are one of these.
    #[must_use]
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { warn: self.warn * factor, fail: self.fail * factor }
    }
}

impl Lower {
    /// The grade of a number.
    #[must_use]
    pub(crate) fn grade(self, number: f64) -> Grade {
        if self.warn <= number {
            Grade::Pass
        } else if self.fail <= number {
            Grade::Warn
        } else {
            Grade::Fail
        }
    }

    /// The bound in words.
    #[must_use]
    pub(crate) fn words(self, unit: &str) -> String {
        words("at least", self.warn, self.fail, "below", unit)
    }

    /// The same bound of a number in another unit, so many of which are one of these.
    #[must_use]
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { warn: self.warn * factor, fail: self.fail * factor }
    }
}

fn words(good: &str, warn: f64, fail: f64, bad: &str, unit: &str) -> String {
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    let number = |it: f64| if it.fract() == 0.0 { format!("{it:.0}") } else { format!("{it}") };
    let fails = if fail.is_finite() { format!("; {bad} {}{unit} it fails", number(fail)) } else { String::new() };
    format!("{good} {}{unit}{fails}", number(warn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_better_side() {
        let upper = Upper { warn: 1.0, fail: 2.0 };
        for (number, grade) in [(0.0, Grade::Pass), (1.0, Grade::Pass), (1.1, Grade::Warn), (2.0, Grade::Warn)] {
            assert_eq!(upper.grade(number), grade, "{number}");
        }
        assert_eq!(upper.grade(2.1), Grade::Fail);
        let lower = Lower { warn: 2.0, fail: 1.0 };
        for (number, grade) in [(3.0, Grade::Pass), (2.0, Grade::Pass), (1.9, Grade::Warn), (1.0, Grade::Warn)] {
            assert_eq!(lower.grade(number), grade, "{number}");
        }
        assert_eq!(lower.grade(0.9), Grade::Fail);
    }

    #[test]
    fn bounds_can_be_read() {
        assert_eq!(LOSS_PERCENT.words("%"), "at most 0.1 %; above 1 % it fails");
        assert_eq!(ROUND_TRIP_MS.words("ms"), "at most 200 ms");
        assert_eq!(CONTRAST.words(""), "at least 20; below 6 it fails");
    }
}
