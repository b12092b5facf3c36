//! A camera's pictures, in every codec, whole and damaged.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, bounded};
use edge_ger::{
    infer::decode::{Error, Submission, VideoDecoder},
    mask::Polygon,
    time::Span,
    wire::access_unit::{AccessUnit, Codec},
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
    // A width that makes rows of RGB end off a multiple of four bytes.
    let caps = "video/x-raw,format=RGB,width=322,height=240,framerate=25/1";
    encode(caps, &video_chain(codec, b_frames, key_distance), FRAME_NS.unsigned_abs(), grey_frames(frames))
}

fn video_chain(codec: Codec, b_frames: u32, key_distance: u32) -> String {
    match codec {
        Codec::H264 => format!(
            "videoconvert ! video/x-raw,format=I420 ! x264enc bframes={b_frames} b-adapt=false key-int-max={key_distance} \
             speed-preset=veryfast ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au"
        ),
        Codec::H265 => format!(
            "videoconvert ! video/x-raw,format=I420 ! x265enc key-int-max={key_distance} speed-preset=veryfast \
             option-string=bframes={b_frames}:b-adapt=0:log-level=none ! h265parse config-interval=-1 ! \
             video/x-h265,stream-format=byte-stream,alignment=au"
        ),
        _ => "videoconvert ! jpegenc quality=95".to_owned(),
    }
}

#[derive(Debug, PartialEq)]
struct Sample {
    at: Span,
    width: u32,
    height: u32,
    grey: u8,
}

fn decoder(codec: Codec) -> (VideoDecoder, Receiver<Sample>) {
    let (sender, pictures) = bounded(1000);
    let software = match codec {
        Codec::H264 => "avdec_h264",
        Codec::H265 => "avdec_h265",
        _ => "jpegdec",
    };
    let decoder = VideoDecoder::open(codec, Some(software), Arc::default(), move |picture| {
        let middle = picture.stride * (picture.height as usize / 2) + picture.width as usize / 2 * 3;
        assert_eq!(picture.rgb.len(), picture.stride * picture.height as usize);
        let grey = picture.rgb[middle + 1];
        sender.send(Sample { at: picture.moment - BEGIN, width: picture.width, height: picture.height, grey }).unwrap();
    });
    (decoder.unwrap(), pictures)
}

#[track_caller]
fn check_is_frame(sample: &Sample, n: i64) {
    assert_eq!((sample.at, sample.width, sample.height), (Span(n * FRAME_NS), 322, 240), "frame {n}");
    assert!(sample.grey.abs_diff(level(n)) <= 1, "frame {n} is {}, not {}", sample.grey, level(n));
}

fn wanted_if(wanted: bool, mut unit: AccessUnit<Vec<u8>>) -> AccessUnit<Vec<u8>> {
    unit.header.wanted = wanted;
    unit
}

/// The next picture; the deadline is far beyond what a busy machine needs.
#[track_caller]
fn next(pictures: &Receiver<Sample>) -> Sample {
    pictures.recv_timeout(DEADLINE).expect("no picture came")
}

#[test]
fn colours_are_those_of_the_source() {
    // A row of red, green and blue thirds, as a camera of small and of large pictures sends them.
    for (codec, width, height) in [(Codec::H264, 336, 240), (Codec::H264, 1200, 720), (Codec::H265, 336, 240)] {
        let third = width / 3;
        let row: Vec<u8> = (0..width).flat_map(|x| [[220, 40, 40], [40, 220, 40], [40, 40, 220]][x / third]).collect();
        let caps = format!("video/x-raw,format=RGB,width={width},height={height},framerate=25/1");
        let coded = encode(&caps, &video_chain(codec, 0, 25), FRAME_NS.unsigned_abs(), [row.repeat(height)]);
        let (picture, pictures) = bounded(1);
        let mut decoder = VideoDecoder::open(codec, None, Arc::default(), move |lent| {
            let middle = lent.stride * (lent.height as usize / 2);
            let at = |x: usize| lent.rgb[middle + x * 3..][..3].to_vec();
            picture.send([at(third / 2), at(third * 3 / 2), at(third * 5 / 2)]).unwrap();
        });
        decoder.as_mut().unwrap().decode(unit(codec, 0, &coded[0], 0, 0)).unwrap();
        let pixels = pictures.recv_timeout(DEADLINE).expect("a picture comes");
        for (pixel, expected) in pixels.iter().zip([[220u8, 40, 40], [40, 220, 40], [40, 40, 220]]) {
            let is_near = pixel.iter().zip(expected).all(|(level, expected)| level.abs_diff(expected) <= 6);
            assert!(is_near, "{codec:?} {width}x{height}: {pixel:?} is not {expected:?}");
        }
    }
}

