//! How much of this machine one such camera takes, and so how many it can carry. Pure arithmetic.
//!
//! With a hop of h s, a key frame every d s, f frames per second and n frames of a clip of c s, wanted moments are
//! s = c / n apart, and each second so many frames are decoded:
//!
//! | `camera.decode` | frames per second |
//! |---|---|
//! | `"all"` | f |
//! | `"keyframes"`, and `"auto"` where d / 2 is within nine tenths of `gates.frame_offset_max_ms` | min(n / h, 1 / d): the key frame nearest to each wanted moment |
//! | `"auto"` otherwise, s <= d | f · (1 - s / 2d): from a key frame up to its last wanted moment, which lies s / 2 before the next key frame on average |
//! | `"auto"` otherwise, d < s | f · d / 2s: of the d / s of all key frames that have a wanted moment behind them, half the way on average |
//!
//! A camera then takes `D` = frames per second times the time of one decoding, in cores, and the network, which takes i s
//! per window, `I` = i / h of its device. On the CPU the network runs on t of the C cores, so that N cameras need
//! N · (D + t · I) of C cores; on a GPU they need N · D of C cores and N · I of the GPU. Windows are computed one after
//! the other, so N · I may never exceed 1. Three tenths stay free: for the network's traffic, sound, the broker, and for
//! everything else on the machine.

use crate::config::Decode;

/// What stays free.
pub(crate) const MARGIN: f64 = 0.3;
/// As in `ingest::sampling`: key frames alone are relied on where half their distance is below this share of what is
/// allowed.
const KEYS_MARGIN: f64 = 0.9;

/// What one camera sends and the network wants of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stream {
    /// Frames per second that the camera sends.
    pub fps: f64,
    /// From one key frame to the next, s; `None` before it is known.
    pub key_distance_s: Option<f64>,
    /// Which frames are decoded.
    pub decode: Decode,
    /// A frame farther than this from its wanted moment is missing, s.
    pub offset_max_s: f64,
    /// Frames of a window that the network looks at.
    pub frames: u32,
    /// How long a window is, s.
    pub clip_s: f64,
    /// From the end of one window to that of the next, s.
    pub hop_s: f64,
}

/// What the work takes here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Machine {
    /// Decoding and scaling of one frame, s of one core.
    pub decode_s: f64,
    /// One run of the network, s.
    pub inference_s: f64,
    /// Cores.
    pub cores: u32,
    /// Cores that a run of the network keeps busy; 0 where it runs on a GPU.
    pub inference_cores: u32,
}

impl Stream {
    /// Whether key frames alone are near enough to the wanted moments. `None` before the distance is known.
    #[must_use]
    pub(crate) fn is_by_keys(&self) -> Option<bool> {
        match self.decode {
            Decode::All => Some(false),
            Decode::Keyframes => Some(true),
            Decode::Auto => self.key_distance_s.map(|it| it / 2.0 <= self.offset_max_s * KEYS_MARGIN),
        }
    }

    /// How many frames are decoded each second. Before the key-frame distance is known: all of them.
    #[must_use]
    pub(crate) fn decoded_per_s(&self) -> f64 {
        let (Some(is_by_keys), Some(distance_s)) = (self.is_by_keys(), self.key_distance_s) else { return self.fps };
        let apart_s = self.clip_s / f64::from(self.frames);
        if self.decode == Decode::All {
            self.fps
        } else if is_by_keys {
            (f64::from(self.frames) / self.hop_s).min(1.0 / distance_s)
        } else if apart_s <= distance_s {
            self.fps * (1.0 - apart_s / (2.0 * distance_s))
        } else {
            self.fps * distance_s / (2.0 * apart_s)
        }
    }

    /// The cores that decoding takes: a share of one, or more.
    #[must_use]
    pub(crate) fn decoding_cores(&self, machine: &Machine) -> f64 {
        self.decoded_per_s() * machine.decode_s
    }

    /// How many such cameras this machine carries, with the margin; 0 where it does not even carry one.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and `as` saturates")]
    pub(crate) fn carried(&self, machine: &Machine) -> u32 {
        let inference = machine.inference_s / self.hop_s;
        let cores = self.decoding_cores(machine) + inference * f64::from(machine.inference_cores);
        let by_cores = f64::from(machine.cores) * (1.0 - MARGIN) / cores;
        let by_inference = (1.0 - MARGIN) / inference;
        by_cores.min(by_inference).floor() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Stream = Stream {
        fps: 25.0,
        key_distance_s: Some(1.0),
        decode: Decode::Auto,
        offset_max_s: 0.6,
        frames: 5,
        clip_s: 5.0,
        hop_s: 5.0,
    };

    #[track_caller]
    fn decoded(stream: Stream, expected: f64) {
        let found = stream.decoded_per_s();
        assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
    }

    #[test]
    fn decoded_is_what_the_wanted_frames_need() {
        decoded(STREAM, 1.0);
        decoded(Stream { key_distance_s: Some(0.04), ..STREAM }, 1.0);
        decoded(Stream { hop_s: 1.0, key_distance_s: Some(0.5), ..STREAM }, 2.0);
        decoded(Stream { key_distance_s: Some(4.0), ..STREAM }, 25.0 * 0.875);
        decoded(Stream { key_distance_s: Some(4.0), decode: Decode::Keyframes, ..STREAM }, 0.25);
        decoded(Stream { decode: Decode::All, ..STREAM }, 25.0);
        decoded(Stream { key_distance_s: None, ..STREAM }, 25.0);
        // Two wanted moments of 2.5 s, a key frame every 2 s: four fifths of the key frames, half the way each.
        decoded(Stream { frames: 2, key_distance_s: Some(2.0), ..STREAM }, 25.0 * 2.0 / 5.0);
    }

    #[test]
    fn the_machine_is_full_where_the_formula_says() {
        let machine = Machine { decode_s: 0.01, inference_s: 0.05, cores: 2, inference_cores: 2 };
        // 0.01 cores of decoding and 0.02 of the network: 1.4 cores carry 46 of 0.03.
        assert_eq!(STREAM.carried(&machine), 46);
        // A network of 4 s on two cores leaves no room for one camera at a hop of 5 s.
        assert_eq!(STREAM.carried(&Machine { inference_s: 4.0, ..machine }), 0);
        // On a GPU its time counts, and the cores are the decoder's.
        let gpu = Machine { inference_s: 0.1, inference_cores: 0, ..machine };
        assert_eq!(STREAM.carried(&gpu), 35);
        let chain = Stream { key_distance_s: Some(4.0), ..STREAM };
        assert_eq!(chain.carried(&gpu), 6);
    }
}
