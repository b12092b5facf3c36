//! Sound: the mel spectrogram `ger-mel-1` or the waveform itself.
//!
//! `ger-mel-1`: 16 kHz mono, five segments of one second, each padded by itself with 512 reflected samples on both
//! sides; 1024-point FFT of a periodic Hann window every 125 samples, the first 128 frames kept; |X|²; 128 triangular
//! filters of height 1 on the HTK mel scale from 20 to 8000 Hz; 10·log10(max(x, 1e-10)); nothing more than 80 dB below
//! the clip's loudest value; then (x - mean) / std. `models/ger/contract/mel.py` is the same in NumPy.

use std::{fmt, sync::Arc};

use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex};

use crate::infer::contract::{Sound, SoundKind};

/// Segments of a clip, one second each.
pub(crate) const SEGMENTS: usize = 5;
/// Samples of a segment, which is also the rate in Hz.
pub(crate) const SEGMENT_SAMPLES: usize = 16_000;
/// Samples of a clip.
pub const SAMPLES: usize = SEGMENTS * SEGMENT_SAMPLES;
/// Mel bins of a spectrogram.
pub(crate) const BINS: usize = 128;
/// Frames of a segment.
pub(crate) const FRAMES: usize = 128;
/// Numbers of a clip.
pub const LEN: usize = SEGMENTS * BINS * FRAMES;

const FFT: usize = 1024;
const HOP: usize = 125;
const SPECTRUM: usize = FFT / 2 + 1;
/// Frames whose mel bins are summed together: two vectors of the processors that every build runs on.
const LANES: usize = 8;
const F_MIN_HZ: f64 = 20.0;
const F_MAX_HZ: f64 = 8000.0;
const POWER_MIN: f32 = 1e-10;
const TOP_DB: f32 = 80.0;

/// Why samples cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a clip of {samples} samples into {numbers} numbers does not fit the network's sound")]
pub struct Error {
    /// Samples given.
    pub samples: usize,
    /// Numbers asked for.
    pub numbers: usize,
}

/// Makes a clip's samples into the network's numbers, as the contract says.
#[derive(Debug)]
pub enum SoundFeatures {
    /// The network does not hear.
    None,
    /// It hears a spectrogram.
    Mel(Box<Mel>),
    /// It hears the samples.
    Waveform {
        /// Shifted and scaled to mean 0 and deviation 1.
        zscore: bool,
    },
}

impl SoundFeatures {
    /// With everything prepared.
    #[must_use]
    pub fn new(sound: &Sound) -> Self {
        match sound.kind {
            SoundKind::None => Self::None,
            SoundKind::Mel { mean, std } => Self::Mel(Box::new(Mel::new(mean, std))),
            SoundKind::Waveform { zscore } => Self::Waveform { zscore },
        }
    }

    /// Writes the numbers of one clip, straight into its place in the batch. Allocates nothing.
    ///
    /// # Errors
    /// When there are not exactly as many samples and numbers as a clip has.
    pub fn fill(&mut self, samples: &[f32], out: &mut [f32]) -> Result<(), Error> {
        match self {
            Self::None if out.is_empty() => Ok(()),
            Self::Mel(mel) if samples.len() == SAMPLES && out.len() == LEN => {
                mel.fill(samples, out);
                Ok(())
            }
            Self::Waveform { zscore } if samples.len() == out.len() => {
                waveform(samples, *zscore, out);
                Ok(())
            }
            _ => Err(Error { samples: samples.len(), numbers: out.len() }),
        }
    }
}

/// The samples as they are, or as HuBERT's feature extractor makes them: `(x - mean) / sqrt(variance + 1e-7)`.
#[allow(clippy::cast_possible_truncation, reason = "networks compute in f32")]
fn waveform(samples: &[f32], zscore: bool, out: &mut [f32]) {
    if !zscore {
        out.copy_from_slice(samples);
        return;
    }
    let count = samples.len().max(1) as f64;
    let mean = samples.iter().map(|sample| f64::from(*sample)).sum::<f64>() / count;
    let variance = samples.iter().map(|sample| (f64::from(*sample) - mean).powi(2)).sum::<f64>() / count;
    let scale = (variance + 1e-7).sqrt().recip();
    for (out, sample) in out.iter_mut().zip(samples) {
        *out = ((f64::from(*sample) - mean) * scale) as f32;
    }
}

