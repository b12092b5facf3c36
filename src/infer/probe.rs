//! What a dry run measures beside what the daemon needs: numbers only, for whoever stands on the ladder.
//!
//! A [`CameraProbe`] belongs to a camera and is there in a dry run alone: it looks at every picture that is decoded anyway,
//! and takes a clap test ([`claps`]). A [`Listener`] measures the sound of all cameras, one after the other, about once
//! a second. Nothing here asks a clock; pictures stay in [`sight`].

pub mod claps;
pub mod picture;
pub mod sound;

use std::{collections::BTreeSet, sync::Mutex};

use self::{
    claps::{ClapTest, Estimate},
    picture::Sight,
    sound::levels,
};
use super::{
    features::{hum::HumFinder, picture::Rgb},
    receiver::lock,
    ring::SoundRing,
};
use crate::{
    mask::Polygon,
    time::{Moment, Span},
    wire::record::{HUM_NONE_CDB, LEVEL_NONE_CDB, ProbeRecord, Step},
};

/// Levels and hum are those of the last seconds.
const HEARD: Span = Span::from_ms(5000);
/// Sound that ended so long ago is not there any more.
const HEARD_LATELY: Span = Span::from_ms(2000);
/// A window with less sound than this share has no level: gaps would be taken for quiet.
const SHARE_MIN: f32 = 0.9;
/// Pictures older than this say nothing of the connection that is there now.
const SEEN_LATELY: Span = Span::from_ms(12_000);
/// A rate below this is that of a network that does not hear, Hz.
const RATE_MIN_HZ: u32 = 8000;
/// More pictures than this are not inside a decoder.
const OWED_MAX: usize = 256;

/// What is measured of one camera's pictures.
#[derive(Debug)]
pub(crate) struct CameraProbe {
    /// A picture that differs from the one before by less is the same, levels.
    motion_min: f32,
    /// Where both are locked, the test is first.
    sight: Mutex<Sight>,
    test: Mutex<Option<Test>>,
}

/// A clap test under way.
#[derive(Debug)]
struct Test {
    claps: ClapTest,
    /// The moments of the pictures that nobody else wants.
    owed: BTreeSet<Moment>,
    /// Up to where sound was listened to.
    heard_until: Option<Moment>,
}

impl CameraProbe {
    /// `motion_min` as `gates.motion_min` says.
    pub(crate) fn new(motion_min: f32, masks: Vec<Polygon>) -> Self {
        Self { motion_min, sight: Mutex::new(Sight::new(masks)), test: Mutex::new(None) }
    }

    /// Begins a clap test, or begins it anew. `set` is the offset that the ring's sound was moved by.
    pub(crate) fn begin_clap(&self, set: Span, rate_hz: u32) {
        let claps = ClapTest::new(set, rate_hz);
        *lock(&self.test) = Some(Test { claps, owed: BTreeSet::new(), heard_until: None });
    }

    /// Ends it.
    pub(crate) fn end_clap(&self) {
        *lock(&self.test) = None;
    }

    /// Whether a clap test wants the picture of `moment`, which the network will not see.
    pub(crate) fn wants(&self, moment: Moment) -> bool {
        let mut test = lock(&self.test);
        let Some(test) = &mut *test else { return false };
        if OWED_MAX <= test.owed.len() {
            test.owed.pop_first();
        }
        test.owed.insert(moment)
    }

    /// Looks at a picture. Returns whether the network wants it, too.
    pub(crate) fn look(&self, moment: Moment, picture: Rgb<'_>) -> bool {
        let mut test = lock(&self.test);
        let Some(test) = &mut *test else {
            lock(&self.sight).look(moment, picture);
            return true;
        };
        let is_for_claps_alone = test.owed.remove(&moment);
        let mut sight = lock(&self.sight);
        let motion = if is_for_claps_alone { sight.glance(moment, picture) } else { sight.look(moment, picture) };
        motion.into_iter().for_each(|it| test.claps.look(it));
        !is_for_claps_alone
    }

