//! The probe of a dry run: numbers only, for the installer at the camera. Nothing here asks a clock; pictures stay in
//! [`PictureProbe`].

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use super::{
    Probe,
    claps::{ClapTest, SoundOffset},
    picture::PictureProbe,
    sound::levels,
};
use crate::{
    config::{Camera, Gates},
    infer::{
        aggregate::Step as AggregateStep,
        features::{hum::HumFinder, picture::Rgb},
        receiver::lock,
        ring::{FrameRing, SoundRing},
        runtime::Answer,
        window::Window,
    },
    time::{Moment, Span},
    wire::{
        CameraId,
        access_unit::CameraStatus,
        control::Sampling,
        estimate::{Estimate, Estimates},
        record::{HUM_NONE_CDB, LEVEL_NONE_CDB, MOTION_NONE_MILLI, ProbeRecord, Step},
    },
};

/// Levels and hum are measured over this time.
const SOUND_SPAN: Span = Span::from_ms(5000);
/// Sound whose end is older than this is not measured any more.
const SOUND_AGE_MAX: Span = Span::from_ms(2000);
/// Where less than this share of the sound came, it has no level: gaps would lower the noise floor.
const SHARE_MIN: f32 = 0.9;
/// A picture older than this does not show that the present connection can be decoded.
const PICTURE_AGE_MAX: Span = Span::from_ms(12_000);
/// The hum finder needs this rate or more, Hz.
const RATE_MIN_HZ: u32 = 8000;
/// More pictures than this are not inside a decoder.
const PENDING_MAX: usize = 256;

/// Makes the probes of all cameras.
pub(crate) struct SiteProbes {
    /// Of the network's sound, Hz; 0 if it uses none.
    rate_hz: u32,
    /// Its buffers serve one camera after another; `None` if the network uses no sound.
    sound: Option<Arc<Mutex<SoundProbe>>>,
}

impl SiteProbes {
    /// `rate_hz` is the rate of the network's sound, if it uses sound.
    pub(super) fn new(rate_hz: Option<u32>) -> Self {
        let sound = rate_hz.and_then(SoundProbe::new).map(|sound| Arc::new(Mutex::new(sound)));
        Self { rate_hz: rate_hz.unwrap_or(0), sound }
    }

    pub(super) fn probe(&self, camera: &Camera) -> SiteProbe {
        let motion_min = camera.gates.motion_min.get_f32();
        SiteProbe {
            camera: camera.id,
            sync_offset: camera.sync_offset,
            rate_hz: self.rate_hz,
            motion_min: if 0.0 < motion_min { motion_min } else { Gates::default().motion_min.get_f32() },
            picture: Mutex::new(PictureProbe::new(camera.masks.clone())),
            test: Mutex::new(None),
            newest: Mutex::new(NewestSlot::default()),
            sound: self.sound.clone(),
        }
    }
}

/// Measures one camera.
#[derive(Debug)]
pub(super) struct SiteProbe {
    camera: CameraId,
    /// By how much the moments of the sound were moved already.
    sync_offset: Span,
    /// Of the network's sound, Hz; 0 if it uses none.
    rate_hz: u32,
    /// A picture that differs from the one before by less counts as unchanged, levels.
    motion_min: f32,
    /// Where this and the test are locked, the test is first.
    picture: Mutex<PictureProbe>,
    test: Mutex<Option<Test>>,
    newest: Mutex<NewestSlot>,
    sound: Option<Arc<Mutex<SoundProbe>>>,
}

/// A clap test that is running.
#[derive(Debug)]
struct Test {
    claps: ClapTest,
    /// The moments of the pictures that only the test wants.
    pending: BTreeSet<Moment>,
    /// The end of the sound that it was given.
    sound_until: Option<Moment>,
}

/// What is reported of the newest slot.
#[derive(Clone, Copy, Debug, Default)]
struct NewestSlot {
    slot: u64,
    probabilities: [u16; 3],
    estimates_permille: Estimates<u16>,
    /// How much its window moved, levels.
    motion: Option<f32>,
    /// The same of the window of the slot that is about to end.
    next_motion: Option<f32>,
}

impl Probe for SiteProbe {
    fn wants(&self, moment: Moment) -> bool {
        let mut test = lock(&self.test);
        let Some(test) = &mut *test else { return false };
        if PENDING_MAX <= test.pending.len() {
            test.pending.pop_first();
        }
        test.pending.insert(moment)
    }

    fn on_picture(&self, moment: Moment, picture: Rgb<'_>) -> bool {
        let mut test = lock(&self.test);
        let Some(test) = &mut *test else {
            lock(&self.picture).measure(moment, picture);
            return true;
        };
        let is_for_test_only = test.pending.remove(&moment);
        let mut probe = lock(&self.picture);
        let motion =
            if is_for_test_only { probe.measure_motion(moment, picture) } else { probe.measure(moment, picture) };
        if let Some(motion) = motion {
            test.claps.add_motion(motion);
        }
        !is_for_test_only
    }

    fn on_frame(&self, moment: Moment, motion: f32) {
        if self.motion_min <= motion {
            lock(&self.picture).set_changed(moment);
        }
    }

    fn on_window(&self, slot: u64, window: &Window, frames: &FrameRing) {
        lock(&self.newest).next_motion = window.motion(slot, frames.metas());
    }

