//! What an installer wants to know of one camera beside its vitals. Only a dry run sends this record.

use binrw::{BinRead, BinWrite};

use super::{
    super::estimate::{Estimate, Estimates},
    CameraId, Step, bad, is_distribution,
};

/// In place of a level where nothing was heard, hundredths of a dB.
pub(crate) const LEVEL_NONE_CDB: i16 = -10_000;
/// In place of the strength of a hum where there is none, hundredths of a dB.
pub(crate) const HUM_NONE_CDB: i16 = i16::MIN;
/// In place of a window's motion where it is not known, thousandths of a level.
pub(crate) const MOTION_NONE_MILLI: u16 = u16::MAX;

/// What one camera, its sound and the network on it look like, about once a second. Numbers that are measured over
/// time forget what was before a few seconds ago, so that the effect of turning a lens or a knob shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BinRead, BinWrite)]
#[brw(little)]
pub struct ProbeRecord {
    /// Which camera.
    #[br(map = CameraId)]
    #[bw(map = |camera| camera.0)]
    pub camera: CameraId,
    /// How far the connection has come.
    pub step: Step,
    /// Standard deviation of luma over the newest picture in the network's size, 0 to 127. 0 before the first one.
    pub contrast: u8,
    /// The mains frequency of that hum, Hz: 50 or 60; 0 where there is none.
    #[br(assert(matches!(hum_hz, 0 | 50 | 60), bad("hum")))]
    pub hum_hz: u8,
    /// How sure that is, percent; 0 outside a clap test. It is to be relied on from
    /// [`Self::CLAP_CONFIDENCE_MIN`] on.
    pub clap_confidence: u8,
    /// How many claps the test has heard and seen so far, of the last half minute. Six to ten are wanted, at an uneven
    /// pace, one in about two seconds, with the hands together for a moment after each.
    pub claps: u8,
    /// Since the picture last changed by `gates.motion_min` or more, ms. 0 before the first one. About one picture a
    /// second is decoded, so that less than 2000 means nothing.
    pub frozen_ms: u32,
    /// Interarrival jitter of the picture's RTP packets as in RFC 3550, 6.4.1, microseconds; 0 where there is no RTP.
    pub jitter_us: u32,
    /// From an RTSP request to the camera's answer, the quickest of the connection's set-up, microseconds; 0 where it
    /// is not known.
    pub round_trip_us: u32,
    /// RTP packets of all media that came since the start of `ingest`: what `Vital::packets_lost` is to be compared
    /// with. 0 where there is no RTP.
    pub packets: u32,
    /// The camera's wall clock by its RTCP sender reports, minus ours, ms, saturating; [`i32::MIN`] where it is not
    /// known (RTCP has not come yet, or never will).
    pub camera_clock_ms: i32,
    /// The noise floor: the level that a tenth of the last seconds' short blocks stay below, hundredths of a dB below
    /// full scale; [`LEVEL_NONE_CDB`] without sound.
    pub noise_floor_cdb: i16,
    /// The largest sample of the last seconds, hundredths of a dB below full scale; [`LEVEL_NONE_CDB`] without sound.
    pub peak_cdb: i16,
    /// The power of mains hum and its harmonics against all other sound of the last seconds, hundredths of a dB;
    /// [`HUM_NONE_CDB`] where there is no hum.
    pub hum_cdb: i16,
    /// The clap test: what to set `sync.offset_ms` to, whatever it is set to now: how much later the sound of an event
    /// arrives than its picture, ms. 0 while [`Self::claps`] is 0.
    pub clap_offset_ms: i16,
    /// Variance of the Laplacian of luma of the newest picture, capped at 65535: the higher, the sharper. 0 before the
    /// first one. The picture is first brought to a width of [`Self::SHARPNESS_WIDTH`] pixels by averaging, so that
    /// cameras of different sizes can be compared; one that is narrower stays as it is.
    pub sharpness: u16,
    /// How many of 1000 samples of the last seconds are at full scale.
    pub clipped_permille: u16,
    /// What the network estimates of the newest window beside the emotion, thousandths; 0 where it does not.
    pub estimates_permille: Estimates<u16>,
    /// The network's answer for the newest window, calibrated but not smoothed, in units of 1/10000 and in the order
    /// of `Emotion::ALL`; zero where it sees too few people, or no window was inferred.
    #[br(assert(is_distribution(&probabilities), bad("probabilities")))]
    pub probabilities: [u16; 3],
    /// The slot of the newest window, so that each of the probabilities is counted once; 0 before the first.
    pub slot: u64,
    /// The motion of the newest window, in thousandths of a level: what `gates.motion_min` is compared with, which is
    /// the mean absolute difference of luma to the frame before, of the frame where it is largest. Capped at 65.534
    /// levels; [`MOTION_NONE_MILLI`] where the window has too few frames, or none with a frame before it.
    pub motion_milli: u16,
}

