//! A camera's sound, in every codec.

use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use edge_ger::{
    drift::Slew,
    infer::{
        decode::{Error, Resampler, SoundDecoder},
        ring::{KEPT, SoundRing},
    },
    time::{Moment, Span},
    wire::access_unit::{AccessUnit, Codec},
};

use super::{BEGIN, Coded, Tone, encode, unit};

const DEADLINE: Duration = Duration::from_secs(10);
const BLOCK_MS: u32 = 20;

type Blocks = Receiver<(Moment, u32, Vec<f32>)>;

/// A codec as a camera sends it.
struct Case {
    codec: Codec,
    rate_hz: u32,
    channels: u8,
    chain: &'static str,
    /// What the codec adds, relative to the sine, dB.
    noise_db: f64,
}

const CASES: [Case; 5] = [
    Case { codec: Codec::Pcmu, rate_hz: 8000, channels: 1, chain: "audioconvert ! mulawenc", noise_db: -30.0 },
    Case { codec: Codec::Pcma, rate_hz: 8000, channels: 1, chain: "audioconvert ! alawenc", noise_db: -30.0 },
    Case { codec: Codec::Aac, rate_hz: 16_000, channels: 1, chain: AAC, noise_db: -30.0 },
    Case { codec: Codec::Aac, rate_hz: 48_000, channels: 2, chain: AAC, noise_db: -30.0 },
    Case { codec: Codec::Opus, rate_hz: 48_000, channels: 2, chain: "audioconvert ! opusenc", noise_db: -20.0 },
];
const AAC: &str = "audioconvert ! avenc_aac ! aacparse ! audio/mpeg,stream-format=adts";

impl Case {
    /// Two seconds of a sine of 1 kHz, the same in all channels, and half of full scale.
    fn encode(&self) -> Vec<Coded> {
        let caps = format!(
            "audio/x-raw,format=F32LE,layout=interleaved,rate={},channels={}{}",
            self.rate_hz,
            self.channels,
            if self.channels == 2 { ",channel-mask=(bitmask)0x3" } else { "" }
        );
        let frames = self.rate_hz / 1000 * BLOCK_MS;
        let blocks = (0..2000 / BLOCK_MS).map(|block| {
            let samples = (0..frames).map(|frame| {
                let at = f64::from(block * frames + frame) / f64::from(self.rate_hz);
                (0.5 * (at * 1000.0 * std::f64::consts::TAU).sin()) as f32
            });
            samples.flat_map(|sample| sample.to_le_bytes().repeat(usize::from(self.channels))).collect()
        });
        encode(&caps, self.chain, u64::from(BLOCK_MS) * 1_000_000, blocks)
    }

    fn decoder(&self) -> (SoundDecoder, Blocks) {
        let (sender, blocks) = bounded(1000);
        let decoder = SoundDecoder::open(self.codec, self.rate_hz, self.channels, move |first, rate_hz, samples| {
            sender.send((first, rate_hz, samples.to_vec())).ok(); // the test may have ended
        });
        (decoder.unwrap(), blocks)
    }

    fn unit(&self, seq: usize, coded: &Coded) -> AccessUnit<Vec<u8>> {
        let mut unit = unit(self.codec, seq, coded, self.rate_hz, self.channels);
        unit.header.is_key = true;
        unit
    }
}

/// Decodes a sine, at the camera's rate and at the network's.
#[track_caller]
fn check(case: &Case) {
    let coded = case.encode();
    let (mut decoder, blocks) = case.decoder();
    let mut resampler = Resampler::new(case.rate_hz, 16_000).unwrap();
    let (mut native, mut resampled, mut end) = (Vec::new(), Vec::new(), None);
    let mut take = |(first, rate_hz, samples): (Moment, u32, Vec<f32>)| {
        assert_eq!(rate_hz, case.rate_hz);
        let expected = *end.get_or_insert(first);
        // Opus takes off what its filters add before the first sample.
        let allowed = Span::from_ms(if native.len() < case.rate_hz as usize / 10 { 10 } else { 1 });
        assert!((first - expected).abs() < allowed, "{:?}: a jump of {}", case.codec, first - expected);
        resampler.push(first, &samples, |_, made| resampled.extend_from_slice(made));
        end = Some(first + Span::from_secs_f64(samples.len() as f64 / f64::from(rate_hz)));
        native.extend(samples);
        native.len()
    };
    for (seq, coded) in coded.iter().enumerate() {
        decoder.decode(case.unit(seq, coded)).unwrap();
        // No faster than it is decoded: what is too much would be dropped.
        if 10 <= seq {
            take(blocks.recv_timeout(DEADLINE).expect("sound comes"));
        }
    }
    let second_and_a_half = case.rate_hz as usize * 3 / 2;
    while take(blocks.recv_timeout(DEADLINE).expect("sound comes")) < second_and_a_half {}
    let begin = case.rate_hz as usize / 5;
    Tone::check(&native[begin..], f64::from(case.rate_hz), 1000.0, 0.5, case.noise_db);
    Tone::check(&resampled[3200..], 16_000.0, 1000.0, 0.5, case.noise_db);
}

