//! From a network's answers to a reading: temperature, smoothing, hysteresis, withholding.
//!
//! Pure: no I/O, no clock; one [`Aggregate`] per camera, one [`Aggregate::step`] per slot.
//!
//! **Calibration.** p = softmax(logits / temperature).
//!
//! **Prior.** Where the place is positive, neutral and negative as often as `reading.prior` says, and not as often as
//! training was, p(c) becomes p(c) · prior(c) / training(c), normalised: Saerens, Latinne and Decaestecker, "Adjusting
//! the outputs of a classifier to new a priori probabilities", Neural Computation 14 (2002), equation 2.4. What the
//! matrix below leads to in the long run becomes that prior, too.
//!
//! **Smoothing** is the forward filter of a hidden Markov model. The contract's matrix A says how the mood of a clip
//! follows that of the clip before, so for a hop h = hop / clip (at most 1) of a clip, one slot's step is
//! (1 - h)·1 + h·A: between "nothing changes" and A, row by row, and rows still sum to 1. The evidence of a clip is
//! p / prior, because p already contains what was frequent in training. Overlapping clips see the same seconds again;
//! so that these count once, evidence is raised to the power of the part that no earlier clip has seen: h times the
//! slots since the last answer, at most 1, and 1 for the first. Without a matrix, or with `smoothing` off, p is taken
//! as it is.
//!
//! **Gaps.** A withheld slot changes nothing but a predicted step. After more than three slots without an answer
//! nothing is known: belief falls back to the prior, and the label is forgotten.
//!
//! **Small groups.** The network's likeliest bucket of sizes decides. A group is too small if even the largest size in
//! the bucket is below `min_group`; where the bucket lies across it, the bucket's middle decides: 2 to 4 is enough for
//! a `min_group` of 3, and is not for one of 4. The last bucket has no end and is always enough: a network that cannot
//! tell 10 from 20 cannot be asked for 20. The answer of too small a group is neither shown nor remembered: it is the
//! mood of a person.

use super::{
    contract::{Contract, GROUP_BUCKETS},
    runtime::Answer,
};
use crate::{
    config::Reading,
    wire::record::{Emotion, Outcome, Withheld},
};

/// After more slots than this without an answer nothing is known any more.
const GAP_SLOTS_MAX: u64 = 3;
/// No emotion is impossible: keeps one answer from ruling another out for ever.
const LIKELIHOOD_MIN: f64 = 1e-6;
/// The record's unit of probability.
const WHOLE: u16 = 10_000;

/// What one slot came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// A label or a reason.
    pub outcome: Outcome,
    /// In units of 1/10000 and in the order of [`Emotion::ALL`]: they sum to 10000, or are all zero where no network
    /// ran or the group is too small.
    pub probabilities: [u16; 3],
    /// The same of this clip alone, calibrated, but neither corrected by `reading.prior` nor smoothed.
    pub calibrated: [u16; 3],
    /// The smallest size in the group's bucket, where the network estimates it.
    pub group_at_least: Option<u8>,
}

/// What is known of one camera's group.
#[derive(Clone, Debug)]
pub(crate) struct Aggregate {
    temperature: f64,
    /// How often each emotion was in training, and how often it is here.
    training: [f64; 3],
    prior: [f64; 3],
    /// One slot's step, where there is smoothing.
    transition: Option<[[f64; 3]; 3]>,
    /// The part of a clip that its predecessor in the grid has not seen.
    fresh: f64,
    buckets: Option<[u8; GROUP_BUCKETS]>,
    min_group: u8,
    min_confidence: f64,
    hysteresis: f64,
    /// Belief after the last answer, its slot, and the label it gave.
    known: Option<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    slot: u64,
    belief: [f64; 3],
    label: Emotion,
}

