//! The ring of samples, placed by their moments.

use crate::time::{Moment, Span};

/// A block that is off by at most this is moved into place sample by sample; beyond it there is a gap or an overlap.
const ABSORBED: Span = Span::from_ms(20);
/// Off by less than this is left alone: time stamps are no better.
const TOLERATED: Span = Span::from_ms(1);
/// One sample is skipped or repeated per so many: 0.5 %, which is neither audible nor visible in a spectrogram.
const SAMPLES_PER_CORRECTION: usize = 200;
/// A step of 16-bit sound. Sound that varies by no more than this is no sound.
const DIGITAL_STEP: f32 = 1.0 / 32_768.0;
/// Resampling rounds the flat tops of clipped sound off a little.
const CLIPPED_FROM: f32 = 0.985;
/// Clipped samples per thousand from which on the sound is distorted, not merely loud.
const CLIPPED_PER_THOUSAND: u32 = 2;
/// What an empty window's level is, dBFS: below any 24-bit converter.
const LEVEL_MIN_DBFS: f32 = -144.0;

/// Mono samples at the network's rate, each in its place on our clock.
///
/// Sample `k` is the one at `k / rate` of our clock, so two blocks that follow each other exactly are joined
/// exactly, and small differences between a sound card's clock and ours become single samples skipped or repeated
/// where the sound changes least. Places nothing was written to are gaps. All storage is allocated at the start.
#[derive(Debug)]
pub(crate) struct SoundRing {
    rate_hz: u32,
    /// Place `k` is at `k % samples.len()`. A gap is NaN: no sample is.
    samples: Box<[f32]>,
    /// The first place that was written to since the start, and the one after the newest; `None` before.
    written: Option<(i64, i64)>,
    /// How far the last blocks were off, smoothed, samples.
    off: f32,
    since_correction: usize,
    gaps: u64,
    overlapped: u64,
    corrections: u64,
}

/// How much of a window's sound there is, and its level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Coverage {
    /// Samples that were written; all others of the window are zero.
    pub covered: u32,
    /// Samples of the window.
    pub total: u32,
    /// The longest stretch without a sample.
    pub longest_gap: Span,
    /// Root mean square of the samples that were written, dB relative to full scale: 0 is a full-scale square wave, -3 a sine.
    pub level_dbfs: f32,
    /// How much the samples vary: highest less lowest, 0 to 2.
    pub swing: f32,
    /// Samples at the ends of the scale.
    pub clipped: u32,
}

impl Coverage {
    /// The share of the window that was written, 0 to 1.
    #[must_use]
    pub(crate) fn share(&self) -> f32 {
        self.covered as f32 / self.total.max(1) as f32
    }

    /// Whether the sound is digitally silent, as that of a muted or broken microphone is: no real
    /// room is.
    #[must_use]
    pub(crate) fn is_silent(&self) -> bool {
        self.swing <= DIGITAL_STEP
    }

    /// Whether the sound is distorted because it is too loud for the microphone's gain.
    #[must_use]
    pub(crate) fn is_clipping(&self) -> bool {
        CLIPPED_PER_THOUSAND * self.covered < 1000 * self.clipped
    }
}

/// Why not a single sample of a window is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    /// The sound has not come this far yet, or has not begun.
    #[error("the sound of this window has not arrived yet")]
    NotYet,
    /// It was overwritten already, or lies before the first sample.
    #[error("the sound of this window is not kept any more")]
    Past,
    /// There was none.
    #[error("there was no sound in this window")]
    Gap,
}

impl SoundRing {
    /// A ring for `kept` of sound at `rate_hz` samples per second.
    #[must_use]
    pub(crate) fn new(rate_hz: u32, kept: Span) -> Self {
        let len = places(kept, rate_hz).max(1);
        Self {
            rate_hz,
            samples: vec![f32::NAN; usize::try_from(len).unwrap_or(1)].into(),
            written: None,
            off: 0.0,
            since_correction: 0,
            gaps: 0,
            overlapped: 0,
            corrections: 0,
        }
    }

