//! Pictures and sound through real encoders, decoders and a microphone.

mod microphone;
mod sound;
mod video;

use edge_ger::{
    time::Moment,
    wire::{
        CameraId,
        unit::{Codec, Unit},
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

fn unit(codec: Codec, seq: usize, coded: &Coded, rate_hz: u32, channels: u8) -> Unit {
    let moment = Moment(BEGIN.0 + coded.pts_ns);
    Unit {
        camera: CameraId(0),
        codec,
        key: coded.key,
        fresh: seq == 0,
        seq: u32::try_from(seq).unwrap(),
        lost: 0,
        rate_hz,
        channels,
        moment,
        arrival: moment,
    }
}
