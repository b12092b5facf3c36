//! Mains hum: the lines that a bad cable or a cheap power supply draws at multiples of 50 or 60 Hz.

use std::{fmt, sync::Arc};

use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex};

/// Harmonics that are looked for: a transformer's hum is at 1, a rectifier's at 2, 4, 6, and the rest are overtones.
const HARMONICS: usize = 8;
/// A line is this much stronger than what is beside it, as a ratio of powers: 10 dB.
const LINE_RATIO: f64 = 10.0;
/// So many lines are a hum; one is a tone.
const LINES_MIN: usize = 2;
/// A line is as wide as this, Hz on either side: Hann's window and 0.4 % by which mains may be off.
const LINE_HZ: f64 = 1.5;
/// What is beside a line: up to this far from it, Hz.
const BESIDE_HZ: f64 = 12.0;
/// Below this, Hz, is no sound but wind and a converter's offset.
const SOUND_FROM_HZ: f64 = 20.0;

/// A hum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hum {
    /// The mains frequency, Hz: 50 or 60.
    pub mains_hz: u8,
    /// Its power against that of all other sound, dB.
    pub against_rest_db: f64,
}

/// Finds hum in sound; memory is that of one spectrum.
pub(crate) struct HumFinder {
    rate_hz: f64,
    fft: Arc<dyn RealToComplex<f64>>,
    window: Box<[f64]>,
    /// One windowed frame; the transform uses it as scratch.
    frame: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    /// For each bin from 0 Hz on the mean power over the frames.
    power: Vec<f64>,
}

impl fmt::Debug for HumFinder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HumFinder").field("rate_hz", &self.rate_hz).finish_non_exhaustive()
    }
}

impl HumFinder {
    /// For sound of this rate, which should be 8 kHz or more.
    #[must_use]
    pub(crate) fn new(rate_hz: u32) -> Self {
        // Two seconds or a little more: bins of half a hertz, and a voice does not hold a tone for so long.
        let length = (rate_hz as usize * 2).next_power_of_two();
        let fft = RealFftPlanner::new().plan_fft_forward(length);
        let angle = std::f64::consts::TAU / length as f64;
        Self {
            rate_hz: f64::from(rate_hz),
            window: (0..length).map(|n| 0.5 - 0.5 * (angle * n as f64).cos()).collect(),
            frame: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            power: vec![0.0; length / 2 + 1],
            fft,
        }
    }

    /// The hum in these samples, if there is one. Less than two seconds have none.
    pub(crate) fn find(&mut self, samples: &[f32]) -> Option<Hum> {
        self.spectrum(samples);
        let from = self.bin(SOUND_FROM_HZ);
        let all: f64 = self.power.get(from..)?.iter().sum();
        let found = [50_u8, 60].map(|mains_hz| (mains_hz, self.lines(f64::from(mains_hz))));
        let (mains_hz, hum) = found.into_iter().reduce(|best, other| if best.1 < other.1 { other } else { best })?;
        (0.0 < hum).then(|| {
            let rest = (all - hum).max(all * 1e-9);
            Hum { mains_hz, against_rest_db: 10.0 * (hum / rest).log10() }
        })
    }

    /// The mean power spectrum of frames that overlap by half (Welch 1967).
    fn spectrum(&mut self, samples: &[f32]) {
        let length = self.frame.len();
        self.power.fill(0.0);
        for samples in samples.windows(length).step_by(length / 2) {
            for ((out, sample), window) in self.frame.iter_mut().zip(samples).zip(&*self.window) {
                *out = f64::from(*sample) * window;
            }
            let transformed = self.fft.process_with_scratch(&mut self.frame, &mut self.spectrum, &mut self.scratch);
            debug_assert!(transformed.is_ok(), "the buffers are the transform's own");
            self.power.iter_mut().zip(&self.spectrum).for_each(|(power, bin)| *power += bin.norm_sqr());
        }
    }

    /// The power of the lines at multiples of `mains_hz`, beyond what is beside them; 0 where they are no hum.
    fn lines(&self, mains_hz: f64) -> f64 {
        let lines: Vec<_> = (1..=HARMONICS).filter_map(|n| Some((n, self.line(mains_hz * n as f64)?))).collect();
        // Overtones alone may be anybody's: of 50 and 60 Hz alike, 300 Hz is one.
        let is_rooted = lines.iter().any(|(n, _)| *n <= 3);
        if LINES_MIN <= lines.len() && is_rooted { lines.iter().map(|(_, power)| power).sum() } else { 0.0 }
    }

