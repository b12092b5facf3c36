//! A window's frames and samples as the network's inputs, and whether there is any sound in them.

use super::{
    contract::{Contract, SoundKind},
    features::{picture::Normalise, sound::SoundFeatures},
    ring::{self, Coverage, FrameRing},
    runtime::Clip,
    window::Selection,
};
use crate::{config::Gates, wire::record::SoundState};

/// The level where there is no sound, hundredths of a dB.
pub(crate) const NO_LEVEL_CDB: i16 = -10_000;

/// Turns a window's pixels and samples into the network's numbers.
pub(crate) struct FeatureExtractor {
    sound_features: SoundFeatures,
    normalise: Normalise,
    /// The sound of the window at hand.
    pub(crate) samples: Vec<f32>,
}

impl FeatureExtractor {
    pub(crate) fn new(contract: &Contract) -> Self {
        let samples = match contract.sound.kind {
            SoundKind::None => 0,
            _ => contract.sound.samples as usize,
        };
        Self {
            sound_features: SoundFeatures::new(&contract.sound),
            normalise: Normalise::new(contract.video.mean, contract.video.std),
            samples: vec![0.0; samples],
        }
    }

    /// Writes the selected frames, and the sound where there is any, into a clip's place.
    pub(crate) fn fill(&mut self, frames: &FrameRing, selection: &Selection, clip: &mut Clip<'_>) {
        let planes = clip.video.chunks_exact_mut(clip.video.len() / selection.frames.len().max(1));
        for (pixels, planes) in selection.frames.iter().filter_map(|index| frames.pixels(*index)).zip(planes) {
            self.normalise.fill(pixels, planes);
        }
        self.fill_sound(selection.has_sound, clip);
        *clip.present = [1.0, f32::from(u8::from(selection.has_sound))];
    }

    /// Writes a clip without a picture, with its sound where it `has_sound`.
    pub(crate) fn fill_without_video(&mut self, has_sound: bool, clip: &mut Clip<'_>) {
        clip.video.fill(0.0);
        self.fill_sound(has_sound, clip);
        *clip.present = [0.0, f32::from(u8::from(has_sound))];
    }

    fn fill_sound(&mut self, has_sound: bool, clip: &mut Clip<'_>) {
        if !has_sound || self.sound_features.fill(&self.samples, clip.sound).is_err() {
            clip.sound.fill(0.0);
        }
    }
}

/// What a window's sound is like, and its level in hundredths of a dB. A window with too little sound has none: the gaps are
/// zeros, which are not silence.
pub(crate) fn sound_state(coverage: Result<Coverage, ring::Missing>, gates: &Gates) -> (SoundState, i16) {
    match coverage {
        Ok(sound) if f32::from(gates.sound_min_percent.get::<u8>()) / 100.0 <= sound.share() => {
            let state = match (sound.is_silent(), sound.is_clipping()) {
                (true, _) => SoundState::Silent,
                (false, true) => SoundState::Clipping,
                (false, false) => SoundState::Present,
            };
            #[allow(clippy::cast_possible_truncation, reason = "clamped to the range of the record")]
            let level_cdb = (sound.level_dbfs * 100.0).clamp(f32::from(NO_LEVEL_CDB), 0.0) as i16;
            (state, level_cdb)
        }
        _ => (SoundState::Absent, NO_LEVEL_CDB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    #[test]
    fn too_little_sound_is_none() {
        let state = |covered: u32| {
            let coverage =
                Coverage { covered, total: 1000, longest_gap: Span::ZERO, level_dbfs: -20.0, swing: 0.5, clipped: 0 };
            sound_state(Ok(coverage), &Gates::default()).0
        };
        assert_eq!(
            [state(899), state(900), state(1000)],
            [SoundState::Absent, SoundState::Present, SoundState::Present]
        );
    }
}