impl Aggregate {
    /// Knows nothing yet.
    #[must_use]
    pub(crate) fn new(contract: &Contract, reading: &Reading) -> Self {
        let fresh = (reading.hop_s.span().as_secs_f64() / contract.clip.as_secs_f64()).clamp(0.0, 1.0);
        let step = |matrix: [[f64; 3]; 3]| {
            let cell = |row: usize, column: usize| {
                let stay = if row == column { 1.0 - fresh } else { 0.0 };
                stay + fresh * matrix[row][column]
            };
            std::array::from_fn(|row| std::array::from_fn(|column| cell(row, column)))
        };
        let training = normalised(contract.prior.map(f64::from));
        let prior = reading.prior.map(|prior| normalised(prior.0));
        let matrix = contract.transition.filter(|_| reading.smoothing.0).map(|rows| rows.map(|row| row.map(f64::from)));
        let matrix = matrix.map(|matrix| prior.map_or(matrix, |prior| leading_to(matrix, prior)));
        Self {
            temperature: f64::from(contract.temperature),
            training,
            prior: prior.unwrap_or(training),
            transition: matrix.map(step),
            fresh,
            buckets: contract.outputs.group_size,
            min_group: reading.min_group.get(),
            min_confidence: reading.min_confidence.get(),
            hysteresis: reading.hysteresis.get(),
            known: None,
        }
    }

    /// Takes slot `slot`: what the network answered, or why there is no answer. Slots come in order; those that never
    /// come count as withheld.
    pub(crate) fn step(&mut self, slot: u64, sensed: Result<Answer, Withheld>) -> Step {
        // A withheld slot needs no step now: the next answer makes up for all of them.
        let withheld = |reason, group_at_least| Step {
            outcome: Outcome::Withheld(reason),
            probabilities: [0; 3],
            calibrated: [0; 3],
            group_at_least,
        };
        let answer = match sensed {
            Ok(answer) => answer,
            Err(reason) => return withheld(reason, None),
        };
        let group = answer.group_size.iter().flatten();
        if answer.logits.iter().chain(group).any(|number| !number.is_finite()) {
            return withheld(Withheld::ModelInvalid, None);
        }
        let bucket = self.bucket(&answer);
        let group_at_least = bucket.map(|(smallest, _)| smallest);
        if bucket.is_some_and(|(_, largest)| self.too_few(group_at_least.unwrap_or(0), largest)) {
            return withheld(Withheld::TooFewPeople, group_at_least);
        }

        let before = self.known.filter(|known| slot.saturating_sub(known.slot) <= GAP_SLOTS_MAX + 1);
        let calibrated = softmax(answer.logits.map(f64::from), self.temperature);
        let belief = self.believe(slot, before, shifted(calibrated, self.training, self.prior));
        let label = self.label(before.map(|known| known.label), belief);
        self.known = Some(Known { slot, belief, label });
        let outcome = if belief[label as usize] < self.min_confidence {
            Outcome::Withheld(Withheld::LowConfidence)
        } else {
            Outcome::Label(label)
        };
        let (probabilities, calibrated) = (in_ten_thousandths(belief), in_ten_thousandths(calibrated));
        Step { outcome, probabilities, calibrated, group_at_least }
    }

    /// The forward filter: predict over the slots since, then weigh by the evidence.
    fn believe(&self, slot: u64, before: Option<Known>, posterior: [f64; 3]) -> [f64; 3] {
        let Some(transition) = &self.transition else {
            return posterior;
        };
        let slots = before.map(|known| slot.saturating_sub(known.slot));
        let mut predicted = before.map_or(self.prior, |known| known.belief);
        for _ in 0..slots.unwrap_or(0) {
            predicted = std::array::from_fn(|to| (0..3).map(|from| predicted[from] * transition[from][to]).sum());
        }
        let power = slots.map_or(1.0, |slots| (self.fresh * slots as f64).min(1.0));
        let evidence = |i: usize| (posterior[i] / self.prior[i].max(LIKELIHOOD_MIN)).max(LIKELIHOOD_MIN).powf(power);
        normalised(std::array::from_fn(|i| predicted[i] * evidence(i)))
    }

    /// The present label, unless another is likelier by the hysteresis.
    fn label(&self, present: Option<Emotion>, belief: [f64; 3]) -> Emotion {
        let of = |emotion: Emotion| belief[emotion as usize];
        // Of equals the first: a maximum that keeps the earlier one.
        let best = Emotion::ALL.into_iter().reduce(|best, other| if of(best) < of(other) { other } else { best });
        let best = best.unwrap_or(Emotion::Neutral);
        match present {
            Some(present) if of(best) <= of(present) + self.hysteresis => present,
            _ => best,
        }
    }

