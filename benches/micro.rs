//! The two features of a clip, and privacy masks, against the libraries that a user would take, in the same run; one thread
//! each.
//!
//! The first table is for the ratios; how long a spectrogram takes does not depend on the sound. The second one, by
//! divan, is for the spread and for allocations. A clip's spectrogram makes none. A picture makes two for each row and
//! column of the small one and six more (454 here, 146 kB, all freed at once), because `fast_image_resize` computes its
//! coefficients anew every time; our own exact resampling keeps them and makes none, but takes five times as long.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot work should say where")]

use std::{path::Path, process::Command};

use divan::{AllocProfiler, Bencher};
use edge_ger::inside::{
    infer::{
        decode::mask_painter::MaskPainter,
        features::{
            picture::{Resize, Rgb},
            sound::{self, Mel, SoundFeatures},
        },
    },
    mask::Polygon,
    time::{Clock, Span, SystemClock},
};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const WIDTH: u32 = 1920;
const HEIGHT: u32 = 1080;
/// The side of most networks' pictures.
const SIDE: u32 = 224;

fn main() {
    let ours = [best_ms(spectrogram()), best_ms(small_picture()), best_ms(masked_picture())];
    table(ours, &peers());
    println!();
    divan::main();
}

/// A clip of noise into the network's numbers.
fn spectrogram() -> impl FnMut() {
    // Mean and deviation of a network; they do not change how long it takes.
    let mut features = SoundFeatures::Mel(Box::new(Mel::new(-30.0, 18.0)));
    let samples: Vec<_> = (0..sound::SAMPLES).map(|_| fastrand::f32() - 0.5).collect();
    let mut out = vec![0.0; sound::LEN];
    move || features.fill(divan::black_box(&samples), divan::black_box(&mut out)).unwrap()
}

/// A camera's frame of noise to the network's size.
fn small_picture() -> impl FnMut() {
    let mut resize = Resize::new(SIDE, SIDE);
    let bytes: Vec<_> = (0..WIDTH * HEIGHT * 3).map(|_| fastrand::u8(..)).collect();
    let mut out = vec![0; resize.bytes()];
    move || {
        let picture = Rgb { bytes: &bytes, width: WIDTH, height: HEIGHT, stride: WIDTH as usize * 3 };
        resize.resize(divan::black_box(picture), divan::black_box(&mut out)).unwrap();
    }
}

/// Three masks over a camera's frame: a band, a triangle and a desk, a quarter of the picture. `micro.py` has the same.
const MASKS: [&[[u16; 2]]; 3] = [
    &[[0, 0], [10_000, 0], [10_000, 1500], [0, 1500]],
    &[[7000, 2000], [10_000, 2000], [10_000, 6000]],
    &[[500, 7000], [3500, 6500], [4000, 9000], [1000, 9500]],
];

/// What masks cost of each frame that is decoded, after the first.
fn masked_picture() -> impl FnMut() {
    let masks = MASKS.map(|corners| Polygon::new(corners.to_vec()).unwrap());
    let mut paint = MaskPainter::new(masks.to_vec(), [0.5; 3]);
    let mut bytes: Vec<_> = (0..WIDTH * HEIGHT * 3).map(|_| fastrand::u8(..)).collect();
    move || {
        paint.fit((WIDTH, HEIGHT));
        paint.over(divan::black_box(&mut bytes));
    }
}

#[divan::bench]
fn masks_over_1080p(bencher: Bencher<'_, '_>) {
    let mut work = masked_picture();
    work();
    bencher.bench_local(work);
}

#[divan::bench]
fn mel_of_a_clip(bencher: Bencher<'_, '_>) {
    let mut work = spectrogram();
    work();
    bencher.bench_local(work);
}

#[divan::bench]
fn picture_1080p_to_224(bencher: Bencher<'_, '_>) {
    let mut work = small_picture();
    // The picture between the two passes is allocated for the first picture, and kept.
    work();
    bencher.bench_local(work);
}

/// The fastest run within about two seconds, after one that is not counted, ms: as `micro.py` does it.
fn best_ms(mut work: impl FnMut()) -> f64 {
    const BUDGET: Span = Span::from_ms(2000);
    const RUNS_MIN: u32 = 5;
    let clock = SystemClock;
    work();
    let begin = clock.now();
    let mut best = f64::INFINITY;
    let mut runs = 0;
    while runs < RUNS_MIN || clock.now() - begin < BUDGET {
        let before = clock.now();
        work();
        best = best.min((clock.now() - before).as_secs_f64() * 1000.0);
        runs += 1;
    }
    best
}

/// What `micro.py` says; empty, with the reason printed, where there is no Python environment.
fn peers() -> serde_json::Value {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let said = Command::new(benches.join(".venv/bin/python")).arg(benches.join("peer/micro.py")).output();
    let parsed = said.map(|output| serde_json::from_slice(&output.stdout));
    match parsed {
        Ok(Ok(times)) => times,
        Ok(Err(error)) => {
            println!("micro.py did not print its times: {error}");
            serde_json::Value::Null
        }
        Err(error) => {
            println!("no peers (`make bench` sets them up): {error}");
            serde_json::Value::Null
        }
    }
}

fn table([mel_ms, picture_ms, masks_ms]: [f64; 3], peers: &serde_json::Value) {
    println!("{:34} {:14} {:>8} {:>8} {:>7}  goal", "", "peer", "peer, ms", "ours, ms", "times");
    let line = |what: &str, (peer, key): (&str, &str), ours_ms: f64, goal: Option<f64>| {
        let version = peers["versions"][peer].as_str().unwrap_or("");
        let Some(peer_ms) = peers[key].as_f64() else {
            println!("{what:34} {peer:14} {:>8} {ours_ms:>8.2}", "?");
            return;
        };
        let times = peer_ms / ours_ms;
        let goal = goal
            .map_or(String::new(), |goal| format!("at least {goal}: {}", if goal <= times { "met" } else { "MISSED" }));
        println!("{what:34} {:14} {peer_ms:>8.2} {ours_ms:>8.2} {times:>7.1}  {goal}", format!("{peer} {version}"));
    };
    line("mel of a 5 s clip", ("librosa", "mel_ms"), mel_ms, Some(5.0));
    line("1080p to 224x224, bicubic", ("pillow", "bicubic_ms"), picture_ms, None);
    line("1080p to 224x224, INTER_AREA", ("opencv", "area_ms"), picture_ms, None);
    line("three masks over 1080p, fillPoly", ("opencv", "masks_ms"), masks_ms, None);
}