/// Decodes a whole stream of which every seventh frame is wanted.
#[track_caller]
fn check_chain(codec: Codec, b_frames: u32) {
    let coded = encode_grey(codec, b_frames, 25, 60);
    let is_reordered = coded.windows(2).any(|pair| pair[1].pts_ns < pair[0].pts_ns);
    assert_eq!(is_reordered, 0 < b_frames, "the encoder did not do what the test is about");
    let (mut decoder, pictures) = decoder(codec);
    for (seq, coded) in coded.iter().enumerate() {
        let wanted = coded.pts_ns / FRAME_NS % 7 == 0;
        assert_eq!(
            decoder.decode(wanted_if(wanted, unit(codec, seq, coded, 0, 0))).unwrap(),
            Submission::Accepted,
            "unit {seq}"
        );
    }
    let mut samples: Vec<_> = (0..9).map(|_| next(&pictures)).collect();
    samples.sort_by_key(|sample| sample.at);
    for (sample, n) in samples.iter().zip((0..).step_by(7)) {
        check_is_frame(sample, n);
    }
    decoder.finish().unwrap();
    assert!(pictures.try_recv().is_err(), "a picture came that was not wanted");
}

#[test]
fn a_chain_gives_the_wanted_pictures_and_no_others() {
    check_chain(Codec::H264, 0);
    check_chain(Codec::H264, 3);
    check_chain(Codec::H265, 0);
    check_chain(Codec::H265, 3);
    check_chain(Codec::Mjpeg, 0);
}

/// Decodes nothing but key frames; each must come out before the next goes in.
#[track_caller]
fn check_keys(codec: Codec, b_frames: u32) {
    let coded = encode_grey(codec, b_frames, 25, 150);
    let (mut decoder, pictures) = decoder(codec);
    for (seq, coded) in coded.iter().filter(|coded| coded.key).take(6).enumerate() {
        assert_eq!(decoder.decode(unit(codec, seq, coded, 0, 0)).unwrap(), Submission::Accepted);
        check_is_frame(&next(&pictures), coded.pts_ns / FRAME_NS);
    }
}

#[test]
fn key_frames_come_out_without_waiting_for_others() {
    check_keys(Codec::H264, 0);
    check_keys(Codec::H264, 3);
    check_keys(Codec::H265, 0);
    check_keys(Codec::H265, 3);
    check_keys(Codec::Mjpeg, 0);
}

#[test]
fn the_end_of_a_chain_is_not_held_back_and_may_go_on_after_all() {
    for codec in [Codec::H264, Codec::H265] {
        let coded = encode_grey(codec, 3, 100, 60);
        let (mut decoder, pictures) = decoder(codec);
        // Every third unit is wanted and waited for, although the decoder would like to see more first; that the
        // chain goes on nevertheless is none of the pictures' business.
        for (seq, coded) in coded.iter().enumerate().take(16) {
            let wanted = seq % 3 == 2;
            decoder.decode(wanted_if(wanted, unit(codec, seq, coded, 0, 0))).unwrap();
            if wanted {
                check_is_frame(&next(&pictures), coded.pts_ns / FRAME_NS);
            }
        }
    }
}

#[test]
fn after_a_gap_only_a_key_frame_is_of_use() {
    let coded = encode_grey(Codec::H264, 0, 25, 60);
    let (mut decoder, pictures) = decoder(Codec::H264);
    let submissions: Vec<_> = (0..60)
        .filter(|seq| *seq != 10)
        .map(|seq| decoder.decode(wanted_if(seq == 20 || seq == 30, unit(Codec::H264, seq, &coded[seq], 0, 0))))
        .map(Result::unwrap)
        .collect();
    let accepted =
        |submissions: &[Submission]| submissions.iter().all(|submission| *submission == Submission::Accepted);
    assert!(accepted(&submissions[..10]) && accepted(&submissions[24..]), "{submissions:?}");
    assert!(submissions[10..24].iter().all(|submission| *submission == Submission::Undecodable), "{submissions:?}");
    check_is_frame(&next(&pictures), 30);
}

