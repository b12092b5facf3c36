//! What a dry run measures, through `ingest` and `infer`: a real camera, real decoders, a real network.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    sync::Arc,
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded, select, tick};
use edge_ger::{
    config::{
        Camera as Configured, Decode, FilePath, Gates, Integer, Model, NetworkFile, Reading, Sound as Hears, Source,
    },
    infer, ingest,
    time::{Clock as _, Grid, Span, SystemClock},
    wire::{
        CameraId,
        control::{CameraOrder, InferConfig, IngestConfig, Order, Report, Sampling, record_pair, unit_pair},
        record::{ProbeRecord, RECORD_BYTES, Record, Step},
    },
};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

use crate::it::harness::{
    camera::{self, Camera},
    daemon::{ONNX_RUNTIME, repository},
};

/// Far more than a recording of claps lasts, on a busy machine.
const PATIENCE: Span = Span::from_ms(120_000);
/// Small and few, as four cameras are decoded at once in a build that is not optimised.
const SIZE: (usize, usize) = (160, 90);
const FPS: usize = 20;
const RATE_HZ: usize = 8000;
/// A recording's length.
const SECONDS: usize = 62;

/// A recording of somebody in front of a grey wall.
pub(crate) struct Recording {
    seconds: usize,
    /// When hands meet, in seconds.
    seen: Vec<f64>,
    /// When a clap is heard.
    heard: Vec<f64>,
}

impl Recording {
    /// Claps at an uneven pace, heard later than they are seen by so many milliseconds.
    pub(crate) fn of_claps(late_ms: i32) -> Self {
        let once = [2.31, 4.07, 6.53, 8.11, 10.42, 12.16, 14.49, 16.23, 18.66];
        let seen: Vec<_> = (0..3).flat_map(|n| once.map(|it| it + 20.37 * f64::from(n))).collect();
        let heard = seen.iter().map(|it| it + f64::from(late_ms) / 1e3).collect();
        Self { seconds: SECONDS, seen, heard }
    }

    /// Hands that never meet when something is heard: a beat, and somebody who waves to another.
    fn of_nothing() -> Self {
        let waves = [1.9, 3.6, 5.2, 6.1, 8.9, 10.0, 12.7, 13.5, 16.4, 17.9];
        let seen = (0..3).flat_map(|n| waves.map(|it| it + 19.81 * f64::from(n))).collect();
        Self { seconds: SECONDS, seen, heard: (2..120).map(|n| f64::from(n) / 2.0).collect() }
    }

    /// How far apart the hands are at `t`, 0 to 1: they come quickly, stay, and part slowly.
    fn apart(&self, t: f64) -> f64 {
        let way = |clap: &f64| match t - clap {
            before @ -0.14..0.0 => (-before / 0.14).sqrt(),
            0.0..0.4 => 0.0,
            after @ 0.4..1.0 => (after - 0.4) / 0.6,
            _ => 1.0,
        };
        self.seen.iter().map(way).fold(1.0, f64::min)
    }

    fn frame(&self, n: usize, random: &mut fastrand::Rng) -> Vec<u8> {
        let (width, height) = SIZE;
        let reach = (self.apart(n as f64 / FPS as f64) * 30.0) as usize;
        let hands = [(width / 2 - 10 - reach, width / 2 - reach), (width / 2 + reach, width / 2 + 10 + reach)];
        let is_hand = |x: usize, y: usize| (40..55).contains(&y) && hands.iter().any(|it| (it.0..it.1).contains(&x));
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let luma = pixels.map(|(x, y)| if is_hand(x, y) { 200 } else { 90 } + random.u8(0..6));
        // I420: a quarter of the pixels each for blue and red, both grey.
        let chroma = std::iter::repeat_n(128, width * height / 2);
        luma.chain(chroma).collect()
    }

    /// A tenth of a second of 16-bit samples.
    fn samples(&self, n: usize, random: &mut fastrand::Rng) -> Vec<u8> {
        let sample = |k: usize| {
            let t = k as f64 / RATE_HZ as f64;
            let loud = |clap: &f64| if (0.0..0.1).contains(&(t - clap)) { (-(t - clap) / 0.015).exp() } else { 0.0 };
            let loud: f64 = self.heard.iter().map(loud).sum();
            let sample = (2.0 * random.f64() - 1.0) * (60.0 + 12_000.0 * loud);
            (sample as i16).to_le_bytes()
        };
        (n * RATE_HZ / 10..(n + 1) * RATE_HZ / 10).flat_map(sample).collect()
    }