/// One mel bin: the weights of a few neighbouring FFT bins.
#[derive(Clone, Copy, Debug)]
struct Filter {
    /// The first FFT bin with a weight.
    from: usize,
    /// Where its weights lie among all weights.
    weights: (usize, usize),
}

/// `ger-mel-1`.
///
/// The transform is computed in f64: in f32 it would take two thirds of the time and pass the golden vectors, but the
/// quiet bins beside a loud tone would be off by 0.0013 dB and those beside a constant offset by 0.05 dB, where
/// training and daemon may differ by 0.001 dB. What comes after it only adds positive numbers, for which f32 is exact
/// enough, and does so for [`LANES`] frames at once.
pub struct Mel {
    fft: Arc<dyn RealToComplex<f64>>,
    /// Hann's window, periodic.
    window: Box<[f64]>,
    /// 128 filters, and their weights one after another: two for each FFT bin, not 128.
    filters: Vec<Filter>,
    weights: Vec<f32>,
    padded: Vec<f64>,
    /// One windowed frame; the transform uses it as scratch.
    frame: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    /// For each FFT bin the powers of neighbouring frames.
    power: Vec<[f32; LANES]>,
    mean: f32,
    std: f32,
}

impl fmt::Debug for Mel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mel").field("mean", &self.mean).field("std", &self.std).finish_non_exhaustive()
    }
}

impl Mel {
    /// With the training's mean and standard deviation, in dB.
    #[must_use]
    pub fn new(mean: f32, std: f32) -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(FFT);
        let angle = std::f64::consts::TAU / FFT as f64;
        let (filters, weights) = filter_bank();
        Self {
            window: (0..FFT).map(|n| 0.5 - 0.5 * (angle * n as f64).cos()).collect(),
            filters,
            weights,
            padded: vec![0.0; FFT + SEGMENT_SAMPLES],
            frame: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            power: vec![[0.0; LANES]; SPECTRUM],
            fft,
            mean,
            std,
        }
    }

    /// The spectrograms of [`SAMPLES`] samples into [`LEN`] numbers `[segment][mel bin][frame]`.
    fn fill(&mut self, samples: &[f32], out: &mut [f32]) {
        let mut loudest = [f32::NEG_INFINITY; LANES];
        let segments = samples.chunks_exact(SEGMENT_SAMPLES);
        for (segment, out) in segments.zip(out.chunks_exact_mut(BINS * FRAMES)) {
            pad(segment, &mut self.padded);
            for frame in (0..FRAMES).step_by(LANES) {
                for lane in 0..LANES {
                    self.transform((frame + lane) * HOP, lane);
                }
                for (filter, row) in self.filters.iter().zip(out.chunks_exact_mut(FRAMES)) {
                    let sums = self.sums(filter);
                    for ((out, sum), loudest) in row[frame..frame + LANES].iter_mut().zip(sums).zip(&mut loudest) {
                        *out = decibel(sum);
                        *loudest = larger(*loudest, *out);
                    }
                }
            }
        }
        let floor = loudest.into_iter().fold(f32::NEG_INFINITY, f32::max) - TOP_DB;
        let scale = self.std.recip();
        for value in out {
            *value = (larger(*value, floor) - self.mean) * scale;
        }
    }

    /// The powers of the frame that begins at `at` of the padded segment, into their lane.
    #[allow(clippy::cast_possible_truncation, reason = "the spectrogram is f32, as in training")]
    fn transform(&mut self, at: usize, lane: usize) {
        for ((out, sample), window) in self.frame.iter_mut().zip(&self.padded[at..]).zip(&*self.window) {
            *out = sample * window;
        }
        let transformed = self.fft.process_with_scratch(&mut self.frame, &mut self.spectrum, &mut self.scratch);
        debug_assert!(transformed.is_ok(), "the buffers are the transform's own");
        for (power, bin) in self.power.iter_mut().zip(&self.spectrum) {
            power[lane] = bin.norm_sqr() as f32;
        }
    }

    /// One mel bin of neighbouring frames.
    fn sums(&self, filter: &Filter) -> [f32; LANES] {
        let weights = &self.weights[filter.weights.0..filter.weights.1];
        let mut sums = [0.0; LANES];
        for (power, weight) in self.power[filter.from..].iter().zip(weights) {
            for (sum, power) in sums.iter_mut().zip(power) {
                *sum += power * weight;
            }
        }
        sums
    }
}