#[test]
fn a_sine_survives_every_codec() {
    CASES.iter().for_each(check);
}

#[test]
fn damaged_sound_neither_panics_nor_ends_it() {
    for case in &CASES {
        let coded = case.encode();
        let (mut decoder, blocks) = case.decoder();
        let mut random = fastrand::Rng::with_seed(5);
        for (seq, coded) in coded.iter().enumerate().cycle().take(200) {
            let mut unit = case.unit(seq, coded);
            unit.header.discontinuity = false;
            let bytes = &mut unit.bytes;
            match seq % 3 {
                0 => bytes.truncate(bytes.len() / 2),
                1 => bytes.fill_with(|| random.u8(..)),
                _ => bytes.iter_mut().step_by(7).for_each(|byte| *byte ^= random.u8(..)),
            }
            match decoder.decode(unit) {
                Ok(()) | Err(Error::Failed { .. }) => {}
                Err(err) => panic!("{err}"),
            }
        }
        // After a new start it decodes as if nothing had been.
        for (seq, coded) in coded.iter().enumerate().take(30) {
            decoder.decode(case.unit(seq, coded)).unwrap();
        }
        let is_sine = |(_, rate_hz, samples): &(Moment, u32, Vec<f32>)| {
            let tone = Tone::of(samples, f64::from(*rate_hz));
            (tone.amplitude - 0.5).abs() < 0.05 && tone.others_db < -20.0
        };
        let is_heard =
            std::iter::repeat_with(|| blocks.recv_timeout(DEADLINE).expect("sound comes")).any(|block| is_sine(&block));
        assert!(is_heard);
    }
}

#[test]
fn what_is_no_sound_is_refused() {
    assert!(matches!(SoundDecoder::open(Codec::H264, 8000, 1, |_, _, _| {}), Err(Error::WrongKind { .. })));
    assert!(matches!(SoundDecoder::open(Codec::Aac, 7, 1, |_, _, _| {}), Err(Error::Rate { .. })));
    assert!(matches!(SoundDecoder::open(Codec::Aac, u32::MAX, 1, |_, _, _| {}), Err(Error::Rate { .. })));
}

#[test]
fn nothing_is_allocated_per_block() {
    let mut slew = Slew::new();
    let mut resampler = Resampler::new(44_100, 16_000).unwrap();
    let mut ring = SoundRing::new(16_000, KEPT);
    let mut window = vec![0.0; 80_000];
    let samples = vec![0.1; 441];
    let mut feed = |blocks: std::ops::Range<i64>| {
        for block in blocks {
            // A clock that is fast, so that samples are skipped, and a gap now and then.
            let gap = Span::from_ms(block / 500 * 700);
            let arrival = BEGIN + gap + Span(block * 9_996_000);
            let end = slew.map(Span(block * 10_000_000) + gap, arrival);
            resampler.push(end - Span::from_ms(10), &samples, |first, made| ring.write(first, made));
            if let Some(end) = ring.end().filter(|_| block % 250 == 0) {
                // Missing at first; that it does not allocate is all that matters here.
                let _ = ring.read(end - Span::from_ms(5000), end, &mut window);
            }
        }
        (ring.corrections(), ring.gaps())
    };
    feed(0..1000);
    let mut did = (0, 0);
    let allocated = allocation_counter::measure(|| did = feed(1000..4000));
    assert!(0 < did.0 && 0 < did.1, "the test is about corrections and gaps, too: {did:?}");
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
}