    /// Writes it as Matroska.
    pub(crate) fn write(&self, file: &Path) {
        gst::init().unwrap();
        let (width, height) = SIZE;
        let has_x264 = gst::ElementFactory::find("x264enc").is_some();
        let encoder = if has_x264 {
            "x264enc speed-preset=ultrafast tune=zerolatency key-int-max=20 bitrate=400 threads=1"
        } else {
            "openh264enc gop-size=20 bitrate=400000"
        };
        let chain = format!(
            "appsrc name=video format=time caps=video/x-raw,format=I420,width={width},height={height},framerate={FPS}/1 \
             ! {encoder} ! h264parse ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! mux. \
             appsrc name=sound format=time caps=audio/x-raw,format=S16LE,rate={RATE_HZ},channels=1,layout=interleaved \
             ! mulawenc ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! mux. \
             matroskamux name=mux ! filesink location={}",
            file.display()
        );
        let pipeline = gst::parse::launch(&chain).unwrap().downcast::<gst::Pipeline>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let mut random = fastrand::Rng::with_seed(5);
        push(&pipeline, "video", self.seconds * FPS, FPS, |n| self.frame(n, &mut random));
        let mut random = fastrand::Rng::with_seed(6);
        push(&pipeline, "sound", self.seconds * 10, 10, |n| self.samples(n, &mut random));
        let bus = pipeline.bus().unwrap();
        let end =
            bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos, gst::MessageType::Error]);
        assert_eq!(end.unwrap().type_(), gst::MessageType::Eos);
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

/// Pushes `count` buffers, so many a second, and the end of the stream.
fn push(pipeline: &gst::Pipeline, name: &str, count: usize, per_second: usize, mut make: impl FnMut(usize) -> Vec<u8>) {
    let source = pipeline.by_name(name).unwrap().downcast::<AppSrc>().unwrap();
    source.set_max_bytes(0);
    let length = gst::ClockTime::from_useconds(1_000_000 / per_second as u64);
    for n in 0..count {
        let mut buffer = gst::Buffer::from_slice(make(n));
        let whole = buffer.get_mut().unwrap();
        whole.set_pts(length * n as u64);
        whole.set_duration(length);
        source.push_buffer(buffer).unwrap();
    }
    source.end_of_stream().unwrap();
}

/// Both rooms in threads, as a dry run has them, and the records that come out.
struct Rooms {
    orders: [Sender<(Order, Vec<OwnedFd>)>; 2],
    records: Receiver<Record>,
    rooms: Vec<thread::JoinHandle<()>>,
}

impl Rooms {
    fn start(cameras: Vec<Configured>, is_dry_run: bool) -> Self {
        let grid = Grid { clip: Span::from_ms(5000), hop: Span::from_ms(5000), frames: 5 };
        let ((out, upstream), (downstream, records)) = (unit_pair().unwrap(), record_pair().unwrap());
        // Nobody reads the reports; there is room for those that a room waits with.
        let (said, reports) = bounded::<Report>(1024);
        let (for_ingest, taken) = bounded(8);
        let order = |camera| CameraOrder { camera, password: None, paused: false };
        let cameras: Vec<_> = cameras.into_iter().map(order).collect();
        let begin = IngestConfig { cameras: cameras.clone(), grid, is_dry_run };
        let telling = said.clone();
        let ingest = thread::Builder::new().name("ingest".into());
        let ingest = ingest.spawn(move || ingest::run(begin, out, &taken, &telling, Arc::new(SystemClock)).unwrap());
        let (for_infer, taken) = bounded(8);
        let model = Model {
            file: NetworkFile(repository("tests/data/good.onnx")),
            runtime_library: Some(FilePath(ONNX_RUNTIME.into())),
            threads: Integer::new(1).unwrap(),
            ..Model::default()
        };
        let begin = InferConfig {
            cameras,
            model,
            reading: Reading::default(),
            grid,
            unix_sockets: false,
            last_slot: None,
            is_dry_run,
        };
        let infer = thread::Builder::new().name("infer".into()).spawn(move || {
            infer::run(begin, upstream, downstream, &taken, &said, Arc::new(SystemClock)).unwrap();
            drop(reports);
        });
        Self { orders: [for_ingest, for_infer], records: read(records), rooms: vec![ingest.unwrap(), infer.unwrap()] }
    }

    /// Tells both processes, as the parent does.
    fn set_sampling(&self, camera: u16, sampling: Sampling) {
        let order = || (Order::SetSampling(CameraId(camera), sampling), Vec::new());
        self.orders.iter().for_each(|orders| orders.send(order()).unwrap());
    }

    /// Receives records until `enough` returns true.
    #[track_caller]
    fn watch(&self, what: &str, mut enough: impl FnMut(&ProbeRecord) -> bool) {
        let deadline = SystemClock.now() + PATIENCE;
        let mut newest = None;
        while let Ok(record) = self.records.recv_timeout(deadline.after(SystemClock.now())) {
            if let Record::ProbeRecord(probe) = record {
                if enough(&probe) {
                    return;
                }
                newest = Some(probe);
            }
        }
        panic!("not within {PATIENCE}: {what}; the newest is {newest:?}");
    }

    fn stop(self) {
        self.orders.iter().for_each(|it| it.send((Order::Stop, Vec::new())).unwrap());
        self.rooms.into_iter().for_each(|it| it.join().unwrap());
    }
}