/// `10·log10(max(power, 1e-10))`, exact to the last bits of an f32. The compiler makes vectors of it, which it cannot
/// of a call of the C library for each of 81 920 numbers.
#[allow(clippy::cast_possible_wrap, reason = "the bits of a positive float")]
fn decibel(power: f32) -> f32 {
    /// The bits of √½.
    const ROOT_HALF: i32 = 0x3f35_04f3;
    /// 10·log10(2).
    const PER_OCTAVE: f32 = 3.010_3;
    /// 20·log10(e): twice, because ln(m) = 2·artanh((m - 1) / (m + 1)).
    const PER_ARTANH: f32 = 8.685_889;
    let bits = larger(power, POWER_MIN).to_bits() as i32;
    // power = 2^octaves · m, with m from √½ to √2.
    let octaves = (bits - ROOT_HALF) >> 23;
    let m = f32::from_bits((bits - (octaves << 23)).cast_unsigned());
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    // |s| ≤ 0.172: the first term left out, s¹¹ / 11, is below 4e-10.
    let series = 1.0 + square * (1.0 / 3.0 + square * (0.2 + square * (1.0 / 7.0 + square / 9.0)));
    octaves as f32 * PER_OCTAVE + PER_ARTANH * s * series
}

/// The larger one, or `b` where `a` is not a number. Unlike `f32::max` it is one instruction.
fn larger(a: f32, b: f32) -> f32 {
    if b < a { a } else { b }
}

/// A segment with half a window of its own reflection on both sides; the edge sample itself is not repeated.
fn pad(segment: &[f32], padded: &mut [f64]) {
    let (before, rest) = padded.split_at_mut(FFT / 2);
    let (middle, after) = rest.split_at_mut(segment.len());
    let copy = |(out, sample): (&mut f64, &f32)| *out = f64::from(*sample);
    before.iter_mut().rev().zip(&segment[1..]).for_each(copy);
    middle.iter_mut().zip(segment).for_each(copy);
    after.iter_mut().zip(segment.iter().rev().skip(1)).for_each(copy);
}

