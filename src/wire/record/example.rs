//! What a camera that is well sends: for tests and benches that speak as `infer` would.

use super::{CameraFault, CameraId, CameraState, Emotion, Outcome, PictureCodec, Provider, Reading, SoundState, Vital};

/// The end of slot 0, milliseconds since 1970 UTC; the other slots follow it at a hop of 5 s.
pub const START_MS: u64 = 1_795_000_000_000;

/// A group of five or more that is mostly positive.
#[must_use]
pub fn reading(camera: CameraId, slot: u64) -> Reading {
    Reading {
        camera,
        slot,
        window_end_ms: START_MS.saturating_add(slot.saturating_mul(5000)),
        outcome: Outcome::Label(Emotion::Positive),
        probabilities: [8123, 1000, 877],
        group_at_least: Some(5),
        sound: SoundState::Present,
        frame_offset_ms: 120,
        latency_ms: 88,
        inference_ms: 61,
    }
}

/// A camera that is online, after a while with its usual small losses. No number stands in it twice.
#[must_use]
pub fn vital(camera: CameraId) -> Vital {
    Vital {
        camera,
        state: CameraState::Online,
        fault: CameraFault::None,
        sound: SoundState::Present,
        provider: Provider::Cpu,
        fps_x100: 2500,
        key_distance_ms: 1000,
        kbps: 4000,
        packets_lost: 7,
        units_dropped: 8,
        outages: 2,
        level_cdb: -3050,
        camera_drift_ppm: -40,
        sound_drift_ppm: 25,
        decode_us: 9000,
        inference_us: 61_000,
        labelled: 10,
        withheld: 3,
        luma: 99,
        codec: PictureCodec::H264,
        width: 1920,
        height: 1080,
        sound_lost_ms: 12,
    }
}