    /// Samples per second.
    #[must_use]
    pub(crate) const fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Where the sound ends for now; `None` before the first sample.
    #[must_use]
    pub(crate) fn end(&self) -> Option<Moment> {
        self.written.map(|(_, end)| self.moment_of(end))
    }

    /// How many gaps there were.
    #[cfg(test)]
    #[must_use]
    pub(crate) const fn gaps(&self) -> u64 {
        self.gaps
    }

    /// How many samples were dropped because their place was taken.
    #[cfg(test)]
    #[must_use]
    pub(crate) const fn overlapped(&self) -> u64 {
        self.overlapped
    }

    /// How many samples were skipped or repeated to follow the clock.
    #[cfg(test)]
    #[must_use]
    pub(crate) const fn corrections(&self) -> u64 {
        self.corrections
    }

    /// Adds samples, the first of which was captured at `first`, which must not be in the future.
    ///
    /// What was written first stays: of an overlap, the old samples are kept. A sample that is not a number is a gap.
    pub(crate) fn write(&mut self, first: Moment, samples: &[f32]) {
        let place = places(first - Moment(0), self.rate_hz);
        let Some((begin, end)) = self.written else { return self.restart(place, samples) };
        let off = place - end;
        if i64::try_from(self.samples.len()).is_ok_and(|len| off < -len) {
            return self.restart(place, samples);
        }
        let absorbed = places(ABSORBED, self.rate_hz);
        if absorbed < off {
            self.gaps += 1;
            self.written = Some((begin, place));
            self.fill_gap(end, place);
            self.off = 0.0;
            self.append(samples);
        } else if off < -absorbed {
            let taken = usize::try_from(-off).unwrap_or(usize::MAX).min(samples.len());
            self.overlapped += taken as u64;
            self.append(&samples[taken..]);
        } else {
            self.append_aligned(off, samples);
        }
    }

    /// Copies the samples from `start` until `end` to `out`, whose length is what the network wants; gaps, and
    /// what lies beyond `end`, become zero.
    ///
    /// # Errors
    /// When none of the samples is there.
    pub(crate) fn read(&self, start: Moment, end: Moment, out: &mut [f32]) -> Result<Coverage, Missing> {
        out.fill(0.0);
        let (begin, written) = self.written.ok_or(Missing::NotYet)?;
        let first = places(start - Moment(0), self.rate_hz);
        let total = usize::try_from(places(end - start, self.rate_hz)).unwrap_or(0).min(out.len());
        let oldest = begin.max(written - i64::try_from(self.samples.len()).unwrap_or(i64::MAX));
        if written <= first {
            return Err(Missing::NotYet);
        }
        if first.saturating_add_unsigned(total as u64) <= oldest {
            return Err(Missing::Past);
        }
        let mut meter = Meter::default();
        for (place, out) in (first..).zip(&mut out[..total]) {
            let is_kept = oldest <= place && place < written;
            let sample = if is_kept { self.samples[self.at(place)] } else { f32::NAN };
            *out = meter.take(sample);
        }
        meter.coverage(total, self.rate_hz).ok_or(Missing::Gap)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.written = None;
    }

    fn restart(&mut self, place: i64, samples: &[f32]) {
        self.written = Some((place, place));
        self.off = 0.0;
        self.append(samples);
    }

    fn append(&mut self, samples: &[f32]) {
        // Of a block longer than the ring only the end would survive.
        for sample in samples {
            self.put(*sample);
        }
    }