/// The triangles between neighbouring corners that are evenly spread on the HTK mel scale. The lowest are narrower
/// than an FFT bin and may have no weight at all.
#[allow(clippy::cast_possible_truncation, reason = "the weights are f32 in training")]
fn filter_bank() -> (Vec<Filter>, Vec<f32>) {
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let hertz = |mel: f64| 700.0 * (10_f64.powf(mel / 2595.0) - 1.0);
    let (low, high) = (mel(F_MIN_HZ), mel(F_MAX_HZ));
    let corner = |i: usize| hertz(low + (high - low) * i as f64 / (BINS + 1) as f64);
    let bin_hz = SEGMENT_SAMPLES as f64 / FFT as f64;
    let (mut filters, mut weights) = (Vec::new(), Vec::new());
    for bin in 0..BINS {
        let (left, middle, right) = (corner(bin), corner(bin + 1), corner(bin + 2));
        let start = weights.len();
        let mut from = 0;
        for i in 0..SPECTRUM {
            let at = bin_hz * i as f64;
            let weight = ((at - left) / (middle - left)).min((right - at) / (right - middle)) as f32;
            if 0.0 < weight {
                if weights.len() == start {
                    from = i;
                }
                weights.push(weight);
            }
        }
        filters.push(Filter { from, weights: (start, weights.len()) });
    }
    (filters, weights)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/golden/mel");

    fn floats(name: &str) -> Vec<f32> {
        let bytes = fs::read(format!("{GOLDEN}/{name}.f32")).unwrap();
        bytes.chunks_exact(4).map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap())).collect()
    }

    fn samples(name: &str) -> Vec<f32> {
        let bytes = fs::read(format!("{GOLDEN}/{name}.i16")).unwrap();
        bytes.chunks_exact(2).map(|chunk| f32::from(i16::from_le_bytes(chunk.try_into().unwrap())) / 32_768.0).collect()
    }

    #[test]
    fn the_filter_bank_equals_librosa() {
        let wanted = floats("filter-bank");
        let (filters, weights) = filter_bank();
        let mut dense = vec![0.0_f32; SPECTRUM * BINS];
        for (bin, filter) in filters.iter().enumerate() {
            for (i, weight) in weights[filter.weights.0..filter.weights.1].iter().enumerate() {
                dense[(filter.from + i) * BINS + bin] = *weight;
            }
        }
        let worst = dense.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("worst {worst:e}; {} weights instead of {}", weights.len(), wanted.len());
        assert_eq!(dense.len(), wanted.len());
        assert!(worst < 1e-6, "{worst}");
    }

    #[test]
    fn the_spectrogram_equals_torchaudio() {
        let mut mel = Mel::new(0.0, 1.0);
        for name in ["chirp", "click", "speech"] {
            let mut numbers = vec![0.0; LEN];
            mel.fill(&samples(name), &mut numbers);
            let wanted = floats(name);
            assert_eq!(wanted.len(), LEN);
            let worst = numbers.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            println!("{name}: worst {worst:e} dB");
            assert!(worst < 1e-3, "{name}: off by {worst} dB");
        }
    }

    #[test]
    fn decibels_are_those_of_the_c_library() {
        let mut worst = 0.0_f64;
        for bits in (1e-10_f32.to_bits()..1e7_f32.to_bits()).step_by(997) {
            let power = f32::from_bits(bits);
            worst = worst.max((f64::from(decibel(power)) - 10.0 * f64::from(power).log10()).abs());
        }
        assert!(worst < 1e-5, "off by {worst} dB");
        assert_eq!(decibel(1.0), 0.0);
        assert!((decibel(0.0) + 100.0).abs() < 1e-5 && (decibel(-0.0) + 100.0).abs() < 1e-5);
    }

    #[test]
    fn silence_is_a_hundred_decibels_down_then_normalised() {
        let mut mel = Mel::new(-30.0, 20.0);
        let mut numbers = vec![0.0; LEN];
        mel.fill(&[0.0; SAMPLES], &mut numbers);
        assert!(numbers.iter().all(|number| (number + 3.5).abs() < 1e-5), "{}", numbers[0]);
    }

    #[test]
    fn a_clip_allocates_nothing() {
        let samples = samples("speech");
        let sound =
            |kind| Sound { rate_hz: 16_000, samples: 80_000, kind, missing: crate::infer::contract::Missing::Mask };
        for (kind, len) in [
            (SoundKind::Mel { mean: -30.0, std: 20.0 }, LEN),
            (SoundKind::Waveform { zscore: true }, SAMPLES),
            (SoundKind::None, 0),
        ] {
            let mut features = SoundFeatures::new(&sound(kind));
            let mut numbers = vec![0.0; len];
            let counted = allocation_counter::measure(|| features.fill(&samples, &mut numbers).unwrap());
            assert_eq!(counted.count_total, 0, "{kind:?}");
        }
        let counted =
            allocation_counter::measure(|| drop(SoundFeatures::new(&sound(SoundKind::Mel { mean: 0.0, std: 1.0 }))));
        assert!(0 < counted.count_total, "the counter counts");
    }

    #[test]
    fn a_waveform_is_centred_and_scaled() {
        let mut features = SoundFeatures::Waveform { zscore: true };
        let samples: Vec<f32> = (0..80_000).map(|i| 0.25 + 0.1 * (i as f32 * 0.05).sin()).collect();
        let mut numbers = vec![0.0; samples.len()];
        features.fill(&samples, &mut numbers).unwrap();
        let mean = numbers.iter().map(|number| f64::from(*number)).sum::<f64>() / 80_000.0;
        let variance = numbers.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>() / 80_000.0;
        assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-3, "{mean} {variance}");
        let mut silent = vec![1.0; samples.len()];
        features.fill(&vec![0.0; samples.len()], &mut silent).unwrap();
        assert!(silent.iter().all(|number| *number == 0.0));
        assert_eq!(features.fill(&samples[1..], &mut numbers), Err(Error { samples: 79_999, numbers: 80_000 }));
    }
}