    /// The likeliest bucket of sizes: its smallest, and its largest if it has one.
    fn bucket(&self, answer: &Answer) -> Option<(u8, Option<u8>)> {
        let (buckets, logits) = (self.buckets?, answer.group_size?);
        let best =
            (0..GROUP_BUCKETS).reduce(|best, bucket| if logits[best] < logits[bucket] { bucket } else { best })?;
        Some((buckets[best], buckets.get(best + 1).map(|next| next - 1)))
    }

    fn too_few(&self, smallest: u8, largest: Option<u8>) -> bool {
        largest.is_some_and(|largest| u16::from(smallest) + u16::from(largest) < 2 * u16::from(self.min_group))
    }
}

/// The posterior of a classifier whose classes were as frequent as `from` in training, where they are as frequent as
/// `to`: Saerens, Latinne and Decaestecker (2002), equation 2.4. All three sum to 1.
#[must_use]
pub(crate) fn shifted(posterior: [f64; 3], from: [f64; 3], to: [f64; 3]) -> [f64; 3] {
    if from == to {
        return posterior;
    }
    normalised(std::array::from_fn(|i| posterior[i] * to[i] / from[i].max(LIKELIHOOD_MIN)))
}

/// The transition matrix nearest to this one that leads to `prior` in the long run: its joint probabilities are fitted
/// in turn to both margins (iterative proportional fitting, Deming and Stephan 1940; Sinkhorn 1967).
fn leading_to(matrix: [[f64; 3]; 3], prior: [f64; 3]) -> [[f64; 3]; 3] {
    /// Far more than three by three numbers need.
    const ROUNDS: usize = 500;
    let mut joint = matrix.map(|row| row.map(|cell| cell.max(LIKELIHOOD_MIN)));
    for _ in 0..ROUNDS {
        for column in 0..3 {
            let sum: f64 = joint.iter().map(|row| row[column]).sum();
            joint.iter_mut().for_each(|row| row[column] *= prior[column] / sum);
        }
        for (row, prior) in joint.iter_mut().zip(prior) {
            *row = normalised(*row).map(|share| share * prior);
        }
    }
    joint.map(normalised)
}

/// `softmax(logits / temperature)`.
pub(crate) fn softmax(logits: [f64; 3], temperature: f64) -> [f64; 3] {
    let largest = logits.into_iter().fold(f64::NEG_INFINITY, f64::max);
    normalised(logits.map(|logit| ((logit - largest) / temperature).exp()))
}

/// Divides by the sum; even where there is nothing to divide.
fn normalised(parts: [f64; 3]) -> [f64; 3] {
    let sum: f64 = parts.iter().sum();
    if 0.0 < sum && sum.is_finite() { parts.map(|part| part / sum) } else { [1.0 / 3.0; 3] }
}