    /// Says by how much a picture differs from the one before it that the network saw, levels.
    pub(crate) fn moved(&self, moment: Moment, motion: f32) {
        if self.motion_min <= motion {
            lock(&self.sight).changed(moment);
        }
    }

    /// Adds what was measured to a survey.
    pub(crate) fn tell(&self, now: Moment, survey: &mut ProbeRecord) {
        let estimate = lock(&self.test).as_ref().map_or_else(Estimate::default, |it| it.claps.estimate());
        survey.clap_offset_ms = estimate.offset_ms;
        survey.clap_confidence = estimate.confidence;
        survey.claps = estimate.claps;
        let sight = lock(&self.sight);
        survey.contrast = sight.contrast();
        survey.sharpness = sight.sharpness();
        survey.frozen_ms = u32::try_from(sight.frozen(now).as_ms()).unwrap_or(u32::MAX);
        let is_seen = sight.newest().is_some_and(|newest| now - newest < SEEN_LATELY);
        if survey.step == Step::KeyFrame && is_seen {
            survey.step = Step::Decoded;
        }
    }
}

/// Measures sound; its buffers serve one camera after another.
#[derive(Debug)]
pub(crate) struct Listener {
    hum: HumFinder,
    samples: Vec<f32>,
}

impl Listener {
    /// For sound of this rate. `None` for a network that does not hear.
    pub(crate) fn new(rate_hz: u32) -> Option<Self> {
        let samples = usize::try_from(i64::from(rate_hz) * HEARD.as_ms() / 1000).ok()?;
        (RATE_MIN_HZ <= rate_hz).then(|| Self { hum: HumFinder::new(rate_hz), samples: vec![0.0; samples] })
    }

    /// Adds what is heard to a survey, and hands a clap test the newest sound.
    pub(crate) fn tell(&mut self, now: Moment, ring: &Mutex<SoundRing>, gauge: &CameraProbe, survey: &mut ProbeRecord) {
        let (end, rate_hz) = {
            let ring = lock(ring);
            (ring.end(), ring.rate_hz())
        };
        let Some(end) = end.filter(|end| now - *end < HEARD_LATELY) else { return };
        if let Some(test) = &mut *lock(&gauge.test) {
            self.listen(test, ring, end);
        }
        let Ok(coverage) = lock(ring).read(end - HEARD, end, &mut self.samples) else { return };
        if coverage.share() < SHARE_MIN {
            return;
        }
        let levels = levels(&self.samples, rate_hz);
        survey.noise_floor_cdb = levels.noise_floor_cdb;
        survey.peak_cdb = levels.peak_cdb;
        let clipped = u64::from(coverage.clipped) * 1000 / u64::from(coverage.covered.max(1));
        survey.clipped_permille = u16::try_from(clipped).unwrap_or(1000);
        if let Some(hum) = self.hum.find(&self.samples) {
            survey.hum_hz = hum.mains_hz;
            #[allow(clippy::cast_possible_truncation, reason = "clamped to the range of the record")]
            let hum_cdb = (hum.against_rest_db * 100.0).clamp(f64::from(LEVEL_NONE_CDB), 10_000.0) as i16;
            survey.hum_cdb = hum_cdb.max(HUM_NONE_CDB + 1);
        }
    }

    /// Hands on the sound since the last time, at most as much as the buffer holds.
    fn listen(&mut self, test: &mut Test, ring: &Mutex<SoundRing>, end: Moment) {
        let from = test.heard_until.unwrap_or(end).max(end - HEARD);
        let Ok(coverage) = lock(ring).read(from, end, &mut self.samples) else {
            test.heard_until = Some(end);
            return;
        };
        let samples = usize::try_from(coverage.total).unwrap_or(0).min(self.samples.len());
        test.claps.listen(from, &self.samples[..samples]);
        test.heard_until = Some(end);
    }
}
