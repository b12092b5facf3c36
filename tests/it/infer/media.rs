//! Pictures and sound through real encoders, decoders and a microphone.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::let_underscore_must_use,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where it fails"
)]

mod microphone;
mod sound;
mod video;

use edge_ger::{
    time::Moment,
    wire::{
        CameraId,
        access_unit::{AccessUnit, Codec, UnitHeader},
    },
};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};

/// What an encoder made of one frame or block.
struct Coded {
    bytes: Vec<u8>,
    pts_ns: i64,
    key: bool,
}

/// All media of these tests begin here on our clock.
const BEGIN: Moment = Moment(5_000_000_000_000);

/// Encodes raw buffers of `caps`, each `duration_ns` long, with a GStreamer chain.
fn encode(caps: &str, chain: &str, duration_ns: u64, buffers: impl IntoIterator<Item = Vec<u8>>) -> Vec<Coded> {
    gst::init().unwrap();
    let chain = format!("appsrc name=in format=time caps={caps} ! {chain} ! appsink name=out sync=false");
    let pipeline = gst::parse::launch(&chain).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("in").unwrap().downcast::<AppSrc>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut pts = gst::ClockTime::ZERO;
    for bytes in buffers {
        let mut buffer = gst::Buffer::from_slice(bytes);
        buffer.get_mut().unwrap().set_pts(pts);
        buffer.get_mut().unwrap().set_duration(gst::ClockTime::from_nseconds(duration_ns));
        source.push_buffer(buffer).unwrap();
        pts += gst::ClockTime::from_nseconds(duration_ns);
    }
    source.end_of_stream().unwrap();
    let mut coded = Vec::new();
    let mut first = None;
    while let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(20)) {
        let buffer = sample.buffer().unwrap();
        // An encoder with B-frames puts everything off so that no decoding time is negative.
        let pts = i64::try_from(buffer.pts().unwrap().nseconds()).unwrap();
        let first = *first.get_or_insert(pts);
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        coded.push(Coded { bytes: buffer.map_readable().unwrap().to_vec(), pts_ns: pts - first, key });
    }
    let fault = pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
    assert!(fault.is_none(), "{fault:?}");
    pipeline.set_state(gst::State::Null).unwrap();
    coded
}

/// A unit that is wanted.
fn unit(codec: Codec, seq: usize, coded: &Coded, rate_hz: u32, channels: u8) -> AccessUnit<Vec<u8>> {
    let moment = Moment(BEGIN.0 + coded.pts_ns);
    let header = UnitHeader {
        camera: CameraId(0),
        codec,
        is_key: coded.key,
        discontinuity: seq == 0,
        wanted: true,
        seq: u32::try_from(seq).unwrap(),
        lost: 0,
        rate_hz,
        channels,
        moment,
        arrival: moment,
    };
    AccessUnit { header, bytes: coded.bytes.clone() }
}

/// What a stretch of sound is, taken as a single sine.
#[derive(Debug)]
struct Tone {
    hz: f64,
    /// Amplitude of the sine.
    amplitude: f64,
    /// All that is not the sine, relative to it, dB.
    others_db: f64,
}

impl Tone {
    /// Finds the strongest sine of a tenth of a second or so.
    fn of(samples: &[f32], rate_hz: f64) -> Self {
        // Goertzel's algorithm.
        let project = |hz: f64| {
            let step = hz / rate_hz * std::f64::consts::TAU;
            let (factor, mut newer, mut older) = (2.0 * step.cos(), 0.0, 0.0);
            for sample in samples {
                (newer, older) = (f64::from(*sample) + factor * newer - older, newer);
            }
            (newer * newer + older * older - factor * newer * older).max(0.0).sqrt() * 2.0 / samples.len() as f64
        };
        let best = |from: f64, step: f64, count: u32| {
            let candidates = (0..count).map(|n| from + f64::from(n) * step);
            candidates.max_by(|a, b| project(*a).total_cmp(&project(*b))).unwrap()
        };
        // A peak is as wide as the inverse of the duration, so no peak is between two steps of half of that.
        let width = rate_hz / samples.len() as f64;
        let near = best(width, width / 2.0, (8000.0 / width).min(rate_hz / width - 4.0) as u32);
        let hz = best(near - width / 2.0, width / 50.0, 51);
        let amplitude = project(hz);
        let power = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / samples.len() as f64;
        let others = (power - amplitude * amplitude / 2.0).max(1e-12);
        Self { hz, amplitude, others_db: 10.0 * (others / (amplitude * amplitude / 2.0)).log10() }
    }

    /// Checks that a long sound is this sine. Some tenths of a second may differ: a busy machine makes the clocks
    /// seem to differ, and samples are skipped or repeated then.
    #[track_caller]
    fn check(samples: &[f32], rate_hz: f64, expected_hz: f64, expected_amplitude: f64, others_db: f64) {
        let tones: Vec<_> = samples.chunks_exact(rate_hz as usize / 10).map(|part| Self::of(part, rate_hz)).collect();
        let is_good = |tone: &&Self| {
            (tone.hz - expected_hz).abs() < 2.0
                && (tone.amplitude / expected_amplitude - 1.0).abs() < 0.05
                && tone.others_db < others_db
        };
        let good = tones.iter().filter(is_good).count();
        assert!(tones.len() * 8 / 10 <= good, "{good} of {} are good: {tones:?}", tones.len());
    }
}