    /// Appends a block that is `off` samples late (+) or early (-), and moves it into place over time.
    #[allow(clippy::cast_precision_loss, reason = "20 ms are a few hundred samples")]
    fn append_aligned(&mut self, off: i64, samples: &[f32]) {
        // One in eight blocks' worth of smoothing: a single late time stamp moves nothing.
        self.off += (off as f32 - self.off) / 8.0;
        self.since_correction = self.since_correction.saturating_add(samples.len());
        let is_due = places(TOLERATED, self.rate_hz) as f32 <= self.off.abs();
        if !is_due || self.since_correction < SAMPLES_PER_CORRECTION || samples.len() < 2 {
            return self.append(samples);
        }
        self.since_correction = 0;
        self.corrections += 1;
        let change = |at: usize| (samples[at + 1] - samples[at]).abs();
        let calm = (0..samples.len() - 1).min_by(|a, b| change(*a).total_cmp(&change(*b))).unwrap_or(0);
        if 0.0 < self.off {
            self.append(&samples[..=calm]);
            self.append(&samples[calm..]);
            self.off -= 1.0;
        } else {
            self.append(&samples[..calm]);
            self.append(&samples[calm + 1..]);
            self.off += 1.0;
        }
    }

    fn put(&mut self, sample: f32) {
        if let Some((_, end)) = &mut self.written {
            let place = *end;
            *end += 1;
            self.samples[self.at(place)] = if sample.is_finite() { sample } else { f32::NAN };
        }
    }

    fn fill_gap(&mut self, from: i64, until: i64) {
        let len = i64::try_from(self.samples.len()).unwrap_or(i64::MAX);
        for place in from.max(until - len)..until {
            self.samples[self.at(place)] = f32::NAN;
        }
    }

    fn at(&self, place: i64) -> usize {
        let len = i64::try_from(self.samples.len()).unwrap_or(i64::MAX);
        usize::try_from(place.rem_euclid(len)).unwrap_or(0)
    }

    #[allow(clippy::cast_possible_truncation, reason = "a moment fits, since the place was made of one")]
    fn moment_of(&self, place: i64) -> Moment {
        Moment((i128::from(place) * 1_000_000_000 / i128::from(self.rate_hz.max(1))) as i64)
    }
}

/// How many samples a span is, rounded.
#[allow(clippy::cast_possible_truncation, reason = "no rate is 1 GHz, so there are fewer samples than nanoseconds")]
fn places(span: Span, rate_hz: u32) -> i64 {
    ((i128::from(span.0) * i128::from(rate_hz) + 500_000_000).div_euclid(1_000_000_000)) as i64
}

/// Measures a window sample by sample.
#[derive(Default)]
struct Meter {
    covered: u32,
    gap: u32,
    gap_longest: u32,
    squares: f64,
    lowest: Option<(f32, f32)>,
    clipped: u32,
}

impl Meter {
    /// Takes a sample; returns what the network sees of it.
    fn take(&mut self, sample: f32) -> f32 {
        if sample.is_nan() {
            self.gap += 1;
            self.gap_longest = self.gap_longest.max(self.gap);
            return 0.0;
        }
        self.gap = 0;
        self.covered += 1;
        self.squares += f64::from(sample) * f64::from(sample);
        self.clipped += u32::from(CLIPPED_FROM <= sample.abs());
        let (low, high) = self.lowest.unwrap_or((sample, sample));
        self.lowest = Some((low.min(sample), high.max(sample)));
        sample
    }

