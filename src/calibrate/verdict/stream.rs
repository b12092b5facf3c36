//! The compressed picture, and what decoding it costs.

use super::{Item, Section, View};
use crate::{
    calibrate::{
        bounds,
        grade::Grade,
        headroom::{Machine, Stream},
    },
    config::Decode,
    wire::record::{PictureCodec, Provider, Vital},
};

pub(super) fn items(view: &View<'_>) -> Vec<Item> {
    vec![codec(view), size(view), frame_rate(view), key_frames(view), decoding(view), bit_rate(view)]
}

/// The stream of a camera whose frame rate is known.
pub(super) fn stream(view: &View<'_>, vital: &Vital) -> Option<Stream> {
    (0 < vital.fps_x100).then(|| Stream {
        fps: f64::from(vital.fps_x100) / 100.0,
        key_distance_s: Some(f64::from(vital.key_distance_ms) / 1000.0).filter(|it| 0.0 < *it),
        decode: view.camera.decode,
        offset_max_s: view.camera.gates.frame_offset_max_ms.span().as_secs_f64(),
        frames: view.facts.network.frames,
        clip_s: view.facts.network.clip_s,
        hop_s: view.facts.hop_s,
    })
}

/// What the work takes here, once both parts of it were measured.
pub(super) fn machine(view: &View<'_>, vital: &Vital) -> Option<Machine> {
    let facts = view.facts;
    let inference_cores = match vital.provider {
        Provider::None => return None,
        Provider::Cpu if facts.threads == 0 => facts.cores,
        Provider::Cpu => facts.threads.min(facts.cores),
        Provider::Cuda | Provider::TensorRt => 0,
    };
    (0 < vital.decode_us && 0 < vital.inference_us).then(|| Machine {
        decode_s: f64::from(vital.decode_us) / 1e6,
        inference_s: f64::from(vital.inference_us) / 1e6,
        cores: facts.cores,
        inference_cores,
    })
}

fn codec(view: &View<'_>) -> Item {
    let item = Item::new(Section::Stream, "codec", "codec").should_be("H.264, H.265 or MJPEG");
    match view.seen.vital.map_or(PictureCodec::Unknown, |it| it.codec) {
        PictureCodec::Unknown => item,
        PictureCodec::H264 => item.is("H.264").graded(Grade::Pass, ""),
        PictureCodec::H265 => item.is("H.265").graded(Grade::Pass, ""),
        PictureCodec::Mjpeg => item.is("MJPEG").graded(Grade::Pass, ""),
    }
}

fn size(view: &View<'_>) -> Item {
    let network = view.facts.network.size;
    let bound = format!("at least the {} × {} of the network, at most 1920 × 1080", network.0, network.1);
    let item = Item::new(Section::Stream, "size", "picture size").should_be(bound);
    let Some(vital) = view.seen.vital.filter(|it| 0 < it.width && 0 < it.height) else { return item };
    let (width, height) = (f64::from(vital.width), f64::from(vital.height));
    let of_network = (height / f64::from(network.1)).min(width / f64::from(network.0));
    let small = bounds::HEIGHT_OF_NETWORK.grade(of_network);
    let (grade, cure) = match small {
        Grade::Pass => {
            let cure = "more than the network sees, and dear to decode: use the camera's substream";
            (bounds::PIXELS.grade(width * height), cure)
        }
        small => {
            (small, "smaller than what the network sees: set the camera to a larger picture, or use its main stream")
        }
    };
    item.measured(height, "pixels high").is(format!("{} × {}", vital.width, vital.height)).graded(grade, cure)
}

fn frame_rate(view: &View<'_>) -> Item {
    let per_s = f64::from(view.facts.network.frames) / view.facts.network.clip_s;
    let bound = bounds::FRAME_RATE.times(per_s);
    let item = Item::new(Section::Stream, "frame_rate", "frame rate").should_be(bound.words("per second"));
    let Some(fps) = view.seen.online().map(|it| f64::from(it.fps_x100) / 100.0).filter(|it| 0.0 < *it) else {
        return item;
    };
    let cure = "raise the camera's frame rate; switch off its long exposures (slow shutter)";
    item.measured(fps, "1/s").is(format!("{fps:.1} per second")).graded(bound.grade(fps), cure)
}

fn key_frames(view: &View<'_>) -> Item {
    let allowed_s = 2.0 * view.camera.gates.frame_offset_max_ms.span().as_secs_f64();
    let item = Item::new(Section::Stream, "key_frames", "key frames")
        .should_be(format!("one every {:.2} s or more often", allowed_s * 0.9));
    let stream = view.seen.online().and_then(|vital| stream(view, vital));
    let Some((stream, distance_s)) = stream.and_then(|it| Some((it, it.key_distance_s?))) else { return item };
    let (what, grade) = match (view.camera.decode, stream.is_by_keys()) {
        (Decode::All, _) => ("all frames are decoded", Grade::Pass),
        (Decode::Keyframes, _) if allowed_s < distance_s => ("too few for the network", Grade::Fail),
        (_, Some(true)) => ("they alone are decoded", Grade::Pass),
        (_, _) => ("those between are decoded, too", Grade::Warn),
    };
    let cure = "set the camera's key-frame distance (I-frame interval, GOP) to one second, and switch off its \"smart\" \
                codec: then key frames alone need to be decoded";
    item.measured(distance_s, "s").is(format!("every {distance_s:.2} s: {what}")).graded(grade, cure)
}