fn read(from: OwnedFd) -> Receiver<Record> {
    let (to, records) = bounded(4096);
    let read = move || {
        let mut bytes = [0; RECORD_BYTES + 1];
        while let Ok(n @ 1..) = rustix::io::read(from.as_fd(), &mut bytes) {
            if to.send(Record::from_bytes(&bytes[..n]).unwrap()).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("records".into()).spawn(read).unwrap();
    records
}

fn configured(id: u16, camera: &Camera, offset_ms: i64) -> Configured {
    Configured {
        id: CameraId(id),
        name: format!("camera-{id}"),
        source: Source::Rtsp(camera.rtsp()),
        decode: Decode::Auto,
        decoder: None,
        sound: Hears::Camera,
        sync_offset: Span::from_ms(offset_ms),
        gates: Gates::default(),
        masks: Vec::new(),
        schedule: Default::default(),
    }
}

/// Four cameras at once: three whose sound is early, in time and late, one of them with an offset that is set already,
/// and one that shows and tells nothing of use.
#[test]
fn claps_before_real_cameras_tell_the_offset() {
    let folder = tempfile::tempdir().unwrap();
    let scenes = [(Some(-300), 0), (Some(0), 0), (Some(180), 100), (None, 0)];
    let cameras = scenes.iter().enumerate().map(|(n, (late_ms, _))| {
        let file = folder.path().join(format!("{n}.mkv"));
        late_ms.map_or_else(Recording::of_nothing, Recording::of_claps).write(&file);
        Camera::builder().recording(file).start()
    });
    let cameras: Vec<_> = cameras.collect();
    let all = (0..).zip(&cameras).zip(&scenes).map(|((id, camera), (_, set_ms))| configured(id, camera, *set_ms));
    let rooms = Rooms::start(all.collect(), true);
    (0..4).for_each(|id| rooms.set_sampling(id, Sampling::All));
    let mut sure = [None; 3];
    let mut of_nothing = 0;
    rooms.watch("four estimates", |probe| {
        let (id, is_sure) = (usize::from(probe.camera.0), ProbeRecord::CLAP_CONFIDENCE_MIN <= probe.clap_confidence);
        match sure.get_mut(id) {
            Some(sure) if is_sure => *sure = Some(probe.clap_offset_ms),
            Some(_) => {}
            None => {
                assert!(!is_sure, "there was no clap: {probe:?}");
                of_nothing = of_nothing.max(probe.claps);
            }
        }
        sure.iter().all(Option::is_some) && 2 <= of_nothing
    });
    for (sure, (late_ms, _)) in sure.into_iter().flatten().zip(&scenes) {
        assert!((i32::from(sure) - late_ms.unwrap()).abs() <= 40, "{sure}, not {late_ms:?}");
    }
    // When the test is over nothing is left of it.
    rooms.set_sampling(0, Sampling::Grid);
    rooms.watch("an end", |it| it.camera == CameraId(0) && (it.claps, it.clap_confidence) == (0, 0));
    rooms.stop();
}

#[test]
fn a_camera_is_measured_from_its_address_to_its_sound() {
    let camera = Camera::builder().noise().sound(camera::Sound::Aac).start();
    let rooms = Rooms::start(vec![configured(0, &camera, 0)], true);
    let mut steps = Vec::new();
    rooms.watch("all of it", |it| {
        steps.push(it.step);
        // Noise from black to white, and a sine of amplitude 0.3: -13.5 dB, its peak -10.5 dB.
        let is_seen = it.step == Step::Decoded && 30 < it.contrast && 1000 < it.sharpness && it.frozen_ms < 5000;
        let is_heard = (-1450..-1250).contains(&it.noise_floor_cdb)
            && (-1150..-950).contains(&it.peak_cdb)
            && (it.clipped_permille, it.hum_hz) == (0, 0);
        let is_linked = 0 < it.packets && 0 < it.round_trip_us && it.camera_clock_ms.unsigned_abs() < 2000;
        let is_read = 0 < it.slot && it.probabilities.iter().map(|it| u32::from(*it)).sum::<u32>() == 10_000;
        is_seen && is_heard && is_linked && is_read && (1..1000).contains(&it.estimates_permille[0])
    });
    assert!(steps.is_sorted(), "{steps:?}");
    rooms.stop();
}

#[test]
fn a_daemon_measures_nothing() {
    let camera = Camera::builder().noise().sound(camera::Sound::Aac).start();
    let rooms = Rooms::start(vec![configured(0, &camera, 0)], false);
    rooms.set_sampling(0, Sampling::All);
    let (mut readings, late) = (0, tick(PATIENCE.to_duration()));
    while readings < 3 {
        select! {
            recv(rooms.records) -> record => match record.unwrap() {
                Record::Reading(_) => readings += 1,
                Record::Vital(_) => {}
                Record::ProbeRecord(probe) => panic!("{probe:?}"),
            },
            recv(late) -> _ => panic!("no three readings within {PATIENCE}"),
        }
    }
    rooms.stop();
}