    #[allow(clippy::cast_possible_truncation, reason = "a level in dB needs no more than an f32")]
    fn coverage(&self, total: usize, rate_hz: u32) -> Option<Coverage> {
        let (low, high) = self.lowest?;
        let level = 10.0 * (self.squares / f64::from(self.covered)).log10();
        Some(Coverage {
            covered: self.covered,
            total: u32::try_from(total).unwrap_or(u32::MAX),
            longest_gap: Span::from_secs_f64(f64::from(self.gap_longest) / f64::from(rate_hz)),
            level_dbfs: (level as f32).max(LEVEL_MIN_DBFS),
            swing: high - low,
            clipped: self.clipped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 16_000;
    const WINDOW: usize = 80_000;

    fn ms(ms: i64) -> Moment {
        Moment(5_000_000_000_000) + Span::from_ms(ms)
    }

    fn ring() -> SoundRing {
        SoundRing::new(RATE, super::super::KEPT)
    }

    /// Samples `from..from + len` of a 100 Hz sine of amplitude 0.5.
    fn sine(from: usize, len: usize) -> Vec<f32> {
        (from..from + len).map(|at| 0.5 * (at as f32 * 100.0 * std::f32::consts::TAU / RATE as f32).sin()).collect()
    }

    #[track_caller]
    fn read(ring: &SoundRing, start_ms: i64) -> (Coverage, Vec<f32>) {
        let mut out = vec![9.0; WINDOW];
        let coverage = ring.read(ms(start_ms), ms(start_ms + 5000), &mut out).unwrap();
        (coverage, out)
    }

    #[test]
    fn what_was_written_is_read_from_its_place() {
        let mut ring = ring();
        for block in 0..600 {
            ring.write(ms(block * 10), &sine(usize::try_from(block).unwrap() * 160, 160));
        }
        assert_eq!(ring.end(), Some(ms(6000)));
        let (coverage, out) = read(&ring, 500);
        assert_eq!((coverage.covered, coverage.total, coverage.longest_gap), (80_000, 80_000, Span::ZERO));
        assert!((coverage.level_dbfs - -9.03).abs() < 0.01, "{}", coverage.level_dbfs);
        assert!(!coverage.is_silent() && !coverage.is_clipping());
        assert_eq!(out, sine(8000, WINDOW));
        assert_eq!((ring.gaps(), ring.overlapped(), ring.corrections()), (0, 0, 0));
    }

    #[test]
    fn a_gap_is_zero_and_reported() {
        let mut ring = ring();
        ring.write(ms(0), &sine(0, 32_000));
        ring.write(ms(3000), &sine(0, 32_000));
        let (coverage, out) = read(&ring, 0);
        assert_eq!((coverage.covered, coverage.longest_gap), (64_000, Span::from_ms(1000)));
        assert!(out[32_000..48_000].iter().all(|sample| *sample == 0.0));
        assert_eq!(out[48_000..], sine(0, 32_000));
        assert_eq!(ring.gaps(), 1);
        assert!((coverage.level_dbfs - -9.03).abs() < 0.01, "the gap must not lower the level");
        let (partly, _) = read(&ring, 2000);
        assert_eq!((partly.covered, partly.longest_gap), (32_000, Span::from_ms(2000)));
    }

    #[test]
    fn nothing_has_a_reason() {
        let mut ring = ring();
        let mut out = vec![1.0; WINDOW];
        assert_eq!(ring.read(ms(0), ms(5000), &mut out), Err(Missing::NotYet));
        assert!(out.iter().all(|sample| *sample == 0.0));
        ring.write(ms(0), &sine(0, 160));
        assert_eq!(ring.read(ms(10), ms(5010), &mut out), Err(Missing::NotYet));
        assert_eq!(ring.read(ms(-5000), ms(0), &mut out), Err(Missing::Past));
        ring.write(ms(10_000), &sine(0, 160));
        assert_eq!(ring.read(ms(1000), ms(6000), &mut out), Err(Missing::Gap));
        ring.write(ms(60_000), &sine(0, 160));
        assert_eq!(ring.read(ms(1000), ms(6000), &mut out), Err(Missing::Past));
        ring.clear();
        assert_eq!(ring.read(ms(60_000), ms(65_000), &mut out), Err(Missing::NotYet));
    }

    #[test]
    fn what_was_written_first_stays() {
        let mut ring = ring();
        ring.write(ms(0), &vec![0.1; 16_000]);
        ring.write(ms(500), &vec![0.2; 16_000]);
        assert_eq!((ring.end(), ring.overlapped()), (Some(ms(1500)), 8000));
        let (_, out) = read(&ring, 0);
        assert_eq!((out[15_999], out[16_000]), (0.1, 0.2));
        ring.write(ms(100), &vec![0.3; 1600]);
        assert_eq!((ring.end(), ring.overlapped()), (Some(ms(1500)), 9600));
        // Beyond what is kept, the time stamps are from another origin.
        ring.write(ms(-60_000), &vec![0.4; 1600]);
        assert_eq!(ring.end(), Some(ms(-59_900)));
    }

    /// Writes an hour of 10 ms blocks of a source that runs `ppm` fast, with time stamps that jitter by ±2 ms.
    #[track_caller]
    fn check_drift(ppm: f64) {
        let mut ring = ring();
        let mut random = fastrand::Rng::with_seed(3);
        let mut worst = Span::ZERO;
        for block in 0..360_000 {
            let at = Span::from_secs_f64(f64::from(block) * 0.01 / (1.0 + ppm * 1e-6));
            let first = ms(0) + at + Span(random.i64(-2_000_000..2_000_000));
            ring.write(first, &[0.1; 160]);
            worst = worst.max((ring.end().unwrap() - ms(10) - at).abs());
        }
        assert!(worst < Span::from_ms(4), "{worst} off with {ppm} ppm");
        assert_eq!(ring.gaps() + ring.overlapped(), 0);
        let expected = (ppm * 1e-6 * 16_000.0 * 3600.0).abs();
        assert!((ring.corrections() as f64 - expected).abs() < 100.0, "{} with {ppm} ppm", ring.corrections());
    }

    #[test]
    fn an_hour_of_drift_is_absorbed_sample_by_sample() {
        check_drift(80.0);
        check_drift(-80.0);
        check_drift(500.0);
    }

    #[test]
    fn small_shifts_are_moved_into_place() {
        for shift_ms in [15, -15] {
            let mut ring = ring();
            ring.write(ms(0), &sine(0, 160));
            for block in 1..2000 {
                ring.write(ms(block * 10 + shift_ms), &sine(0, 160));
            }
            let off = ring.end().unwrap() - ms(20_000 + shift_ms);
            assert!(off.abs() < Span::from_ms(2), "{off} off");
            assert_eq!(ring.gaps() + ring.overlapped(), 0);
            assert!((200..300).contains(&ring.corrections()), "{}", ring.corrections());
        }
    }

    #[test]
    fn silence_and_clipping_are_told_from_sound() {
        let cases: [(&str, Vec<f32>, bool, bool); 5] = [
            ("zeros", vec![0.0; WINDOW], true, false),
            ("a constant", vec![0.02; WINDOW], true, false),
            ("a quiet room", sine(0, WINDOW).iter().map(|sample| sample * 0.001).collect(), false, false),
            ("full scale", sine(0, WINDOW).iter().map(|sample| sample * 1.9).collect(), false, false),
            ("too loud", sine(0, WINDOW).iter().map(|sample| (sample * 4.0).clamp(-1.0, 1.0)).collect(), false, true),
        ];
        for (name, samples, silent, clipping) in cases {
            let mut ring = ring();
            ring.write(ms(0), &samples);
            let (coverage, _) = read(&ring, 0);
            assert_eq!((coverage.is_silent(), coverage.is_clipping()), (silent, clipping), "{name}: {coverage:?}");
        }
    }

    #[test]
    fn a_sample_that_is_no_number_is_a_gap() {
        let mut ring = ring();
        ring.write(ms(0), &[0.5, f32::NAN, f32::INFINITY, 0.5]);
        let mut out = [9.0; 4];
        let coverage = ring.read(ms(0), ms(0) + Span(250_000), &mut out).unwrap();
        assert_eq!((coverage.covered, out), (2, [0.5, 0.0, 0.0, 0.5]));
    }
}