    fn line(&self, hz: f64) -> Option<f64> {
        let [from, until] = [hz - LINE_HZ, hz + LINE_HZ].map(|edge_hz| self.bin(edge_hz));
        let [below, above] = [hz - BESIDE_HZ, hz + BESIDE_HZ].map(|edge_hz| self.bin(edge_hz));
        let line = self.power.get(from..=until)?;
        let mut beside: Vec<_> =
            self.power.get(below..from)?.iter().chain(self.power.get(until + 1..=above)?).collect();
        beside.sort_by(|a, b| a.total_cmp(b));
        let ground = **beside.get(beside.len() / 2)?;
        let peak = line.iter().copied().fold(0.0, f64::max);
        let power = line.iter().sum::<f64>() - ground * line.len() as f64;
        (ground * LINE_RATIO < peak && 0.0 < power).then_some(power)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a frequency below the rate")]
    fn bin(&self, hz: f64) -> usize {
        (hz.max(0.0) / self.rate_hz * self.frame.len() as f64).round() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 16_000;

    /// Five seconds of hiss of amplitude 0.01, whose power is 0.01² / 3, and of these sines: Hz and amplitude.
    fn sound(sines: &[(f64, f64)]) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(11);
        let sample = |n: usize| {
            let t = n as f64 / f64::from(RATE_HZ);
            let sine = |(hz, amplitude): &(f64, f64)| amplitude * (std::f64::consts::TAU * hz * t).sin();
            let hiss = 0.01 * (2.0 * random.f64() - 1.0);
            #[allow(clippy::cast_possible_truncation, reason = "samples are f32")]
            let sample = (hiss + sines.iter().map(sine).sum::<f64>()) as f32;
            sample
        };
        (0..5 * RATE_HZ as usize).map(sample).collect()
    }

    fn check(sines: &[(f64, f64)], wanted: Option<(u8, f64)>) {
        let found = HumFinder::new(RATE_HZ).find(&sound(sines));
        match (found, wanted) {
            (None, None) => {}
            (Some(hum), Some((mains_hz, db))) => {
                assert_eq!(hum.mains_hz, mains_hz, "{sines:?}");
                assert!((hum.against_rest_db - db).abs() < 1.0, "{sines:?}: {hum:?}, not {db}");
            }
            _ => panic!("{sines:?}: {found:?}, not {wanted:?}"),
        }
    }

    #[test]
    fn hum_is_found_and_its_strength_is_right() {
        // Amplitudes 0.01 and 0.005 have a power of 0.0000625, 1.875 times that of the hiss: 2.7 dB.
        check(&[(50.0, 0.01), (150.0, 0.005)], Some((50, 2.7)));
        check(&[(60.0, 0.01), (180.0, 0.005)], Some((60, 2.7)));
        // A rectifier, on mains that are a little slow.
        check(&[(99.8, 0.01), (199.6, 0.005)], Some((50, 2.7)));
        // Twenty times less is still there: -23.3 dB.
        check(&[(50.0, 0.0005), (100.0, 0.00025)], Some((50, -23.3)));
    }

    #[test]
    fn what_is_no_hum_is_none() {
        check(&[], None);
        check(&[(440.0, 0.1), (880.0, 0.1), (1320.0, 0.05)], None);
        check(&[(100.0, 0.1)], None);
        // A bass at 55 Hz with its overtones.
        check(&[(55.0, 0.1), (110.0, 0.05), (165.0, 0.05), (220.0, 0.02)], None);
        assert_eq!(HumFinder::new(RATE_HZ).find(&[0.0; 80_000]), None);
        assert_eq!(HumFinder::new(RATE_HZ).find(&sound(&[(50.0, 0.1), (100.0, 0.1)])[..16_000]), None, "too short");
        // A voice that glides through 100 and 200 Hz.
        let mut phase = 0.0_f64;
        let voice = (0..5 * RATE_HZ).map(|n| {
            phase += std::f64::consts::TAU * (100.0 + 8.0 * (f64::from(n) / 3000.0).sin()) / f64::from(RATE_HZ);
            #[allow(clippy::cast_possible_truncation, reason = "samples are f32")]
            let sample = (0.1 * phase.sin() + 0.05 * (2.0 * phase).sin()) as f32;
            sample
        });
        assert_eq!(HumFinder::new(RATE_HZ).find(&voice.collect::<Vec<_>>()), None);
    }
}
