//! How a place sounds to a microphone: its noise floor, its peaks.

use crate::wire::record::LEVEL_NONE_CDB;

/// Levels are taken of blocks so long: short enough to fit between two words, long enough for a period of hum.
const BLOCKS_PER_S: u32 = 50;
/// This share of blocks is quieter than what is called the noise floor.
const FLOOR_SHARE: f32 = 0.1;

/// The loudness of a stretch of sound, hundredths of a dB below full scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    /// The level that a tenth of the blocks stay below: root mean square, where a full-scale square wave is 0.
    pub(super) noise_floor_cdb: i16,
    /// Of the largest sample.
    pub(super) peak_cdb: i16,
}

/// The levels of samples, -1 to 1. Blocks of nothing but zeros are gaps, unless there is nothing else.
#[must_use]
pub(super) fn levels(samples: &[f32], rate_hz: u32) -> Levels {
    let block = (rate_hz / BLOCKS_PER_S).max(1) as usize;
    let power = |block: &[f32]| block.iter().map(|it| it * it).sum::<f32>() / block.len() as f32;
    let mut powers: Vec<_> = samples.chunks_exact(block).map(power).filter(|it| 0.0 < *it).collect();
    powers.sort_by(f32::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
    let at = (powers.len() as f32 * FLOOR_SHARE) as usize;
    let peak = samples.iter().map(|it| it.abs()).fold(0.0, f32::max);
    Levels {
        noise_floor_cdb: powers.get(at).map_or(LEVEL_NONE_CDB, |power| centibel(*power)),
        peak_cdb: centibel(peak * peak),
    }
}

/// Hundredths of a dB of a power, from nothing at all to full scale.
#[allow(clippy::cast_possible_truncation, reason = "clamped to the range of the record")]
fn centibel(power: f32) -> i16 {
    (1000.0 * power.log10()).clamp(f32::from(LEVEL_NONE_CDB), 0.0) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five seconds of hiss at this amplitude; while `is_loud`, of a tone of amplitude 0.5 instead.
    fn room(hiss: f32, is_loud: impl Fn(usize) -> bool) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(7);
        let sample = |n: usize| match is_loud(n) {
            true => 0.5 * (n as f32 * 0.17).sin(),
            false => hiss * (2.0 * random.f32() - 1.0),
        };
        (0..80_000).map(sample).collect()
    }

    #[test]
    fn speech_does_not_raise_the_noise_floor() {
        // Uniform noise of amplitude a has a level of a / √3: -60 dB - 4.77 dB.
        let quiet = levels(&room(0.001, |_| false), 16_000);
        assert!((quiet.noise_floor_cdb + 6477).abs() < 60, "{quiet:?}");
        assert!((quiet.peak_cdb + 6000).abs() < 5, "{quiet:?}");
        // Somebody talks for four of the five seconds.
        let talk = levels(&room(0.001, |n| n % 16_000 < 12_800), 16_000);
        assert!((talk.noise_floor_cdb + 6477).abs() < 60, "{talk:?}");
        assert!((talk.peak_cdb + 602).abs() < 5, "{talk:?}");
    }

    #[test]
    fn gaps_are_no_silence_and_silence_has_no_level() {
        let mut sound = room(0.01, |_| false);
        sound[10_000..18_000].fill(0.0);
        assert!((levels(&sound, 16_000).noise_floor_cdb + 4477).abs() < 60);
        let nothing = Levels { noise_floor_cdb: LEVEL_NONE_CDB, peak_cdb: LEVEL_NONE_CDB };
        assert_eq!(levels(&[0.0; 80_000], 16_000), nothing);
        assert_eq!(levels(&[], 16_000), nothing);
    }
}
