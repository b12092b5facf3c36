//! How good answers are: accuracy, macro-F1, confusion, calibration error, each with a bootstrap interval.
//!
//! Pure: no I/O, no clock.

use super::place;
use crate::{infer::aggregate::softmax, wire::record::Emotion};

/// Confidence bins of the calibration error, of equal width.
const BINS: usize = 15;
/// How often the clips are resampled for an interval.
const RESAMPLES: usize = 2000;
/// The part of all resamples that an interval holds.
const LEVEL: f64 = 0.95;
/// The same clips give the same intervals.
const SEED: u64 = 0;

/// What the network said of one clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prediction {
    /// What people said.
    pub truth: Emotion,
    /// The likeliest emotion.
    pub predicted: Emotion,
    /// After the contract's temperature, in the order of [`Emotion::ALL`].
    pub probabilities: [f64; 3],
    /// The highest probability without the temperature.
    confidence_before: f64,
}

impl Prediction {
    /// From logits in the order of [`Emotion::ALL`]. Of equal ones the first is predicted.
    #[must_use]
    pub(crate) fn new(truth: Emotion, logits: [f32; 3], temperature: f32) -> Self {
        let probabilities = softmax(logits.map(f64::from), f64::from(temperature));
        let likelier = |a: Emotion, b: Emotion| if logits[place(a)] < logits[place(b)] { b } else { a };
        let predicted = Emotion::ALL.into_iter().reduce(likelier).unwrap_or(Emotion::Neutral);
        let confidence_before = highest(softmax(logits.map(f64::from), 1.0));
        Self { truth, predicted, probabilities, confidence_before }
    }
}

fn highest(values: [f64; 3]) -> f64 {
    values.into_iter().fold(f64::NEG_INFINITY, f64::max)
}

/// A figure and its 95 % interval: percentile bootstrap over clips (Efron and Tibshirani 1993, ch. 13).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    /// Of all clips.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Everything that is said of a set of answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figures {
    /// The share of right answers.
    pub accuracy: Interval,
    /// The mean over the emotions of F1 = 2 TP / (2 TP + FP + FN); one that neither occurs nor is answered counts 0.
    pub macro_f1: Interval,
    /// Clips: rows are the truth, columns the answer, in the order of [`Emotion::ALL`].
    pub confusion: [[u32; 3]; 3],
    /// Expected calibration error without the contract's temperature.
    pub calibration_before: Interval,
    /// The same with it.
    pub calibration_after: Interval,
}

impl Figures {
    /// `None` without any answer.
    #[must_use]
    pub(crate) fn of(answers: &[Prediction]) -> Option<Self> {
        let whole = Sums::of(answers.iter()).scores();
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut drawn = Vec::with_capacity(RESAMPLES);
        if answers.is_empty() {
            return None;
        }
        for _ in 0..RESAMPLES {
            drawn.push(Sums::of((0..answers.len()).map(|_| &answers[random.usize(..answers.len())])).scores());
        }
        let interval = |at: usize| {
            let mut values: Vec<f64> = drawn.iter().map(|scores| scores[at]).collect();
            values.sort_unstable_by(f64::total_cmp);
            let tail = (1.0 - LEVEL) / 2.0;
            Interval { value: whole[at], low: quantile(&values, tail), high: quantile(&values, 1.0 - tail) }
        };
        Some(Self {
            accuracy: interval(0),
            macro_f1: interval(1),
            confusion: Sums::of(answers.iter()).confusion,
            calibration_before: interval(2),
            calibration_after: interval(3),
        })
    }
}

/// Between two of the sorted values, in proportion.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the number of values")]
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// All that the figures are made of: each is one of sums over clips.
#[derive(Default)]
struct Sums {
    confusion: [[u32; 3]; 3],
    /// For each bin the sum of (right − confidence), before and after the temperature.
    gaps: [[f64; BINS]; 2],
}

