//! From a sound's own rate to the network's, with the filter's delay subtracted from the moments.

use std::fmt;

use rubato::{Fft, FixedSync, Resampler as _, audioadapter_buffers::direct::SequentialSlice};

use super::Error;
use crate::time::{Moment, Span};

/// So many blocks per second: 20 ms each. Longer ones would come later, shorter ones have softer filters.
const BLOCKS_PER_SECOND: u32 = 50;
const NS_PER_S: i64 = 1_000_000_000;
/// Sound that begins further than this from where the sound before it ended does not continue it.
const JOINED: Span = Span::from_ms(20);

/// Turns mono sound of any rate into mono sound of the network's rate.
///
/// The moments that come out are those of the sound: the filter's delay is subtracted. All storage is allocated at
/// the start. Sound comes out in blocks of about 20 ms, one block late.
pub(crate) struct Resampler {
    from_hz: u32,
    to_hz: u32,
    /// `None` where both rates are the same.
    fft: Option<Fft<f32>>,
    pending: Vec<f32>,
    block: Vec<f32>,
    /// Samples of the filter's start, which are not sound, still to come out.
    lead: usize,
    /// Where the sound should continue.
    next: Option<Moment>,
    /// The newest sample.
    held: f32,
}

impl fmt::Debug for Resampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resampler({} Hz to {} Hz)", self.from_hz, self.to_hz)
    }
}

impl Resampler {
    /// A resampler between two rates, samples per second, each 8 kHz to 192 kHz.
    ///
    /// # Errors
    /// When a rate is outside that range.
    pub(crate) fn new(from_hz: u32, to_hz: u32) -> Result<Self, Error> {
        for rate_hz in [from_hz, to_hz] {
            if !(8000..=192_000).contains(&rate_hz) {
                return Err(Error::Rate { rate_hz });
            }
        }
        let fft = (from_hz != to_hz).then(|| {
            let block = (from_hz / BLOCKS_PER_SECOND) as usize;
            Fft::new_custom(
                from_hz as usize,
                to_hz as usize,
                block,
                1,
                1,
                rubato::WindowFunction::BlackmanHarris2,
                FixedSync::Both,
            )
        });
        let fft = fft.transpose().map_err(|_| Error::Rate { rate_hz: from_hz })?;
        let (input, output, lead) =
            fft.as_ref().map_or((0, 0, 0), |fft| (fft.input_frames_max(), fft.output_frames_max(), fft.output_delay()));
        let (pending, block) = (Vec::with_capacity(input), vec![0.0; output]);
        Ok(Self { from_hz, to_hz, fft, pending, block, lead, next: None, held: 0.0 })
    }

    /// The rate that goes in, samples per second.
    #[must_use]
    pub(crate) const fn input_rate_hz(&self) -> u32 {
        self.from_hz
    }

    /// Takes samples, the first of which was captured at `first`, and passes on what is finished. After a jump in time by
    /// more than 20 ms the filter starts again; the last block before it, not yet finished, is lost.
    pub(crate) fn push(&mut self, first: Moment, samples: &[f32], mut sink: impl FnMut(Moment, &[f32])) {
        let Some(fft) = &mut self.fft else { return sink(first, samples) };
        let Some(held) = samples.first() else { return };
        let block_len = fft.input_frames_next();
        if self.next.is_none_or(|next| JOINED < (first - next).abs()) {
            fft.reset();
            self.lead = fft.output_delay();
            // As if the first sample had been held before: a step from zero would ring, and even silence of G.711 is not zero.
            self.pending.clear();
            self.pending.resize(block_len, *held);
            process(fft, &self.pending, &mut self.block);
            self.pending.clear();
        }
        self.held = samples.last().copied().unwrap_or_default();
        // The filter is as long as a block and is centred on a sample, so its delay is whole samples of the input.
        let delay = span_of(block_len / 2, self.from_hz);
        let mut taken = 0;
        while taken < samples.len() {
            // The pending samples were captured right before these, whatever their own moments were: of two time
            // stamps the newer is better.
            let block_first = first + span_of(taken, self.from_hz) - span_of(self.pending.len(), self.from_hz);
            let take = (block_len - self.pending.len()).min(samples.len() - taken);
            self.pending.extend_from_slice(&samples[taken..taken + take]);
            taken += take;
            if self.pending.len() < block_len {
                break;
            }
            let made = process(fft, &self.pending, &mut self.block);
            self.pending.clear();
            let skipped = self.lead.min(made);
            self.lead -= skipped;
            if skipped < made {
                sink(block_first - delay + span_of(skipped, self.to_hz), &self.block[skipped..made]);
            }
        }
        self.next = Some(first + span_of(samples.len(), self.from_hz));
    }

