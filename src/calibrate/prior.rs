//! Fits `reading.prior`: how often a place is positive, neutral and negative, from what the network said of it.
//!
//! Counting the network's answers would count its prejudice with them: it expects each emotion as often as it was in
//! training. Saerens, Latinne and Decaestecker (Neural Computation 14, 2002, equations 2.5 to 2.7) find the prior under
//! which the answers, corrected by it, are as frequent as it says, by expectation and maximisation in turn.
//!
//! Few windows must not make a prior extreme. So the network's own prior counts like [`WINDOWS_BEFORE`] windows that
//! were seen before (the maximum a posteriori under a Dirichlet distribution), and no share leaves what the key allows.

use crate::{config::SHARE_MIN, infer::aggregate::shifted};

/// Training counts like so many windows of the place: two minutes of them.
pub(crate) const WINDOWS_BEFORE: f64 = 24.0;
/// Each round comes nearer; a round that moves less than this is the last.
const MOVES_MIN: f64 = 1e-7;
/// Ends also what comes nearer only slowly, because the answers hardly tell.
const ROUNDS_MAX: usize = 1000;

/// The prior of a place, in the order of `Emotion::ALL`; sums to 1, each at least 0.02.
///
/// `posteriors` are the network's calibrated answers, each summing to 1, neither smoothed nor corrected by a prior, of
/// windows that do not overlap. `training` is the contract's prior. Without any answer the result is `training`.
#[must_use]
pub(crate) fn fit(posteriors: &[[f64; 3]], training: [f64; 3]) -> [f64; 3] {
    let mut prior = training;
    for _ in 0..ROUNDS_MAX {
        let mut seen = training.map(|it| it * WINDOWS_BEFORE);
        for posterior in posteriors {
            for (seen, part) in seen.iter_mut().zip(shifted(*posterior, training, prior)) {
                *seen += part;
            }
        }
        let all: f64 = seen.iter().sum();
        let next = seen.map(|it| it / all);
        let moved = next.iter().zip(prior).map(|(next, prior)| (next - prior).abs()).fold(0.0, f64::max);
        prior = next;
        if moved < MOVES_MIN {
            break;
        }
    }
    within_bounds(prior)
}

/// Raises what is below the least share, at the cost of what is above it.
fn within_bounds(prior: [f64; 3]) -> [f64; 3] {
    let above: f64 = prior.iter().map(|it| (it - SHARE_MIN).max(0.0)).sum();
    let free = 1.0 - 3.0 * SHARE_MIN;
    if prior.iter().all(|it| SHARE_MIN <= *it) {
        prior
    } else {
        prior.map(|it| SHARE_MIN + (it - SHARE_MIN).max(0.0) / above * free)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRAINING: [f64; 3] = [0.3, 0.35, 0.35];

    /// What a calibrated network says of `count` windows of a place with this prior: of each emotion some windows, and
    /// of each window a likelihood that is right as often as it says.
    fn answers(prior: [f64; 3], count: usize) -> Vec<[f64; 3]> {
        // The chance of each kind of sight given each emotion: rows are emotions, columns are sights; rows sum to 1.
        let sights = [[0.75, 0.2, 0.05], [0.2, 0.6, 0.2], [0.05, 0.2, 0.75]];
        (0..3)
            .flat_map(|sight| {
                let chance: f64 = (0..3).map(|emotion| prior[emotion] * sights[emotion][sight]).sum();
                let seen = [0, 1, 2].map(|emotion: usize| TRAINING[emotion] * sights[emotion][sight]);
                let sum: f64 = seen.iter().sum();
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                let windows = (chance * count as f64).round() as usize;
                std::iter::repeat_n(seen.map(|it| it / sum), windows)
            })
            .collect()
    }

    fn check_near(found: [f64; 3], wanted: [f64; 3], tolerance: f64) {
        let apart = found.iter().zip(wanted).map(|(found, wanted)| (found - wanted).abs()).fold(0.0, f64::max);
        assert!(apart < tolerance, "{found:?} is not {wanted:?}");
    }

    #[test]
    fn a_known_shift_is_found() {
        for prior in [TRAINING, [0.1, 0.8, 0.1], [0.7, 0.25, 0.05], [0.05, 0.35, 0.6]] {
            check_near(fit(&answers(prior, 5_000), TRAINING), prior, 0.03);
            // Half an hour of doubtful windows is most of the way there.
            check_near(fit(&answers(prior, 360), TRAINING), prior, 0.15);
        }
    }

    #[test]
    fn counting_answers_would_be_wrong() {
        let prior = [0.1, 0.8, 0.1];
        let answers = answers(prior, 5_000);
        let counted = [0, 1, 2].map(|i: usize| answers.iter().map(|it| it[i]).sum::<f64>() / answers.len() as f64);
        assert!(0.2 < (counted[1] - prior[1]).abs(), "{counted:?}");
    }

    #[test]
    fn few_windows_move_little_and_nothing_is_impossible() {
        assert_eq!(fit(&[], TRAINING), TRAINING);
        let certain = [1.0, 0.0, 0.0];
        let one = fit(&[certain], TRAINING);
        check_near(one, TRAINING, 0.03);
        assert!(TRAINING[0] < one[0]);
        let minute = fit(&[certain; 12], TRAINING);
        assert!(minute[0] < 0.6, "{minute:?}");
        let hours = fit(&[certain; 5_000], TRAINING);
        check_near(hours, [1.0 - 2.0 * SHARE_MIN, SHARE_MIN, SHARE_MIN], 1e-9);
    }

    proptest! {
        #[test]
        fn it_is_a_prior_that_the_key_takes(
            parts in proptest::collection::vec(proptest::array::uniform3(0.0_f64..1.0), 0..60),
            training in proptest::array::uniform3(0.05_f64..1.0),
        ) {
            let normalised = |it: [f64; 3]| it.map(|part| (part + 1e-9) / (it.iter().sum::<f64>() + 3e-9));
            let posteriors: Vec<_> = parts.into_iter().map(normalised).collect();
            let prior = fit(&posteriors, normalised(training));
            prop_assert!((prior.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!(prior.iter().all(|it| SHARE_MIN - 1e-12 <= *it));
        }
    }
}