fn decoding(view: &View<'_>) -> Item {
    let bound = bounds::DECODING_CORES.times(100.0);
    let item = Item::new(Section::Stream, "decoding", "decoding").should_be(bound.words("% of a core"));
    let Some((vital, stream)) = view.seen.online().and_then(|it| Some((it, stream(view, it)?))) else { return item };
    if vital.decode_us == 0 {
        return item;
    }
    let ms = f64::from(vital.decode_us) / 1000.0;
    let percent = 100.0 * stream.decoded_per_s() * ms / 1000.0;
    let value = format!("{percent:.1} % of a core ({:.1} frames/s of {ms:.1} ms)", stream.decoded_per_s());
    let cure = "a key frame every second, the camera's substream, a longer reading.hop_s, or a hardware decoder";
    item.measured(percent, "%").is(value).graded(bound.grade(percent), cure)
}

fn bit_rate(view: &View<'_>) -> Item {
    let item = Item::new(Section::Stream, "bit_rate", "bit rate").should_be(bounds::BIT_RATE_KBPS.words("kbit/s"));
    let Some(vital) = view.seen.online().filter(|it| 0 < it.kbps) else { return item };
    let kbps = f64::from(vital.kbps);
    let cure = "the network does not need so much: lower the camera's bit rate, or use its substream";
    item.measured(kbps, "kbit/s").is(format!("{} kbit/s", vital.kbps)).graded(bounds::BIT_RATE_KBPS.grade(kbps), cure)
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{grades, item},
        *,
    };

    #[test]
    fn the_stream_is_judged_at_its_bounds() {
        let vital = |key: &str, grade, change: fn(&mut Vital)| {
            grades(key, grade, |seen, _| change(seen.vital.as_mut().unwrap()));
        };
        vital("codec", Grade::Unknown, |it| it.codec = PictureCodec::Unknown);
        vital("codec", Grade::Pass, |it| it.codec = PictureCodec::H265);
        vital("size", Grade::Unknown, |it| it.width = 0);
        vital("size", Grade::Pass, |it| (it.width, it.height) = (1920, 1088));
        vital("size", Grade::Warn, |it| (it.width, it.height) = (2560, 1440));
        vital("size", Grade::Pass, |it| (it.width, it.height) = (192, 192));
        vital("size", Grade::Warn, |it| (it.width, it.height) = (191, 192));
        vital("size", Grade::Warn, |it| (it.width, it.height) = (320, 96));
        vital("size", Grade::Fail, |it| (it.width, it.height) = (320, 95));
        vital("frame_rate", Grade::Unknown, |it| it.fps_x100 = 0);
        vital("frame_rate", Grade::Pass, |it| it.fps_x100 = 500);
        vital("frame_rate", Grade::Warn, |it| it.fps_x100 = 499);
        vital("frame_rate", Grade::Warn, |it| it.fps_x100 = 100);
        vital("frame_rate", Grade::Fail, |it| it.fps_x100 = 99);
        vital("key_frames", Grade::Unknown, |it| it.key_distance_ms = 0);
        vital("key_frames", Grade::Pass, |it| it.key_distance_ms = 1080);
        vital("key_frames", Grade::Warn, |it| it.key_distance_ms = 1081);
        vital("decoding", Grade::Unknown, |it| it.decode_us = 0);
        vital("decoding", Grade::Pass, |it| it.decode_us = 250_000);
        vital("decoding", Grade::Warn, |it| it.decode_us = 250_001);
        vital("decoding", Grade::Warn, |it| it.decode_us = 900_000);
        vital("decoding", Grade::Fail, |it| it.decode_us = 900_001);
        vital("bit_rate", Grade::Unknown, |it| it.kbps = 0);
        vital("bit_rate", Grade::Pass, |it| it.kbps = 20_000);
        vital("bit_rate", Grade::Warn, |it| it.kbps = 20_001);
    }

    #[test]
    fn key_frames_alone_may_be_too_few() {
        let far = |decode, grade| {
            grades("key_frames", grade, |seen, facts| {
                facts.cameras[0].decode = decode;
                seen.vital.as_mut().unwrap().key_distance_ms = 4000;
            });
        };
        far(Decode::Keyframes, Grade::Fail);
        far(Decode::Auto, Grade::Warn);
        far(Decode::All, Grade::Pass);
    }

    #[test]
    fn decoding_is_told_as_a_share_of_a_core() {
        assert_eq!(item("decoding", |_, _| {}).value, "0.9 % of a core (1.0 frames/s of 9.0 ms)");
        let chain = item("decoding", |seen, _| seen.vital.as_mut().unwrap().key_distance_ms = 4000);
        assert_eq!(chain.value, "19.7 % of a core (21.9 frames/s of 9.0 ms)");
    }
}