    /// The sound ends: passes on what is still inside, as if its last sample were held. The filter starts again afterwards.
    pub(crate) fn finish(&mut self, mut sink: impl FnMut(Moment, &[f32])) {
        let (Some(end), Some(fft)) = (self.next, &self.fft) else { return };
        let (to_hz, held) = (self.to_hz, vec![self.held; 2 * fft.input_frames_max()]);
        self.push(end, &held, |first, samples| {
            let left = (end - first).as_ns().max(0).saturating_mul(i64::from(to_hz)).saturating_add(NS_PER_S / 2);
            let left = usize::try_from(left / NS_PER_S).unwrap_or(0).min(samples.len());
            if 0 < left {
                sink(first, &samples[..left]);
            }
        });
        self.next = None;
    }
}

/// A resampler for sound whose rate is known only when it comes: AAC may turn out to have twice the announced one.
#[derive(Debug)]
pub(crate) struct AnyRate {
    to_hz: u32,
    resampler: Option<Resampler>,
}

impl AnyRate {
    /// To this rate, samples per second.
    #[must_use]
    pub(crate) const fn new(to_hz: u32) -> Self {
        Self { to_hz, resampler: None }
    }

    /// As [`Resampler::push`], for samples at `from_hz`. Sound of an impossible rate is dropped.
    pub(crate) fn push(&mut self, first: Moment, from_hz: u32, samples: &[f32], sink: impl FnMut(Moment, &[f32])) {
        if self.resampler.as_ref().is_none_or(|resampler| resampler.input_rate_hz() != from_hz) {
            self.resampler = Resampler::new(from_hz, self.to_hz).ok();
        }
        if let Some(resampler) = &mut self.resampler {
            resampler.push(first, samples, sink);
        }
    }

    /// As [`Resampler::finish`].
    pub(crate) fn finish(&mut self, sink: impl FnMut(Moment, &[f32])) {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(sink);
        }
    }
}

/// Resamples one block; returns how many samples came out.
fn process(fft: &mut Fft<f32>, input: &[f32], output: &mut [f32]) -> usize {
    let output_len = output.len();
    let input = SequentialSlice::new(input, 1, input.len());
    let output = SequentialSlice::new_mut(output, 1, output_len);
    let (Ok(input), Ok(mut output)) = (input, output) else { return 0 };
    fft.process_into_buffer(&input, &mut output, None).map_or(0, |(_, made)| made)
}

