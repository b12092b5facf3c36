//! The golden case's inputs, `ramp-v1`.

/// Fills one input tensor: element i is `((i * 2654435761 mod 2^32) >> 8) / 2^24 * 2 - 1`, computed in f64. The
/// multiplier is Knuth's for hashing: neighbours are far apart, and the values spread evenly over -1 to 1.
#[allow(clippy::cast_possible_truncation, reason = "the index wraps, and the tensor is f32, by definition")]
pub(super) fn ramp(tensor: &mut [f32]) {
    for (i, element) in tensor.iter_mut().enumerate() {
        let bits = (i as u32).wrapping_mul(2_654_435_761) >> 8;
        *element = (f64::from(bits) / f64::from(1 << 24) * 2.0 - 1.0) as f32;
    }
}

/// The largest difference between what came and what was expected; infinite where something is not a number.
pub(super) fn difference(given: &[f32], wanted: &[f32]) -> f32 {
    let differences = given.iter().zip(wanted).map(|(given, wanted)| (given - wanted).abs());
    differences.map(|difference| if difference.is_finite() { difference } else { f32::INFINITY }).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_is_the_one_of_the_exporter() {
        let mut tensor = vec![0.0; 384_000];
        ramp(&mut tensor);
        // By `ramp` of models/ger/contract/golden.py.
        assert_eq!(tensor[383_999], -0.134_227_51);
        assert_eq!(tensor[..5], [-1.0, 0.236_067_89, -0.527_864_1, 0.708_203_9, -0.055_728_197]);
    }

    #[test]
    fn what_is_not_a_number_is_infinitely_wrong() {
        assert_eq!(difference(&[1.0, 2.5], &[1.0, 2.0]), 0.5);
        assert_eq!(difference(&[f32::NAN, 2.5], &[1.0, 2.0]), f32::INFINITY);
    }
}
