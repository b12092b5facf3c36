use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use edge_ger::{
    infer::decode::{Error, Fed, VideoDecoder},
    time::Span,
    wire::unit::Codec,
};

use super::{BEGIN, Coded, encode, unit};

const FRAME_NS: i64 = 40_000_000;
const DEADLINE: Duration = Duration::from_secs(10);

/// Frame `n` is grey of this level.
fn level(n: i64) -> u8 {
    u8::try_from(20 + n % 50 * 4).unwrap()
}

fn grey_frames(frames: i64) -> impl Iterator<Item = Vec<u8>> {
    (0..frames).map(|n| vec![level(n); 968 * 240])
}

fn encode_grey(codec: Codec, b_frames: u32, key_distance: u32, frames: i64) -> Vec<Coded> {
    // A width that makes rows of RGB end off a multiple of four bytes, and those of the source, too.
    let caps = "video/x-raw,format=RGB,width=322,height=240,framerate=25/1";
    let chain = match codec {
        Codec::H264 => format!(
            "videoconvert ! video/x-raw,format=I420 ! x264enc bframes={b_frames} b-adapt=false key-int-max={key_distance} \
             speed-preset=veryfast ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au"
        ),
        Codec::H265 => format!(
            "videoconvert ! video/x-raw,format=I420 ! x265enc key-int-max={key_distance} speed-preset=veryfast \
             option-string=bframes={b_frames}:b-adapt=0:log-level=none ! h265parse config-interval=-1 ! \
             video/x-h265,stream-format=byte-stream,alignment=au"
        ),
        _ => "jpegenc".to_owned(),
    };
    encode(caps, &chain, FRAME_NS.unsigned_abs(), grey_frames(frames))
}

#[derive(Debug, PartialEq)]
struct Seen {
    at: Span,
    width: u32,
    height: u32,
    grey: u8,
}

fn decoder(codec: Codec) -> (VideoDecoder, Receiver<Seen>) {
    let (seen, pictures) = bounded(1000);
    let software = match codec {
        Codec::H264 => "avdec_h264",
        Codec::H265 => "avdec_h265",
        _ => "jpegdec",
    };
    let decoder = VideoDecoder::open(codec, Some(software), move |picture| {
        let middle = picture.stride * (picture.height as usize / 2) + picture.width as usize / 2 * 3;
        let pixel = &picture.rgb[middle..middle + 3];
        let last_row = &picture.rgb[picture.stride * (picture.height as usize - 1)..];
        assert!(picture.width as usize * 3 <= last_row.len());
        let grey = pixel[1];
        seen.send(Seen { at: picture.moment - BEGIN, width: picture.width, height: picture.height, grey }).unwrap();
    });
    (decoder.unwrap(), pictures)
}

#[track_caller]
fn check_is_frame(seen: &Seen, n: i64) {
    assert_eq!((seen.at, seen.width, seen.height), (Span(n * FRAME_NS), 322, 240), "frame {n}");
    assert!(seen.grey.abs_diff(level(n)) <= 2, "frame {n} is {}, not {}", seen.grey, level(n));
}

#[test]
fn probe_latency() {
    for codec in [Codec::H264, Codec::H265, Codec::Mjpeg] {
        for b in [0, 3] {
            let coded = encode_grey(codec, b, 25, 100);
            eprintln!(
                "{codec:?} b={b}: order {:?}",
                coded.iter().take(12).map(|c| (c.pts_ns / FRAME_NS, c.key)).collect::<Vec<_>>()
            );
            let (mut dec, pics) = decoder(codec);
            let mut held = vec![];
            for (seq, c) in coded.iter().filter(|c| c.key).take(4).enumerate() {
                dec.decode(&unit(codec, seq, c, 0, 0), &c.bytes, true).unwrap();
                let t = std::time::Instant::now();
                let got = pics.recv_timeout(Duration::from_millis(500));
                held.push((c.pts_ns / FRAME_NS, got.map(|g| (g.at.0 / FRAME_NS, g.grey)), t.elapsed()));
            }
            eprintln!("  key only: {held:?}");
            let (mut dec, pics) = decoder(codec);
            let mut outs = vec![];
            for (seq, c) in coded.iter().enumerate().take(20) {
                dec.decode(&unit(codec, seq, c, 0, 0), &c.bytes, true).unwrap();
                std::thread::sleep(Duration::from_millis(40));
                outs.push((
                    c.pts_ns / FRAME_NS,
                    pics.try_iter().map(|s| (s.at.0 as f64 / FRAME_NS as f64, s.grey)).collect::<Vec<_>>(),
                ));
            }
            eprintln!("  chain: {outs:?}");
        }
    }
}