fn span_of(samples: usize, rate_hz: u32) -> Span {
    Span::from_secs_f64(samples as f64 / f64::from(rate_hz))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Moment = Moment(5_000_000_000_000);

    /// Resamples two seconds of a sine in blocks of `block` samples; returns what came out, with its first moment.
    #[allow(clippy::cast_possible_truncation, reason = "a sample needs no more than an f32")]
    fn resample(resampler: &mut Resampler, hz: f64, block: usize) -> (Moment, Vec<f32>) {
        let from_hz = f64::from(resampler.input_rate_hz());
        #[allow(clippy::cast_possible_truncation, reason = "samples are f32")]
        let sample = |at: usize| (0.5 * (at as f64 * hz * std::f64::consts::TAU / from_hz).sin()) as f32;
        let input: Vec<_> = (0..resampler.input_rate_hz() as usize * 2).map(sample).collect();
        let (mut begin, mut out) = (None, Vec::new());
        for (n, samples) in input.chunks(block).enumerate() {
            let first = BEGIN + span_of(n * block, resampler.input_rate_hz());
            resampler.push(first, samples, |at, made| {
                let expected = *begin.get_or_insert(at) + span_of(out.len(), 16_000);
                assert!((at - expected).abs() < Span(2000), "{at:?} is not {expected:?}");
                out.extend_from_slice(made);
            });
        }
        (begin.unwrap(), out)
    }

    /// A sine below half the rate must come out as it went in, at the moments at which it went in.
    #[track_caller]
    fn check_kept(from_hz: u32, hz: f64) {
        let mut resampler = Resampler::new(from_hz, 16_000).unwrap();
        let (begin, out) = resample(&mut resampler, hz, from_hz as usize / 100 + 3);
        assert!((begin - BEGIN).abs() < Span(100_000), "begins {} off", begin - BEGIN);
        assert!(16_000 * 2 - 1000 < out.len(), "{} samples", out.len());
        for (n, sample) in out.iter().enumerate().skip(1600) {
            let at = (begin - BEGIN).as_secs_f64() + n as f64 / 16_000.0;
            let expected = 0.5 * (at * hz * std::f64::consts::TAU).sin();
            assert!((f64::from(*sample) - expected).abs() < 0.005, "{sample} is not {expected} at {at}, {from_hz} Hz");
        }
    }

    #[test]
    fn what_is_below_half_the_rate_is_kept_in_its_place() {
        for from_hz in [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000] {
            check_kept(from_hz, 1000.0);
            check_kept(from_hz, 60.0);
        }
        check_kept(48_000, 7000.0);
        check_kept(44_100, 7000.0);
    }

    #[test]
    fn what_is_above_half_the_rate_is_removed() {
        for hz in [9000.0, 12_000.0, 15_000.0, 23_000.0] {
            let (_, out) = resample(&mut Resampler::new(48_000, 16_000).unwrap(), hz, 480);
            let peak = out.iter().skip(1600).fold(0.0f32, |peak, sample| peak.max(sample.abs()));
            assert!(peak < 0.0005, "{hz} Hz is still there: {peak}");
        }
    }

    #[test]
    fn after_a_gap_the_moments_are_right_again() {
        let mut resampler = Resampler::new(48_000, 16_000).unwrap();
        let mut ends = Vec::new();
        for (at_ms, len) in [(0, 4800), (100, 4800), (500, 4800)] {
            resampler.push(BEGIN + Span::from_ms(at_ms), &vec![0.25; len], |first, made| {
                ends.push((first, first + span_of(made.len(), 16_000)));
            });
        }
        let gap = ends.windows(2).map(|pair| pair[1].0 - pair[0].1).max().unwrap();
        assert!((gap - Span::from_ms(300)).abs() <= Span::from_ms(20), "{gap}");
        assert!(ends.iter().all(|(first, end)| BEGIN <= *first && *end <= BEGIN + Span::from_ms(600)), "{ends:?}");
    }

    #[test]
    fn what_is_constant_stays_constant_from_the_first_sample_to_the_last() {
        let mut resampler = Resampler::new(8000, 16_000).unwrap();
        for _ in 0..2 {
            let mut out = Vec::new();
            resampler.push(BEGIN, &[0.25; 4000], |_, made| out.extend_from_slice(made));
            resampler.finish(|_, made| out.extend_from_slice(made));
            assert!((7998..=8000).contains(&out.len()), "{}", out.len());
            assert!(out.iter().all(|sample| (sample - 0.25).abs() < 1e-6), "{out:?}");
        }
    }

    #[test]
    fn impossible_rates_are_refused() {
        for rate_hz in [0, 1, 7999, 192_001, u32::MAX] {
            assert!(matches!(Resampler::new(rate_hz, 16_000), Err(Error::Rate { .. })), "{rate_hz}");
        }
        assert!(Resampler::new(191_999, 16_000).is_ok());
    }
}