impl Sums {
    fn of<'a>(answers: impl Iterator<Item = &'a Prediction>) -> Self {
        let mut sums = Self::default();
        for answer in answers {
            sums.confusion[place(answer.truth)][place(answer.predicted)] += 1;
            let right = f64::from(u8::from(answer.truth == answer.predicted));
            let confidences = [answer.confidence_before, highest(answer.probabilities)];
            for (gaps, confidence) in sums.gaps.iter_mut().zip(confidences) {
                gaps[bin(confidence)] += right - confidence;
            }
        }
        sums
    }

    /// Accuracy, macro-F1, calibration error before and after.
    fn scores(&self) -> [f64; 4] {
        let sum = |row: &[u32; 3]| f64::from(row.iter().sum::<u32>());
        let all = self.confusion.iter().map(sum).sum::<f64>().max(1.0);
        let hit = |at: usize| f64::from(self.confusion[at][at]);
        let f1 = |at: usize| {
            let answered: f64 = self.confusion.iter().map(|row| f64::from(row[at])).sum();
            2.0 * hit(at) / (sum(&self.confusion[at]) + answered).max(1.0)
        };
        let error = |gaps: &[f64; BINS]| gaps.iter().map(|gap| gap.abs()).sum::<f64>() / all;
        [
            (0..3).map(hit).sum::<f64>() / all,
            (0..3).map(f1).sum::<f64>() / 3.0,
            error(&self.gaps[0]),
            error(&self.gaps[1]),
        ]
    }
}

/// Bins are open below and closed above (Guo et al. 2017, eq. 3).
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the bins")]
fn bin(confidence: f64) -> usize {
    ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::record::Emotion::{Negative, Neutral, Positive};

    fn answered(truth: Emotion, predicted: Emotion, chance: f64) -> Prediction {
        let mut probabilities = [(1.0 - chance) / 2.0; 3];
        probabilities[place(predicted)] = chance;
        Prediction { truth, predicted, probabilities, confidence_before: 0.5 }
    }

    #[test]
    fn figures_are_those_of_the_definitions() {
        let answers = [
            answered(Positive, Positive, 0.95),
            answered(Positive, Neutral, 0.95),
            answered(Neutral, Neutral, 0.6),
            answered(Negative, Negative, 0.6),
        ];
        let figures = Figures::of(&answers).unwrap();
        assert_eq!(figures.confusion, [[1, 1, 0], [0, 1, 0], [0, 0, 1]]);
        assert!((figures.accuracy.value - 0.75).abs() < 1e-12);
        assert!((figures.macro_f1.value - (2.0 / 3.0 + 2.0 / 3.0 + 1.0) / 3.0).abs() < 1e-12);
        // Two of 0.95, one right: 0.9 together; two of 0.6, both right: 0.8 together.
        assert!((figures.calibration_after.value - (0.9 + 0.8) / 4.0).abs() < 1e-12);
        assert!((figures.calibration_before.value - 0.25).abs() < 1e-12);
        for interval in [figures.accuracy, figures.macro_f1, figures.calibration_before, figures.calibration_after] {
            assert!(interval.low <= interval.value && interval.value <= interval.high, "{interval:?}");
        }
        assert_eq!(Figures::of(&answers).unwrap(), figures, "the seed is fixed");
        assert_eq!(Figures::of(&[]), None);
    }

    #[test]
    fn an_interval_is_as_wide_as_the_binomial_says() {
        let mut answers = vec![answered(Positive, Positive, 0.8); 80];
        answers.resize(100, answered(Positive, Negative, 0.8));
        let Interval { value, low, high } = Figures::of(&answers).unwrap().accuracy;
        // The normal interval is 0.8 ± 1.96 · sqrt(0.8 · 0.2 / 100) = 0.7216 to 0.8784.
        assert!(
            (value - 0.8).abs() < 1e-12 && (low - 0.72).abs() < 0.015 && (high - 0.88).abs() < 0.015,
            "{low} {high}"
        );
    }

    #[test]
    fn the_temperature_changes_confidence_and_no_label() {
        let answer = Prediction::new(Neutral, [1.0, 3.0, 1.0], 2.0);
        assert_eq!(answer.predicted, Neutral);
        let expected = |t: f64| (2.0 / t).exp() / (2.0 + (2.0 / t).exp());
        assert!((answer.probabilities[1] - expected(2.0)).abs() < 1e-12);
        assert!((answer.confidence_before - expected(1.0)).abs() < 1e-12);
        assert_eq!(Prediction::new(Neutral, [2.0; 3], 1.0).predicted, Positive, "of equal ones the first");
    }

    #[test]
    fn bins_are_closed_above() {
        assert_eq!([bin(1.0 / 15.0), bin(1.0 / 15.0 + 1e-9), bin(1.0), bin(0.0)], [0, 1, 14, 0]);
    }
}
