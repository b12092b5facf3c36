//! Finds where sounds begin.

use std::collections::VecDeque;

use crate::time::{Moment, Span};

/// Loudness is taken of so many blocks a second.
const BLOCKS_PER_S: u32 = 200;
/// A sound begins where a block is so much louder than what was before, dB.
const LOUDER_DB: f32 = 12.0;
/// What was before: the median of so many blocks, a tenth of a second.
const BEFORE: usize = 20;
/// A clap is at its loudest within so many blocks.
const RISES_BLOCKS: u32 = 5;
/// After so long something else may begin: a room has answered a clap by then.
const APART: Span = Span::from_ms(200);
/// Blocks that follow by this may be off by as much.
const JOINS: Span = Span::from_ms(3);
/// Nothing is quieter: keeps the logarithm finite.
const POWER_MIN: f32 = 1e-10;

/// A sound began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Onset {
    /// When, to the length of a block, 5 ms.
    pub(super) moment: Moment,
    /// How loud it became, dB: power of the difference of neighbouring samples, which weighs a clap's hiss and not hum.
    pub(super) level_db: f32,
}

/// Finds onsets in samples that come piece by piece.
#[derive(Debug)]
pub(super) struct Onsets {
    rate_hz: u32,
    /// Samples that do not fill a block yet, and when the first of them was heard.
    rest: Vec<f32>,
    rest_from: Moment,
    last: f32,
    before: VecDeque<f32>,
    rising: Option<(Onset, u32)>,
    quiet_until: Moment,
}

impl Onsets {
    /// For sound of this rate.
    #[must_use]
    pub(super) fn new(rate_hz: u32) -> Self {
        Self {
            rate_hz: rate_hz.max(BLOCKS_PER_S),
            rest: Vec::new(),
            rest_from: Moment::default(),
            last: 0.0,
            before: VecDeque::with_capacity(BEFORE),
            rising: None,
            quiet_until: Moment::default(),
        }
    }

    /// Takes samples, the first heard at `first`, and says what began in them. What is not joined to what came before
    /// starts again.
    pub(super) fn push(&mut self, first: Moment, samples: &[f32], mut begins: impl FnMut(Onset)) {
        let expected = self.rest_from + self.length(self.rest.len());
        if JOINS < (first - expected).abs() {
            self.rest.clear();
            self.before.clear();
            self.rising = None;
            self.rest_from = first;
            self.last = samples.first().copied().unwrap_or(0.0);
        }
        self.rest.extend_from_slice(samples);
        let rest = std::mem::take(&mut self.rest);
        let blocks = rest.chunks_exact((self.rate_hz / BLOCKS_PER_S) as usize);
        self.rest.extend_from_slice(blocks.remainder());
        for block in blocks {
            let power = self.power(block);
            let moment = self.rest_from + Span(self.length(block.len()).as_ns() / 2);
            self.rest_from += self.length(block.len());
            self.block(moment, 10.0 * power.max(POWER_MIN).log10()).into_iter().for_each(&mut begins);
        }
    }

    fn length(&self, samples: usize) -> Span {
        Span::from_secs_f64(samples as f64 / f64::from(self.rate_hz))
    }

    fn power(&mut self, block: &[f32]) -> f32 {
        let mut last = self.last;
        let difference = |sample: &f32| (sample - std::mem::replace(&mut last, *sample)).powi(2);
        let power = block.iter().map(difference).sum::<f32>() / block.len() as f32;
        self.last = last;
        power
    }

    /// Takes the next block's level. Returns what began a few blocks before, once its loudness is known.
    fn block(&mut self, moment: Moment, level_db: f32) -> Option<Onset> {
        let mut begun = None;
        if let Some((onset, blocks)) = &mut self.rising {
            onset.level_db = onset.level_db.max(level_db);
            *blocks -= 1;
            if *blocks == 0 {
                begun = self.rising.take().map(|it| it.0);
            }
        } else if self.quiet_until <= moment && self.ground_db().is_some_and(|ground| LOUDER_DB <= level_db - ground) {
            self.rising = Some((Onset { moment, level_db }, RISES_BLOCKS));
            self.quiet_until = moment + APART;
        }
        if self.before.len() == BEFORE {
            self.before.pop_front();
        }
        self.before.push_back(level_db);
        begun
    }

    /// The level of what was before; `None` before enough of it is known.
    fn ground_db(&self) -> Option<f32> {
        let mut levels: Vec<_> = self.before.iter().copied().collect();
        levels.sort_by(f32::total_cmp);
        (levels.len() == BEFORE).then(|| levels[BEFORE / 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Moment {
        Moment(7_000_000_000) + Span::from_ms(ms)
    }

    /// Two seconds of hiss at 16 kHz, to which `add` adds at a time in seconds.
    fn sound(add: impl Fn(f64) -> f64) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(3);
        #[allow(clippy::cast_possible_truncation, reason = "samples are f32")]
        let sample = |n: u32| (0.002 * (2.0 * random.f64() - 1.0) + add(f64::from(n) / 16_000.0)) as f32;
        (0..32_000).map(sample).collect()
    }

    fn onsets(samples: &[f32], piece: usize) -> Vec<i64> {
        let mut onsets = Onsets::new(16_000);
        let mut found = Vec::new();
        for (n, samples) in samples.chunks(piece).enumerate() {
            let first = at(0) + Span::from_secs_f64((n * piece) as f64 / 16_000.0);
            onsets.push(first, samples, |onset| found.push((onset.moment - at(0)).as_ms()));
        }
        found
    }

    /// A burst that begins at `at` and decays within 10 ms.
    fn burst(t: f64, at: f64) -> f64 {
        if t < at { 0.0 } else { 0.3 * (-(t - at) / 0.01).exp() * (t * 12_345.0).sin() }
    }

    #[test]
    fn claps_are_found_where_they_begin_whatever_the_pieces() {
        let claps = sound(|t| burst(t, 0.5003) + burst(t, 0.9) + burst(t, 1.4412));
        let found = onsets(&claps, 16_000);
        assert_eq!(found.len(), 3, "{found:?}");
        for (found, wanted) in found.iter().zip([500, 900, 1441]) {
            assert!((found - wanted).abs() <= 5, "{found} {wanted}");
        }
        for piece in [37, 160, 1000] {
            assert_eq!(onsets(&claps, piece), found, "{piece}");
        }
    }

    #[test]
    fn hiss_hum_and_what_swells_are_no_onsets() {
        assert_eq!(onsets(&sound(|_| 0.0), 1000), [0_i64; 0]);
        assert_eq!(onsets(&sound(|t| 0.3 * (t * 314.0).sin()), 1000), [0_i64; 0]);
        assert_eq!(onsets(&sound(|t| 0.1 * t * t * (t * 2000.0).sin()), 1000), [0_i64; 0]);
        // A gap is not quiet: after it all starts again.
        let mut onsets = Onsets::new(16_000);
        let loud = sound(|t| 0.3 * (t * 9000.0).sin());
        onsets.push(at(0), &sound(|_| 0.0), |_| {});
        onsets.push(at(5000), &loud, |onset| panic!("{onset:?}"));
    }
}