/// In whole units that sum to 10000: each is rounded down, and what is left goes to the largest remainders.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "probabilities are 0 to 1")]
fn in_ten_thousandths(belief: [f64; 3]) -> [u16; 3] {
    let exact = belief.map(|share| share * f64::from(WHOLE));
    let mut units = exact.map(|share| share as u16);
    let mut order = [0, 1, 2];
    order.sort_by(|a: &usize, b| exact[*b].fract().total_cmp(&exact[*a].fract()));
    let left = WHOLE.saturating_sub(units.iter().sum());
    for at in order.into_iter().cycle().take(usize::from(left)) {
        units[at] += 1;
    }
    units
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::{Decimal, Distribution, Integer, OnByDefault},
        wire::estimate::Estimates,
    };

    fn contract() -> Contract {
        Contract::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/good.onnx"))).unwrap().0
    }

    fn hop(ms: i64) -> Reading {
        Reading { hop_s: Decimal::new(ms as f64 / 1000.0).unwrap(), ..Reading::default() }
    }

    /// Without the transition matrix, and with a label for every answer.
    fn unsmoothed() -> Reading {
        Reading { smoothing: OnByDefault(false), min_confidence: Decimal::new(0.34).unwrap(), ..Reading::default() }
    }

    /// The logits of these probabilities, from a group of 5 to 9.
    fn likely(parts: [f32; 3]) -> Answer {
        Answer {
            logits: parts.map(f32::ln),
            group_size: Some([0.0, 0.0, 0.0, 4.0, 0.0]),
            estimates: Estimates::default(),
        }
    }

    fn sized(bucket: usize) -> Answer {
        let mut group_size = [0.0; GROUP_BUCKETS];
        group_size[bucket] = 3.0;
        Answer { group_size: Some(group_size), ..likely([0.9, 0.05, 0.05]) }
    }

    const POSITIVE: [f32; 3] = [0.9, 0.08, 0.02];
    const NEGATIVE: [f32; 3] = [0.02, 0.08, 0.9];

    #[test]
    fn temperature_softens() {
        let check = |temperature: f32, wanted: [u16; 3]| {
            let contract = Contract { temperature, ..contract() };
            let reading = unsmoothed();
            let answer = Answer { logits: [2.0, 1.0, 0.0], group_size: None, estimates: Estimates::default() };
            assert_eq!(Aggregate::new(&contract, &reading).step(9, Ok(answer)).probabilities, wanted);
        };
        check(1.0, [6653, 2447, 900]);
        check(2.0, [5065, 3072, 1863]);
        check(0.01, [10_000, 0, 0]);
    }

    #[test]
    fn a_prior_corrects_an_answer_for_how_often_it_is_right_here() {
        let contract = Contract { prior: [0.5, 0.3, 0.2], temperature: 1.0, ..contract() };
        let reading = Reading { prior: Some(Distribution([0.1, 0.8, 0.1])), ..unsmoothed() };
        let step = Aggregate::new(&contract, &reading).step(1, Ok(likely([0.6, 0.3, 0.1])));
        // 0.6 · 0.1 / 0.5, 0.3 · 0.8 / 0.3, 0.1 · 0.1 / 0.2, over their sum, 0.97.
        assert_eq!(step.probabilities, [1237, 8247, 516]);
        assert_eq!((step.outcome, step.calibrated), (Outcome::Label(Emotion::Neutral), [6000, 3000, 1000]));
        // The place being as training was changes nothing.
        let same = Reading { prior: Some(Distribution([0.5, 0.3, 0.2])), ..reading };
        let step = Aggregate::new(&contract, &same).step(1, Ok(likely([0.6, 0.3, 0.1])));
        assert_eq!(step.probabilities, [6000, 3000, 1000]);
    }

    #[test]
    fn with_a_prior_belief_without_news_ends_there() {
        // An answer that says no more than training did says nothing.
        let prior = [0.15, 0.75, 0.1];
        for ms in [1000, 5000] {
            let mut aggregate = Aggregate::new(&contract(), &Reading { prior: Some(Distribution(prior)), ..hop(ms) });
            aggregate.step(1, Ok(likely([0.98, 0.01, 0.01])));
            let nothing = likely(contract().prior);
            let last = (2..200).map(|slot| aggregate.step(slot, Ok(nothing)).probabilities).next_back().unwrap();
            for (unit, wanted) in last.iter().zip(prior) {
                assert!((f64::from(*unit) / 10_000.0 - wanted).abs() < 1e-3, "{ms}: {last:?}");
            }
        }
    }

    #[test]
    fn one_doubtful_clip_does_not_turn_a_steady_mood() {
        let mut aggregate = Aggregate::new(&contract(), &Reading::default());
        let mut label = |slot, parts| aggregate.step(slot, Ok(likely(parts))).outcome;
        for slot in 1..=4 {
            assert_eq!(label(slot, POSITIVE), Outcome::Label(Emotion::Positive));
        }
        assert_eq!(label(5, [0.35, 0.25, 0.4]), Outcome::Label(Emotion::Positive), "smoothed");
        for slot in 6..=7 {
            label(slot, NEGATIVE);
        }
        assert_eq!(label(8, NEGATIVE), Outcome::Label(Emotion::Negative), "but a real change is followed");
    }

    #[test]
    fn a_label_stays_until_another_exceeds_it_by_the_hysteresis() {
        let reading = Reading { hysteresis: Decimal::new(0.1).unwrap(), ..unsmoothed() };
        let mut aggregate = Aggregate::new(&contract(), &reading);
        let table = [
            ([0.5, 0.4, 0.1], Emotion::Positive),
            ([0.43, 0.5, 0.07], Emotion::Positive),
            ([0.39, 0.5, 0.11], Emotion::Neutral),
            ([0.5, 0.43, 0.07], Emotion::Neutral),
            ([0.56, 0.37, 0.07], Emotion::Positive),
        ];
        for (slot, (parts, wanted)) in (1..).zip(table) {
            assert_eq!(aggregate.step(slot, Ok(likely(parts))).outcome, Outcome::Label(wanted), "{parts:?}");
        }
    }

    #[test]
    fn a_withheld_slot_changes_nothing_but_a_predicted_step() {
        let mut aggregate = Aggregate::new(&contract(), &Reading::default());
        let certain = |step: Step| step.probabilities[0];
        let first = certain(aggregate.step(1, Ok(likely(POSITIVE))));
        let second = certain(aggregate.step(2, Ok(likely(POSITIVE))));
        assert!(first < second, "evidence adds up: {first} {second}");
        for slot in 3..=5 {
            let step = aggregate.step(slot, Err(Withheld::VideoGap));
            assert_eq!(step.outcome, Outcome::Withheld(Withheld::VideoGap));
            assert_eq!((step.probabilities, step.group_at_least), ([0; 3], None));
        }
        // The label is still remembered after three, but belief has moved towards the average.
        let mut forgetful = aggregate.clone();
        let after_gap = certain(aggregate.step(6, Ok(likely(POSITIVE))));
        assert!(after_gap < second, "{after_gap} {second}");
        let doubtful = likely([0.36, 0.24, 0.40]);
        assert_eq!(forgetful.clone().step(6, Ok(doubtful)).outcome, Outcome::Withheld(Withheld::LowConfidence));
        // After four all is as at the start.
        assert_eq!(certain(forgetful.step(7, Ok(likely(POSITIVE)))), first);
    }

    #[test]
    fn slots_that_never_came_count_as_withheld() {
        let mut told = Aggregate::new(&contract(), &Reading::default());
        let mut untold = told.clone();
        told.step(1, Ok(likely(POSITIVE)));
        untold.step(1, Ok(likely(POSITIVE)));
        told.step(2, Err(Withheld::Overload));
        assert_eq!(told.step(3, Ok(likely(NEGATIVE))), untold.step(3, Ok(likely(NEGATIVE))));
    }

    #[test]
    fn overlapping_clips_count_their_seconds_once() {
        // The same mood for a long time: one clip in 5 s, or five that overlap, come to about the same.
        let steady = |ms: i64| {
            let mut aggregate = Aggregate::new(&contract(), &hop(ms));
            (1..100).map(|slot| aggregate.step(slot, Ok(likely([0.6, 0.3, 0.1]))).probabilities[0]).next_back().unwrap()
        };
        let (whole, fifths) = (steady(5000), steady(1000));
        assert!(whole.abs_diff(fifths) < 500, "{whole} {fifths}");
        // The first clip counts in full, however short the hop.
        let first = |ms| Aggregate::new(&contract(), &hop(ms)).step(1, Ok(likely(POSITIVE)));
        assert_eq!(first(1000), first(5000));
    }

    #[test]
    fn small_groups_are_not_read() {
        let check = |min_group: i64, bucket: usize, read: bool| {
            let reading = Reading { min_group: Integer::new(min_group).unwrap(), ..Reading::default() };
            let step = Aggregate::new(&contract(), &reading).step(1, Ok(sized(bucket)));
            assert_eq!(step.group_at_least, Some([0, 1, 2, 5, 10][bucket]));
            if read {
                assert_eq!(step.outcome, Outcome::Label(Emotion::Positive), "{min_group} {bucket}");
            } else {
                assert_eq!(step.outcome, Outcome::Withheld(Withheld::TooFewPeople), "{min_group} {bucket}");
                assert_eq!(step.probabilities, [0; 3], "the mood of a person is not shown");
            }
        };
        for (min_group, read) in [
            (5, [false, false, false, true, true]),
            (2, [false, false, true, true, true]),
            (3, [false, false, true, true, true]),
            (4, [false, false, false, true, true]),
            (7, [false, false, false, true, true]),
            (8, [false, false, false, false, true]),
            (100, [false, false, false, false, true]),
        ] {
            (0..GROUP_BUCKETS).for_each(|bucket| check(min_group, bucket, read[bucket]));
        }
    }

    #[test]
    fn the_mood_of_a_person_is_not_remembered() {
        let mut aggregate = Aggregate::new(&contract(), &Reading::default());
        aggregate.step(1, Ok(sized(1)));
        let fresh = Aggregate::new(&contract(), &Reading::default()).step(2, Ok(likely(NEGATIVE)));
        assert_eq!(aggregate.step(2, Ok(likely(NEGATIVE))), fresh);
    }

    #[test]
    fn doubt_is_withheld_but_shown() {
        let reading = Reading { smoothing: OnByDefault(false), ..Reading::default() };
        let step = Aggregate::new(&contract(), &reading).step(1, Ok(likely([0.45, 0.35, 0.2])));
        assert_eq!(step.outcome, Outcome::Withheld(Withheld::LowConfidence));
        assert_eq!(step.probabilities, [4500, 3500, 2000]);
    }

    #[test]
    fn what_is_not_a_number_is_an_invalid_model() {
        let mut aggregate = Aggregate::new(&contract(), &Reading::default());
        for logits in [[f32::NAN, 0.0, 0.0], [0.0, f32::INFINITY, 0.0]] {
            let step = aggregate.step(1, Ok(Answer { logits, group_size: None, estimates: Estimates::default() }));
            assert_eq!(step.outcome, Outcome::Withheld(Withheld::ModelInvalid));
            assert_eq!(step.probabilities, [0; 3]);
        }
        let group_size = Some([0.0, f32::NAN, 0.0, 0.0, 0.0]);
        let step = aggregate.step(1, Ok(Answer { group_size, ..likely(POSITIVE) }));
        assert_eq!(step.outcome, Outcome::Withheld(Withheld::ModelInvalid));
    }

    #[test]
    fn a_day_stays_normalised_and_does_not_stick() {
        for ms in [1000, 2500, 5000] {
            let mut aggregate = Aggregate::new(&contract(), &hop(ms));
            // Far beyond what a network says, half a day this way and half that.
            let extreme = |slot: u64| if slot < 8640 { [80.0, 0.0, -80.0] } else { [-80.0, 0.0, 80.0] };
            let mut last = None;
            for slot in 0..17_280 {
                let sensed = match slot % 97 {
                    0..=5 => Err(Withheld::VideoGap),
                    _ => Ok(Answer { logits: extreme(slot), group_size: None, estimates: Estimates::default() }),
                };
                let step = aggregate.step(slot, sensed);
                let sum: u32 = step.probabilities.iter().map(|share| u32::from(*share)).sum();
                assert_eq!(sum, if sensed.is_ok() { 10_000 } else { 0 });
                if slot == 8639 {
                    assert_eq!(step.outcome, Outcome::Label(Emotion::Positive));
                }
                last = Some(step.outcome);
            }
            assert_eq!(last, Some(Outcome::Label(Emotion::Negative)), "{ms}");
        }
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_ten_thousand(
            answers in proptest::collection::vec((proptest::array::uniform3(-1e30_f32..1e30), 1_u64..9), 1..40),
            ms in 1000_i64..=5000,
        ) {
            let mut aggregate = Aggregate::new(&contract(), &hop(ms));
            let mut slot = 0;
            for (logits, ahead) in answers {
                slot += ahead;
                let step = aggregate.step(slot, Ok(Answer { logits, group_size: None, estimates: Estimates::default() }));
                prop_assert_eq!(step.probabilities.iter().map(|share| u32::from(*share)).sum::<u32>(), 10_000);
            }
        }

        #[test]
        fn rounding_is_off_by_less_than_one_unit(parts in proptest::array::uniform3(0.0_f64..1.0)) {
            let belief = normalised(parts);
            let units = in_ten_thousandths(belief);
            for (unit, exact) in units.iter().zip(belief) {
                prop_assert!((f64::from(*unit) - exact * 10_000.0).abs() < 1.0 + 1e-6);
            }
        }
    }
}