    fn on_slot(&self, slot: u64, answer: Option<Answer>, step: &AggregateStep) {
        let estimates = answer.map_or_else(Estimates::default, |answer| answer.estimates);
        let mut newest = lock(&self.newest);
        *newest = NewestSlot {
            slot,
            probabilities: step.calibrated,
            estimates_permille: estimates_permille(&estimates, step.group_at_least != Some(0)),
            motion: newest.next_motion,
            next_motion: None,
        };
    }

    fn on_sampling(&self, sampling: Sampling) {
        *lock(&self.test) = match sampling {
            Sampling::Grid => None,
            Sampling::All => Some(Test {
                claps: ClapTest::new(self.sync_offset, self.rate_hz.max(1)),
                pending: BTreeSet::new(),
                sound_until: None,
            }),
        };
    }

    fn record(&self, now: Moment, status: CameraStatus, sound: &Mutex<SoundRing>) -> Option<ProbeRecord> {
        let newest = *lock(&self.newest);
        let mut record = ProbeRecord {
            step: status.step,
            jitter_us: status.jitter_us,
            round_trip_us: status.round_trip_us,
            packets: status.packets,
            camera_clock_ms: status.camera_clock_ms,
            slot: newest.slot,
            probabilities: newest.probabilities,
            estimates_permille: newest.estimates_permille,
            motion_milli: newest.motion.map_or(MOTION_NONE_MILLI, thousandths),
            ..ProbeRecord::unknown(self.camera)
        };
        if let Some(probe) = &self.sound {
            lock(probe).measure(now, sound, &mut lock(&self.test), &mut record);
        }
        let offset = lock(&self.test).as_ref().map_or_else(SoundOffset::default, |test| test.claps.estimate());
        record.clap_offset_ms = offset.offset_ms;
        record.clap_confidence = offset.confidence;
        record.claps = offset.claps;
        let picture = lock(&self.picture);
        record.contrast = picture.contrast();
        record.sharpness = picture.sharpness();
        record.frozen_ms = u32::try_from(picture.unchanged_for(now).as_ms()).unwrap_or(u32::MAX);
        let is_decoded = picture.newest().is_some_and(|newest| now - newest < PICTURE_AGE_MAX);
        if record.step == Step::KeyFrame && is_decoded {
            record.step = Step::Decoded;
        }
        Some(record)
    }
}

/// Of levels; capped below the value that stands for an unknown motion.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, as it should")]
fn thousandths(levels: f32) -> u16 {
    ((levels * 1000.0).round() as u16).min(MOTION_NONE_MILLI - 1)
}

/// The estimates for a record; without people, those that say something of people are 0.
fn estimates_permille(estimates: &Estimates<Option<f32>>, has_people: bool) -> Estimates<u16> {
    Estimate::ALL.map(|estimate| match estimate.of(estimates) {
        Some(value) if has_people || !estimate.is_of_people() => permille(*value),
        _ => 0,
    })
}

/// Of a share from 0 to 1.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 1000")]
fn permille(share: f32) -> u16 {
    (share * 1000.0).round().clamp(0.0, 1000.0) as u16
}

/// Measures sound.
#[derive(Debug)]
struct SoundProbe {
    hum: HumFinder,
    samples: Vec<f32>,
}

impl SoundProbe {
    /// For sound of this rate; `None` if it is too low.
    fn new(rate_hz: u32) -> Option<Self> {
        let samples = usize::try_from(i64::from(rate_hz) * SOUND_SPAN.as_ms() / 1000).ok()?;
        (RATE_MIN_HZ <= rate_hz).then(|| Self { hum: HumFinder::new(rate_hz), samples: vec![0.0; samples] })
    }

    /// Writes levels and hum of the newest sound into `record`, and gives a clap test the sound that is new.
    fn measure(&mut self, now: Moment, ring: &Mutex<SoundRing>, test: &mut Option<Test>, record: &mut ProbeRecord) {
        let (end, rate_hz) = {
            let ring = lock(ring);
            (ring.end(), ring.rate_hz())
        };
        let Some(end) = end.filter(|end| now - *end < SOUND_AGE_MAX) else { return };
        if let Some(test) = test {
            self.give(test, ring, end);
        }
        let Ok(coverage) = lock(ring).read(end - SOUND_SPAN, end, &mut self.samples) else { return };
        if coverage.share() < SHARE_MIN {
            return;
        }
        let levels = levels(&self.samples, rate_hz);
        record.noise_floor_cdb = levels.noise_floor_cdb;
        record.peak_cdb = levels.peak_cdb;
        let clipped = u64::from(coverage.clipped) * 1000 / u64::from(coverage.covered.max(1));
        record.clipped_permille = u16::try_from(clipped).unwrap_or(1000);
        if let Some(hum) = self.hum.find(&self.samples) {
            record.hum_hz = hum.mains_hz;
            #[allow(clippy::cast_possible_truncation, reason = "clamped to the range of the record")]
            let hum_cdb = (hum.against_rest_db * 100.0).clamp(f64::from(LEVEL_NONE_CDB), 10_000.0) as i16;
            record.hum_cdb = hum_cdb.max(HUM_NONE_CDB + 1);
        }
    }

    /// Gives a test the sound since the last time, at most as much as the buffer holds.
    fn give(&mut self, test: &mut Test, ring: &Mutex<SoundRing>, end: Moment) {
        let from = test.sound_until.unwrap_or(end).max(end - SOUND_SPAN);
        test.sound_until = Some(end);
        let Ok(coverage) = lock(ring).read(from, end, &mut self.samples) else { return };
        let samples = usize::try_from(coverage.total).unwrap_or(0).min(self.samples.len());
        test.claps.add_sound(from, &self.samples[..samples]);
    }
}