impl ProbeRecord {
    /// The width that pictures are compared in for [`Self::sharpness`], pixels.
    pub const SHARPNESS_WIDTH: u32 = 640;
    /// From this [`Self::clap_confidence`] on the offset is within 40 ms, percent.
    pub const CLAP_CONFIDENCE_MIN: u8 = 80;

    /// A camera whose values are all unknown.
    #[must_use]
    pub const fn unknown(camera: CameraId) -> Self {
        Self {
            camera,
            step: Step::None,
            contrast: 0,
            sharpness: 0,
            frozen_ms: 0,
            jitter_us: 0,
            round_trip_us: 0,
            packets: 0,
            camera_clock_ms: i32::MIN,
            noise_floor_cdb: LEVEL_NONE_CDB,
            peak_cdb: LEVEL_NONE_CDB,
            clipped_permille: 0,
            hum_cdb: HUM_NONE_CDB,
            hum_hz: 0,
            clap_offset_ms: 0,
            clap_confidence: 0,
            claps: 0,
            probabilities: [0; 3],
            estimates_permille: [0; Estimate::COUNT],
            motion_milli: MOTION_NONE_MILLI,
            slot: 0,
        }
    }

    /// [`Self::motion_milli`] in levels, where it is known.
    #[must_use]
    pub fn motion(&self) -> Option<f64> {
        (self.motion_milli != MOTION_NONE_MILLI).then(|| f64::from(self.motion_milli) / 1000.0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::Record, *};

    pub(in super::super) fn record() -> ProbeRecord {
        ProbeRecord {
            camera: CameraId(7),
            step: Step::KeyFrame,
            contrast: 41,
            sharpness: 730,
            frozen_ms: 40,
            jitter_us: 1200,
            round_trip_us: 2100,
            packets: 90_000,
            camera_clock_ms: -3_600_000,
            noise_floor_cdb: -5210,
            peak_cdb: -300,
            clipped_permille: 2,
            hum_cdb: -640,
            hum_hz: 50,
            clap_offset_ms: -180,
            clap_confidence: 93,
            claps: 6,
            probabilities: [1000, 2000, 7000],
            estimates_permille: [84; Estimate::COUNT],
            motion_milli: 1234,
            slot: 360_000_000,
        }
    }

    #[test]
    fn a_record_with_impossible_numbers_is_refused() {
        let good = Record::ProbeRecord(record()).to_bytes();
        let check = |at: usize, value: u8, field: &'static str| {
            let mut bytes = good;
            bytes[at] = value;
            assert_eq!(Record::from_bytes(&bytes), Err(bad(field)), "byte {at}");
        };
        check(4, 99, "step");
        check(6, 51, "hum");
        // What more a network estimates moves the rest.
        let more = 2 * (Estimate::COUNT - 1);
        check(43 + more, 255, "probabilities");
        check(59 + more, 1, "padding");
    }

    #[test]
    fn motion_is_in_levels_where_it_is_known() {
        assert_eq!(record().motion(), Some(1.234));
        assert_eq!(ProbeRecord::unknown(CameraId(0)).motion(), None);
    }
}