#[test]
fn garbage_is_an_error_and_the_next_key_frame_a_picture() {
    for codec in [Codec::H264, Codec::H265, Codec::Mjpeg] {
        let coded = encode_grey(codec, 0, 25, 60);
        let (mut decoder, pictures) = decoder(codec);
        let mut random = fastrand::Rng::with_seed(5);
        let mut failures = 0;
        for seq in 0..200 {
            let mut unit = unit(codec, seq, &coded[seq % 60], 0, 0);
            unit.header.is_key = true;
            let bytes = &mut unit.bytes;
            match seq % 4 {
                0 => bytes.truncate(bytes.len() / 3),
                1 => bytes.fill_with(|| random.u8(..)),
                2 => bytes.iter_mut().skip(5).step_by(9).for_each(|byte| *byte ^= random.u8(..)),
                _ => *bytes = vec![0],
            }
            match decoder.decode(unit) {
                Ok(_) => {}
                Err(Error::Failed { .. }) => failures += 1,
                Err(err) => panic!("{err}"),
            }
        }
        assert!(0 < failures, "{codec:?}: no failure was noticed");
        let mut again = unit(codec, 900, &coded[0], 0, 0);
        again.header.discontinuity = true;
        assert_eq!(decoder.decode(again), Ok(Submission::Accepted));
        while pictures.try_recv().is_ok() {}
        let last = coded.iter().rfind(|coded| coded.key).unwrap();
        assert_eq!(decoder.decode(unit(codec, 901, last, 0, 0)), Ok(Submission::Accepted));
        let n = last.pts_ns / FRAME_NS;
        let sample = std::iter::repeat_with(|| next(&pictures)).find(|sample| sample.at == Span(n * FRAME_NS));
        check_is_frame(&sample.unwrap(), n);
    }
}

#[test]
fn a_wrong_decoder_is_refused_with_the_right_ones() {
    let refused =
        |codec, choice| VideoDecoder::open(codec, Some(choice), Arc::default(), |_| {}).err().unwrap().to_string();
    let fault = refused(Codec::H264, "avdec_h265");
    assert!(fault.starts_with("decoder avdec_h265 does not decode H.264"), "{fault}");
    assert!(fault.contains("avdec_h264"), "{fault}");
    assert!(refused(Codec::H265, "nosuchdec").contains("nosuchdec"));
    assert!(refused(Codec::H264, "videoconvert").contains("does not decode"));
    assert!(matches!(VideoDecoder::open(Codec::Aac, None, Arc::default(), |_| {}), Err(Error::WrongKind { .. })));
    assert!(VideoDecoder::open(Codec::H264, None, Arc::default(), |_| {}).is_ok());
}

/// A picture of noise, and one that differs from it in the left third alone.
fn two_noises(width: usize, height: usize) -> [Vec<u8>; 2] {
    let noise = |seed: u64| {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..width * height).map(|_| random.u8(16..235)).collect::<Vec<_>>()
    };
    let (first, mut second) = (noise(1), noise(2));
    for (from, to) in first.chunks(width).zip(second.chunks_mut(width)) {
        to[width / 3..].copy_from_slice(&from[width / 3..]);
    }
    [first, second].map(|grey| grey.iter().flat_map(|level| [*level; 3]).collect())
}

/// Through a real encoder that loses nothing across the mask's edge, and the real decoder.
#[test]
fn what_is_masked_is_paint_and_changes_nothing_else() {
    // JPEG's blocks know nothing of each other; H.264 loses nothing at this setting. A third is a whole block.
    let lossless = "videoconvert ! video/x-raw,format=I420 ! x264enc pass=quant quantizer=0 key-int-max=1 speed-preset=veryfast \
                    ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au";
    let (width, height) = (3 * 112, 96);
    let caps = format!("video/x-raw,format=RGB,width={width},height={height},framerate=25/1");
    for (codec, chain) in [(Codec::Mjpeg, video_chain(Codec::Mjpeg, 0, 1)), (Codec::H264, lossless.to_owned())] {
        let coded = two_noises(width, height)
            .map(|picture| encode(&caps, &chain, FRAME_NS.unsigned_abs(), [picture]).remove(0));
        let decoded = |masks: Vec<Polygon>| {
            coded.each_ref().map(|coded| {
                let (picture, pictures) = bounded(1);
                let decoder = VideoDecoder::open(codec, None, Arc::default(), move |lent| {
                    picture.send(lent.rgb.to_vec()).unwrap()
                });
                let mut decoder = decoder.unwrap().masked(masks.clone(), [0.485, 0.456, 0.406]);
                decoder.decode(unit(codec, 0, coded, 0, 0)).unwrap();
                pictures.recv_timeout(DEADLINE).expect("a picture comes")
            })
        };
        let [first, second] = decoded(Vec::new());
        assert_ne!(first, second, "{codec:?}: the test can fail");
        let left_third = Polygon::new(vec![[0, 0], [3333, 0], [3333, 10_000], [0, 10_000]]).unwrap();
        let [masked, other] = decoded(vec![left_third]);
        assert!(masked == other, "{codec:?}: what is masked is visible");
        for (row, before) in masked.chunks(width * 3).zip(first.chunks(width * 3)) {
            let (covered, left) = row.split_at(112 * 3);
            assert!(covered.chunks(3).all(|pixel| pixel == [124, 116, 104]), "{codec:?}");
            assert!(left == &before[112 * 3..], "{codec:?}: what is not masked is changed");
        }
    }
}
